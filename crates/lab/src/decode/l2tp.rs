//! L2TP (RFC 2661): control messages AVP by AVP, and the PPP frames of data messages.

use crypto::Secret;
use l2tp::avp::{self, Avp, HIDDEN, MANDATORY, Reader};
use l2tp::{Kind, Refusal, ResultCode, Scope};
use serde_json::Value;

use super::layer::{Fault, Layer, Packet, escaped, hex, named};
use super::names::{self, Form};
use super::{Decoder, LAYERS_MAX};

/// Message types whose result codes mean something.
const STOP_CCN: u16 = 4;
const MESSAGE_TYPE: u16 = 0;

impl Decoder {
    pub(super) fn l2tp(&mut self, octets: &[u8], packet: &mut Packet) {
        let header = match l2tp::peek(octets) {
            Ok(header) => header,
            Err(refusal) => {
                packet.layers.push(Layer::new("L2TP"));
                return packet.malformed(refusal);
            }
        };
        let name = match header.kind {
            Kind::Control => "L2TP control",
            Kind::Data => "L2TP data",
        };
        let mut layer = Layer::new(name)
            .with("tunnel", header.tunnel.0)
            .with("session", header.session.0);
        if let Some((ns, nr)) = header.sequence {
            layer.set("Ns", ns);
            layer.set("Nr", nr);
        }
        let payload = &octets[header.payload.clone()];
        if header.kind == Kind::Control {
            return self.control(header.is_zlb(), layer, payload, packet);
        }
        packet.layers.push(layer);
        if packet.layers.len() > LAYERS_MAX {
            return packet.malformed("more layers than anybody needs");
        }
        self.ppp(payload, packet);
    }

    fn control(&mut self, is_zlb: bool, mut layer: Layer, body: &[u8], packet: &mut Packet) {
        let secret = self.secrets.l2tp.as_ref();
        if is_zlb {
            packet.layers.push(layer.with("message", "ZLB"));
            return;
        }
        let mut reader = Reader::new(body, secret);
        let mut message = None;
        while let Some(Ok(avp)) = reader.next() {
            if avp.attribute == MESSAGE_TYPE && avp.vendor == 0 && message.is_none() {
                let number = number(avp.value) as u16;
                message = Some(number);
                layer.set("message", named(names::l2tp_message(number), number));
                continue;
            }
            layer.add(show(&avp, &reader, message));
        }
        packet.layers.push(layer);
        self.object(body, packet);
    }

    /// What the gateway itself would say to the message.
    fn object(&self, body: &[u8], packet: &mut Packet) {
        let secret: Option<&Secret> = self.secrets.l2tp.as_ref();
        match avp::objection(body, secret) {
            Some(refusal @ Refusal::CannotReveal(_)) if secret.is_none() => {
                packet.faults.push(Fault::NoKey(refusal.to_string()));
            }
            Some(refusal) => packet.malformed(refusal),
            None => {}
        }
    }
}

/// One AVP, its hidden value revealed if the secret is known.
fn show(avp: &Avp<'_>, reader: &Reader<'_, '_>, message: Option<u16>) -> Layer {
    let known = names::l2tp_attribute(avp.attribute).filter(|_| avp.vendor == 0);
    let mut layer = match known {
        Some((name, _)) => Layer::new(name),
        None => Layer::new("AVP")
            .with("vendor", avp.vendor)
            .with("attribute", avp.attribute),
    };
    if avp.flags & MANDATORY != 0 {
        layer.set("M", true);
    }
    let revealed = match avp.flags & HIDDEN {
        0 => None,
        _ => match reader.reveal(avp) {
            Ok(value) => Some(value),
            Err(_) => return layer.with("hidden octets", avp.value.len()),
        },
    };
    if revealed.is_some() {
        layer.set("hidden", true);
    }
    let value = revealed.as_deref().unwrap_or(avp.value);
    let form = known.map_or(Form::Octets, |(_, form)| form);
    layer.with("value", shown(form, value, message))
}

fn shown(form: Form, value: &[u8], message: Option<u16>) -> Value {
    match form {
        Form::Number if value.len() <= 8 => number(value).into(),
        Form::Version if value.len() == 2 => format!("{}.{}", value[0], value[1]).into(),
        Form::Text => escaped(value).into(),
        Form::Result => {
            let scope = if message == Some(STOP_CCN) {
                Scope::Tunnel
            } else {
                Scope::Call
            };
            let result = ResultCode::decode(value, scope);
            // The message is the peer's words.
            result.describe(scope).escape_debug().to_string().into()
        }
        Form::Number | Form::Version | Form::Octets => hex(value).into(),
    }
}

fn number(value: &[u8]) -> u64 {
    value
        .iter()
        .take(8)
        .fold(0, |number, octet| number << 8 | u64::from(*octet))
}
