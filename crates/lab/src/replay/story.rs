//! The story of one client: every message in a line, and whether the client would be content.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use packet::header::Udp;
use pcap_parser::Linktype;
use ppp::frame::{self, protocol};
use serde::Serialize;

use crate::client::{Client, Entry, Journal, Medium, Way};
use crate::decode::capture::Frame;
use crate::decode::keys::Keys;
use crate::decode::layer::Layer;
use crate::decode::{Decoder, Secrets};
use crate::profile::Profile;
use crate::wire::{self, Checksum, NON_ESP_MARKER};

/// Texts of a value that are shown in a line.
const VALUE_LEN_MAX: usize = 24;
/// Octets of an L2TP acknowledgement that says nothing else.
const ZLB_LEN: usize = 12;
/// Code of LCP's Protocol-Reject.
const PROTOCOL_REJECT: u8 = 8;

/// What one client did, and what it would have thought.
#[derive(Debug, Serialize)]
pub struct Story {
    /// As it was asked for.
    pub profile: String,
    /// What it is.
    pub about: String,
    /// The gateway.
    pub target: Ipv4Addr,
    /// What is not certain about the profile.
    pub unsure: Vec<String>,
    /// Every message, in order.
    pub steps: Vec<Step>,
    /// What PPP gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Phase 1 and the ESP suite that were agreed on.
    pub agreed: Vec<String>,
    /// What the client would do with the link, which is not played.
    pub then: Vec<String>,
    /// Where a later version of the gateway is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// What the client would not put up with.
    pub discontent: Vec<String>,
    /// Whether it is none of that.
    pub is_content: bool,
}

/// One message.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Since the first.
    pub seconds: f64,
    /// `sent` or `received`.
    pub way: &'static str,
    /// Of the message, without what carries it.
    pub octets: usize,
    /// The same was sent, or came, before.
    pub is_repeated: bool,
    /// What it is.
    pub what: String,
    /// What the client makes of it, if it is not the obvious.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// All that is in it.
    pub layers: Vec<Layer>,
}

impl Story {
    /// The story of a client that keeps a journal, between its address and the gateway's.
    #[must_use]
    pub fn of(name: &str, profile: &Profile, client: &Client, ends: (Ipv4Addr, Ipv4Addr)) -> Self {
        let empty = Journal::default();
        let journal = client.journal().unwrap_or(&empty);
        let steps = steps(journal, ends);
        let was_up = client.stages().total().is_some();
        let mut discontent = ignored_networks(profile, journal);
        let failure = client.failure();
        discontent.extend(failure.map(ToString::to_string));
        if failure.is_none() && !was_up {
            discontent.push("it was interrupted before it was up".into());
        }
        let ends_there = |ending: &&crate::profile::Ending| {
            failure.is_some_and(|failure| failure.stage == Some(ending.stage))
        };
        let ending = profile.ends.as_ref().filter(ends_there);
        let agreed = client.agreed();
        let suite = agreed.suite.map(|suite| suite.to_string());
        Self {
            profile: name.to_owned(),
            about: profile.about.clone(),
            target: ends.1,
            unsure: profile.unsure.clone(),
            steps,
            address: agreed.address,
            agreed: [agreed.phase1.clone()]
                .into_iter()
                .chain(suite)
                .chain(agreed.auth.map(|method| method.name().to_owned()))
                .filter(|text| !text.is_empty())
                .collect(),
            then: profile.then.clone(),
            ending: ending.map(|ending| format!("{}: {}", ending.stage, ending.because)),
            is_content: discontent.is_empty(),
            discontent,
        }
    }

    /// What the own kernel did not want to send.
    pub fn note_refused(&mut self, refused: Option<&str>) {
        if let Some(refused) = refused {
            self.discontent
                .push(format!("the kernel here refused to send: {refused}"));
            self.is_content = false;
        }
    }
}

