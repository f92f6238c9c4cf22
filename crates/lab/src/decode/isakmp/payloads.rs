//! One payload after the other, by their names.

use std::net::SocketAddr;

use crypto::hash::Hash;
use ike::message::{Cookies, Payload, kind};
use ike::nat;
use ike::payload::attribute::{Attribute, Value};
use ike::payload::delete::Delete;
use ike::payload::identification::Identification;
use ike::payload::nat_address;
use ike::payload::notification::{self, Notification, PROTO_ISAKMP};
use ike::payload::security_association::{SecurityAssociation, Transform};
use ike::{Identity, Refusal};

use super::super::layer::{Layer, hex, named};
use super::super::names::{self, Attributes};

/// What a payload has to be held against.
pub(super) struct Surroundings {
    pub(super) cookies: Cookies,
    /// Sender and receiver of the datagram.
    pub(super) ends: [SocketAddr; 2],
    /// The hash that was negotiated.
    pub(super) hash: Option<Hash>,
}

/// Shows a payload, or says why it cannot be read.
pub(super) fn show(payload: &Payload<'_>, around: &Surroundings) -> Result<Layer, Refusal> {
    let body = payload.body;
    let name = named(
        names::payload(payload.kind),
        format!("payload {}", payload.kind),
    );
    let mut layer = Layer::new(name);
    match payload.kind {
        kind::SA => proposals(&SecurityAssociation::parse(body)?, &mut layer),
        kind::IDENTIFICATION => identification(body, &mut layer)?,
        kind::NOTIFICATION => notify(&Notification::parse(body)?, &mut layer),
        kind::DELETE => delete(&Delete::parse(body)?, &mut layer),
        kind::VENDOR_ID => {
            if let Some(name) = names::vendor(body) {
                layer.set("of", name);
            }
            layer.set("value", hex(body));
        }
        kind::NAT_D | kind::NAT_D_DRAFT => nat_d(body, around, &mut layer),
        kind::NAT_OA | kind::NAT_OA_DRAFT => {
            layer.set("address", nat_address::parse(body)?.to_string());
        }
        kind::HASH | kind::NONCE => layer.set("value", hex(body)),
        kind::CERTIFICATE | kind::CERTIFICATE_REQUEST => certificate(body, &mut layer),
        _ => layer.set("octets", body.len()),
    }
    Ok(layer)
}

fn proposals(sa: &SecurityAssociation<'_>, layer: &mut Layer) {
    for proposal in &sa.proposals {
        let protocol = named(names::protocol(proposal.protocol), proposal.protocol);
        let mut shown = Layer::new("proposal")
            .with("number", proposal.number)
            .with("protocol", protocol);
        if !proposal.spi.is_empty() {
            shown.set("spi", hex(proposal.spi));
        }
        for one in &proposal.transforms {
            shown.add(transform(one, proposal.protocol));
        }
        layer.add(shown);
    }
}

fn transform(transform: &Transform<'_>, protocol: u8) -> Layer {
    let (set, id) = match protocol {
        PROTO_ISAKMP => (Attributes::Phase1, (transform.id == 1).then_some("KEY_IKE")),
        _ => (Attributes::Phase2, names::encryption_id(transform.id)),
    };
    let mut layer = Layer::new("transform")
        .with("number", transform.number)
        .with("id", named(id, transform.id));
    for attribute in &transform.attributes {
        add_attribute(set, attribute, &mut layer);
    }
    layer
}

fn add_attribute(set: Attributes, attribute: &Attribute<'_>, layer: &mut Layer) {
    let number = attribute.value.number();
    match (
        names::attribute(set, attribute.kind, number),
        attribute.value,
    ) {
        ((Some(name), Some(value)), _) => layer.set(name, value),
        ((Some(name), None), _) => layer.set(name, number),
        ((None, _), Value::Short(_)) => {
            layer.set("attribute", format!("{} = {number}", attribute.kind));
        }
        ((None, _), Value::Long(octets)) => {
            layer.set("attribute", format!("{} = {}", attribute.kind, hex(octets)));
        }
    }
}

fn identification(body: &[u8], layer: &mut Layer) -> Result<(), Refusal> {
    let id = Identification::parse(body)?;
    let kind = body.first().copied().unwrap_or(0);
    layer.set("type", named(names::identification(kind), kind));
    let value = match &id.identity {
        Identity::DerAsn1Dn(der) | Identity::DerAsn1Gn(der) => hex(der),
        Identity::Ipv4(_)
        | Identity::Fqdn(_)
        | Identity::UserFqdn(_)
        | Identity::Ipv4Subnet(..)
        | Identity::Ipv6(_)
        | Identity::Ipv6Subnet(..)
        | Identity::Ipv4Range(..)
        | Identity::Ipv6Range(..)
        | Identity::KeyId(_) => id.identity.to_string(),
    };
    layer.set("value", value);
    layer.set("protocol", id.protocol);
    layer.set("port", id.port);
    Ok(())
}

fn notify(notification: &Notification<'_>, layer: &mut Layer) {
    let name = named(notification::name(notification.kind), notification.kind);
    layer.set("type", name);
    let protocol = named(
        names::protocol(notification.protocol),
        notification.protocol,
    );
    layer.set("protocol", protocol);
    if !notification.spi.is_empty() {
        layer.set("spi", hex(notification.spi));
    }
    match (notification.kind, notification.content) {
        (_, []) => {}
        (notification::R_U_THERE | notification::R_U_THERE_ACK, &[a, b, c, d]) => {
            layer.set("sequence", u32::from_be_bytes([a, b, c, d]));
        }
        (_, content) => layer.set("content", hex(content)),
    }
}

fn delete(delete: &Delete, layer: &mut Layer) {
    let (protocol, spis) = match delete {
        Delete::Isakmp(sas) => {
            let shown = sas
                .iter()
                .map(|sa| format!("{}:{}", sa.initiator, sa.responder));
            ("ISAKMP".into(), shown.collect::<Vec<_>>())
        }
        Delete::Esp(spis) => {
            let shown = spis.iter().map(|spi| format!("0x{spi}"));
            ("ESP".into(), shown.collect())
        }
        Delete::Other(protocol) => (named(names::protocol(*protocol), protocol), Vec::new()),
    };
    layer.set("protocol", protocol);
    if !spis.is_empty() {
        layer.set("spi", spis.join(" "));
    }
}

/// Whose address it is the hash of (RFC 3947 §3.2); of neither, if there is a NAT before that end.
fn nat_d(body: &[u8], around: &Surroundings, layer: &mut Layer) {
    if let Some(hash) = around.hash {
        let is_of = |end: &&SocketAddr| nat::nat_d(hash, &around.cookies, **end)[..] == *body;
        match around.ends.iter().find(is_of) {
            Some(end) => layer.set("of", end.to_string()),
            None => layer.set("of", "another address or port"),
        }
    }
    layer.set("value", hex(body));
}

fn certificate(body: &[u8], layer: &mut Layer) {
    if let Some((&encoding, rest)) = body.split_first() {
        layer.set(
            "encoding",
            named(names::certificate_encoding(encoding), encoding),
        );
        layer.set("octets", rest.len());
    }
}