/// Network protocols that the client asked for and that were neither answered nor rejected.
fn ignored_networks(profile: &Profile, journal: &Journal) -> Vec<String> {
    let frames = |way: Way| {
        let of_way = journal.entries.iter().filter(move |entry| entry.way == way);
        of_way.filter_map(ppp_frame)
    };
    let is_answered = |wanted: u16| {
        frames(Way::Received).any(|(number, information)| {
            let rejects = number == protocol::LCP
                && information.first() == Some(&PROTOCOL_REJECT)
                && information.get(4..6) == Some(&wanted.to_be_bytes());
            number == wanted || rejects
        })
    };
    profile
        .networks()
        .filter(|wanted| frames(Way::Sent).any(|(number, _)| number == *wanted))
        .filter(|wanted| !is_answered(*wanted))
        .map(|wanted| format!("nobody answered or rejected network protocol {wanted:#06x}"))
        .collect()
}

fn ppp_frame(entry: &Entry) -> Option<(u16, &[u8])> {
    let header = l2tp::peek(&entry.octets).ok()?;
    let is_data = entry.medium == Medium::L2tp && header.kind == l2tp::Kind::Data;
    frame::parse(&entry.octets[header.payload])
        .ok()
        .filter(|_| is_data)
}

/// Every message, read.
fn steps(journal: &Journal, (inside, target): (Ipv4Addr, Ipv4Addr)) -> Vec<Step> {
    let mut keys = Keys::default();
    for key in &journal.keys {
        // It is written by us, and what is written is read.
        let _added = keys.add(&ike::key_log::isakmp(key));
    }
    let mut decoder = Decoder::new(keys, Secrets::default());
    let mut teller = Teller::default();
    let start = journal.entries.first().map(|entry| entry.at);
    let numbered = (1..).zip(&journal.entries);
    numbered
        .map(|(number, entry)| {
            let octets = whole(entry, inside, target);
            let packet = decoder.decode(&Frame {
                number,
                time: 0,
                link: Linktype::RAW,
                octets: &octets,
                wire_len: octets.len(),
            });
            // What carries the message is made up.
            let layers = packet.layers.into_iter();
            let layers = layers.skip_while(|layer| !is_message(layer)).collect();
            teller.tell(entry, start, layers)
        })
        .collect()
}

fn is_message(layer: &Layer) -> bool {
    layer.name().starts_with("ISAKMP") || layer.name().starts_with("L2TP")
}

/// A message as the packet that a capture in front of IPsec would hold.
fn whole(entry: &Entry, inside: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let port = match entry.medium {
        Medium::Ike => Udp::IKE,
        Medium::FloatedIke => Udp::NAT_T,
        Medium::L2tp => Udp::L2TP,
    };
    let [own, peer] = [inside, target].map(|address| SocketAddrV4::new(address, port));
    let (from, to) = match entry.way {
        Way::Sent => (own, peer),
        Way::Received => (peer, own),
    };
    let marker = match entry.medium {
        Medium::FloatedIke => &NON_ESP_MARKER[..],
        Medium::Ike | Medium::L2tp => &[],
    };
    wire::udp(from, to, &[marker, &entry.octets].concat(), Checksum::Full)
}

/// An ISAKMP exchange: its name and message ID.
type ExchangeId = (String, String);

/// What was told so far, as far as it matters for what follows.
#[derive(Default)]
struct Teller {
    /// Every message and what was told of it: a copy is a retransmission.
    told: Vec<(Way, Vec<u8>, String)>,
    /// Messages of each exchange.
    counts: Vec<(ExchangeId, usize)>,
    /// The transforms that the client offered in an exchange.
    offers: Vec<(ExchangeId, Vec<String>)>,
}

impl Teller {
    fn tell(&mut self, entry: &Entry, start: Option<Instant>, layers: Vec<Layer>) -> Step {
        let refused = entry.refusal.as_ref();
        let mut remark = refused.map(|why| format!("the client does not take it: {why}"));
        let key = without_acknowledgement(entry);
        let earlier = self.earlier(entry.way, key.as_deref());
        let is_repeated = earlier.is_some();
        let what = earlier.unwrap_or_else(|| match layers.last() {
            Some(layer) if layer.name() == "ISAKMP" => {
                let (what, choice) = self.isakmp(layer, entry.way);
                remark = remark.take().or(choice);
                what
            }
            Some(layer) => plain(layer),
            None => "unreadable".into(),
        });
        if let Some(key) = key.filter(|_| !is_repeated) {
            self.told.push((entry.way, key, what.clone()));
        }
        Step {
            seconds: start.map_or(0.0, |start| (entry.at - start).as_secs_f64()),
            way: match entry.way {
                Way::Sent => "sent",
                Way::Received => "received",
            },
            octets: entry.octets.len(),
            is_repeated,
            what,
            remark,
            layers,
        }
    }

    /// What was told of the same message, if it has come or gone before.
    fn earlier(&self, way: Way, key: Option<&[u8]>) -> Option<String> {
        let mut told = self.told.iter();
        told.find(|(known, octets, _)| *known == way && Some(&octets[..]) == key)
            .map(|(.., what)| what.clone())
    }

    /// The exchange, the number of its message, and the payloads; what the client makes of a choice.
    fn isakmp(&mut self, layer: &Layer, way: Way) -> (String, Option<String>) {
        let text = |key: &str| {
            let value = layer.field(key).and_then(|value| value.as_str());
            value.unwrap_or_default().to_owned()
        };
        let (name, payloads) = (text("exchange"), payloads(layer));
        if name == "informational" {
            return (format!("informational: {payloads}"), None);
        }
        let id = (name.clone(), text("message id"));
        let number = self.count(&id);
        let transforms = transforms(layer);
        let choice = match way {
            Way::Received => self.choice(&id, &transforms),
            Way::Sent => {
                if number == 1 {
                    self.offers.push((id, transforms));
                }
                None
            }
        };
        (format!("{name} {number}: {payloads}"), choice)
    }

    /// The number of the next message of an exchange, from 1.
    fn count(&mut self, id: &ExchangeId) -> usize {
        let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| known == id) else {
            self.counts.push((id.clone(), 1));
            return 1;
        };
        *count += 1;
        *count
    }

    /// Which of the transforms that the client offered in this exchange was chosen.
    fn choice(&self, id: &ExchangeId, transforms: &[String]) -> Option<String> {
        let [chosen] = transforms else {
            return None;
        };
        let (_, offer) = self.offers.iter().find(|(known, _)| known == id)?;
        let at = offer.iter().position(|offered| offered == chosen);
        Some(match at {
            Some(at) => format!("its choice {} of {}", at + 1, offer.len()),
            None => "it has not offered that".into(),
        })
    }
}

/// What a message and its copies have in common: RFC 2661 §5.8 lets Nr be that of now. `None` for an
/// acknowledgement, which says something new each time.
fn without_acknowledgement(entry: &Entry) -> Option<Vec<u8>> {
    let mut octets = entry.octets.clone();
    let is_control = entry.medium == Medium::L2tp && octets.first().is_some_and(|o| o & 0x80 != 0);
    if is_control && octets.len() <= ZLB_LEN {
        return None;
    }
    if is_control {
        octets[10..12].fill(0);
    }
    Some(octets)
}

/// Every transform of an SA payload, without lifetimes.
fn transforms(layer: &Layer) -> Vec<String> {
    let sas = layer.parts().iter().filter(|part| part.name() == "SA");
    let proposals = sas.flat_map(Layer::parts);
    proposals.flat_map(Layer::parts).map(transform).collect()
}

fn transform(layer: &Layer) -> String {
    let field = |key: &str| {
        let value = layer.field(key)?;
        Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    };
    let id = field("id").filter(|id| id != "KEY_IKE");
    let mut text = id.or_else(|| field("encryption")).unwrap_or_default();
    if let Some(bits) = field("key length") {
        text = format!("{text}-{bits}");
    }
    let rest = ["integrity", "hash", "group"].into_iter().filter_map(field);
    rest.fold(text, |text, part| format!("{text}/{part}"))
}

/// The payloads in a line.
fn payloads(layer: &Layer) -> String {
    let mut told: Vec<(String, usize)> = Vec::new();
    for part in layer.parts() {
        let text = match part.name() {
            "SA" => format!("SA ({})", transforms(layer).join(", ")),
            "N" | "D" => brief(part),
            name => name.to_owned(),
        };
        match told.last_mut() {
            Some((last, count)) if *last == text => *count += 1,
            _ => told.push((text, 1)),
        }
    }
    let times = |(text, count): (String, usize)| match count {
        1 => text,
        _ => format!("{text} ×{count}"),
    };
    let told: Vec<String> = told.into_iter().map(times).collect();
    match told.is_empty() {
        true => "sealed".into(),
        false => told.join(", "),
    }
}

/// A control message of L2TP, or a packet of PPP: its kind and what it holds.
fn plain(layer: &Layer) -> String {
    let field = |key: &str| layer.field(key).and_then(|value| value.as_str());
    let name = match layer.name() {
        "L2TP control" => field("message").unwrap_or("L2TP control").to_owned(),
        name => format!("{name} {}", field("code").unwrap_or_default()),
    };
    let parts: Vec<String> = layer.parts().iter().map(brief).collect();
    let detail = ["rejected", "text", "message", "peer", "name"];
    let mut detail = detail
        .into_iter()
        .filter_map(field)
        .filter(|text| !text.is_empty());
    match (parts.is_empty(), detail.next()) {
        (false, _) => format!("{name}: {}", parts.join(", ")),
        (true, Some(detail)) if layer.name() != "L2TP control" => format!("{name}: {detail}"),
        (true, _) => name,
    }
}

/// The name of a part and its values, shortened.
fn brief(layer: &Layer) -> String {
    let shown = [
        "vendor",
        "attribute",
        "type",
        "protocol",
        "value",
        "hidden octets",
    ];
    let mut text = layer.name().to_owned();
    for value in shown.into_iter().filter_map(|key| layer.field(key)) {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let short: String = value.chars().take(VALUE_LEN_MAX).collect();
        let rest = if short.len() < value.len() { "…" } else { "" };
        text = format!("{text} {short}{rest}");
    }
    text
}

/// A story for people.
pub struct Telling<'s> {
    /// The story.
    pub story: &'s Story,
    /// With all that is in the messages.
    pub is_whole: bool,
}

impl fmt::Display for Telling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let story = self.story;
        writeln!(f, "{} to {}: {}", story.profile, story.target, story.about)?;
        if !story.unsure.is_empty() {
            writeln!(f, "not certain (K general knowledge, ? not established):")?;
        }
        for remark in &story.unsure {
            writeln!(f, "  {remark}")?;
        }
        for step in &story.steps {
            step.write(f, self.is_whole)?;
        }
        self.outcome(f)
    }
}

impl Telling<'_> {
    fn outcome(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let story = self.story;
        if let Some(address) = story.address {
            writeln!(f, "it had {address}, by {}", story.agreed.join(", "))?;
        }
        for then in &story.then {
            writeln!(f, "it would go on with: {then}")?;
        }
        if let Some(ending) = &story.ending {
            writeln!(f, "it ends at {ending}")?;
        }
        for why in &story.discontent {
            writeln!(f, "discontent: {why}")?;
        }
        match story.is_content {
            true => writeln!(f, "content"),
            false => Ok(()),
        }
    }
}

impl Step {
    fn write(&self, f: &mut fmt::Formatter<'_>, is_whole: bool) -> fmt::Result {
        let arrow = if self.way == "sent" { "►" } else { "◄" };
        let again = if self.is_repeated { "again: " } else { "" };
        let (seconds, octets, what) = (self.seconds, self.octets, &self.what);
        writeln!(f, "{seconds:9.3} {arrow} {octets:4}  {again}{what}")?;
        if let Some(remark) = &self.remark {
            writeln!(f, "{:19}{remark}", "")?;
        }
        if is_whole {
            self.layers
                .iter()
                .try_for_each(|layer| write!(f, "{layer}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// A PPP frame in a data message.
    fn entry(way: Way, frame: &[u8]) -> Entry {
        let header = wire::l2tp_header(7, 9);
        Entry {
            at: clock::now(),
            way,
            medium: Medium::L2tp,
            octets: [&header[..], frame].concat(),
            refusal: None,
        }
    }

    #[test]
    fn a_network_protocol_that_nobody_answers_is_a_cause_of_discontent() {
        let profile = Profile::load("windows-11").unwrap();
        let asked = [0xff, 3, 0x80, 0xfd, 1, 1, 0, 4];
        let mut journal = Journal::default();
        assert_eq!(
            ignored_networks(&profile, &journal).len(),
            0,
            "not asked for"
        );
        journal.entries.push(entry(Way::Sent, &asked));
        let ignored = ignored_networks(&profile, &journal);
        assert_eq!(
            ignored,
            ["nobody answered or rejected network protocol 0x80fd"]
        );
        let echo = [0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0x80, 0xfd, 0, 0];
        journal.entries.push(entry(Way::Received, &echo));
        assert_eq!(
            ignored_networks(&profile, &journal).len(),
            1,
            "no Protocol-Reject"
        );
        let reject = [0xff, 3, 0xc0, 0x21, 8, 1, 0, 10, 0x80, 0xfd, 1, 1, 0, 4];
        journal.entries.push(entry(Way::Received, &reject));
        assert_eq!(ignored_networks(&profile, &journal).len(), 0);
    }

    #[test]
    fn copies_do_not_count_in_an_exchange_whoever_sends_them() {
        // <-- and --> main mode, all of it headers.
        let isakmp = |way, responder: u8| {
            let mut octets = vec![1; 8];
            octets.extend([responder; 8]);
            octets.extend([0, 0x10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 28]);
            Entry {
                octets,
                medium: Medium::Ike,
                ..entry(way, &[])
            }
        };
        let (sent, received) = (Way::Sent, Way::Received);
        let ways = [
            (sent, 0),
            (received, 2),
            (received, 2),
            (sent, 2),
            (sent, 0),
        ];
        let journal = Journal {
            entries: ways.map(|(way, to)| isakmp(way, to)).into(),
            ..Journal::default()
        };
        let steps = steps(&journal, (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST));
        let told: Vec<(&str, bool)> = steps
            .iter()
            .map(|step| (&step.what[..11], step.is_repeated))
            .collect();
        assert_eq!(
            told,
            [
                ("main mode 1", false),
                ("main mode 2", false),
                ("main mode 2", true),
                ("main mode 3", false),
                ("main mode 1", true)
            ]
        );
    }

    #[test]
    fn a_message_that_is_sent_again_is_told_so_though_its_nr_has_moved() {
        let mut teller = Teller::default();
        let hello = |nr| {
            let mut octets = vec![0xc8, 2, 0, 20, 0, 7, 0, 0, 0, 3, 0, nr];
            octets.extend([0x80, 8, 0, 0, 0, 0, 0, 6]);
            Entry {
                octets,
                ..entry(Way::Sent, &[])
            }
        };
        let zlb = Entry {
            octets: vec![0xc8, 2, 0, 12, 0, 7, 0, 0, 0, 3, 0, 4],
            ..entry(Way::Sent, &[])
        };
        assert!(!teller.tell(&hello(1), None, vec![]).is_repeated);
        assert!(teller.tell(&hello(2), None, vec![]).is_repeated);
        assert!(!teller.tell(&zlb, None, vec![]).is_repeated);
        assert!(
            !teller.tell(&zlb, None, vec![]).is_repeated,
            "says something new each time"
        );
    }
}
