//! From the text of a profile to a [`Profile`]: every key, what it may be, and what holds without
//! it.

use std::time::Duration;

use document::Section;
use l2tp::Results;
use ppp::Method;

use super::notation::{AVP, ESP, OCTETS, PHASE1, PPP_OPTION, VENDOR_ID};
use super::{Call, Ending, Ike, Link, Needs, Network, Port, Profile, Quick, Tunnel};
use crate::client::Stage;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Messages whose AVPs a profile may list.
const MESSAGES: [(&str, u16); 4] = [("sccrq", 1), ("scccn", 3), ("icrq", 10), ("iccn", 12)];

pub(super) fn profile(root: &mut Section<'_>) -> Profile {
    let ike = root.has("ike").then(|| root.section("ike", ike));
    let needs = match &ike {
        None => Needs::Plain,
        Some(_) => {
            let choices = [("modern", Needs::Modern), ("compat", Needs::Compat)];
            root.choice("needs", &choices, Needs::Modern)
        }
    };
    Profile {
        about: root.required_text("about").unwrap_or_default(),
        sources: root.texts("sources"),
        unsure: unsure(root),
        needs,
        ends: root.has("ends").then(|| root.section("ends", ending)),
        then: root.texts("then"),
        ike,
        l2tp: root.section("l2tp", tunnel),
        call: root.section("call", call),
        ppp: root.section("ppp", link),
        patience: root.duration("patience", SECOND..=10 * MINUTE, MINUTE),
    }
}

/// Every remark begins with its mark.
fn unsure(root: &Section<'_>) -> Vec<String> {
    let remarks = root.texts("unsure");
    for remark in &remarks {
        if !remark.starts_with("K ") && !remark.starts_with("? ") {
            let what =
                format!("\"{remark}\" has to begin with K (general knowledge) or ? (unknown)");
            root.fault("unsure", what);
        }
    }
    remarks
}

fn ending(section: &mut Section<'_>) -> Ending {
    let stages = Stage::ALL.map(|stage| (stage.key(), stage));
    Ending {
        stage: section.choice("stage", &stages, Stage::Phase1),
        because: section.required_text("because").unwrap_or_default(),
    }
}

fn ike(section: &mut Section<'_>) -> Ike {
    let ike = Ike {
        vendor_ids: section.list("vendor-ids", VENDOR_ID),
        phase1: section.list("phase1", PHASE1),
        lifetime: section.duration("lifetime", MINUTE..=7 * DAY, 8 * HOUR),
        has_long_lifetimes: section.flag("long-lifetimes", false),
        nonce_octets: section.number("nonce", 8..=256, 32),
        ladder: waits(section, "retransmit"),
        keepalive: section.duration("keepalive", SECOND..=HOUR, 20 * SECOND),
        initial_contact: section.flag("initial-contact", false),
        quick: section.section("quick", quick),
    };
    if ike.phase1.iter().all(|offer| offer.usable.is_none()) {
        section.fault("phase1", "none of the transforms is one that can be played");
    }
    ike
}

fn quick(section: &mut Section<'_>) -> Quick {
    let quick = Quick {
        esp: section.list("esp", ESP),
        has_proposal_each: section.flag("proposal-each", false),
        lifetime: section.duration("lifetime", MINUTE..=7 * DAY, HOUR),
        kilobytes: optional(section, "kilobytes", 1024..=u32::MAX),
        pfs: section.parsed("pfs", "a group such as modp1024"),
        counts: section.flag("counted-message-ids", false),
        local_port: port(section, "local-port"),
        remote_port: section.number("remote-port", 0..=u16::MAX, 1701),
        cuts_sha256: section.flag("sha256-cut-to-96-bits", false),
    };
    if quick.esp.iter().all(|offer| offer.usable.is_none()) {
        section.fault("esp", "none of the suites is one that can be played");
    }
    quick
}

fn tunnel(section: &mut Section<'_>) -> Tunnel {
    Tunnel {
        port: port(section, "port"),
        host_name: section.required_text("host-name").unwrap_or_default(),
        vendor_name: section.text("vendor-name").unwrap_or_default(),
        framing: section.number("framing-capabilities", 0..=3, 3),
        window: section.number("receive-window", 1..=u16::MAX, 4),
        counts_ids: section.flag("counted-ids", false),
        hello: section
            .has("hello")
            .then(|| section.duration("hello", SECOND..=DAY, MINUTE)),
        ladder: waits(section, "retransmit"),
        tries: section.number("tries", 1..=100, 5),
        opening_ladder: waits(section, "opening-retransmit"),
        opening_tries: section.number("opening-tries", 0..=100, 0),
        sends_one_at_a_time: section.flag("sends-one-at-a-time", false),
        hears_one_at_a_time: section.flag("hears-one-at-a-time", false),
        wants_exact_header: section.flag("exact-header", false),
        waits_for_acknowledgement: section.flag("waits-for-acknowledgement", false),
        challenges: section.flag("challenge", false),
        hides: section.flag("hidden-avps", false),
        results: results(section),
        messages: MESSAGES
            .iter()
            .filter(|(name, _)| section.has(name))
            .map(|(name, number)| (*number, section.list(name, AVP)))
            .collect(),
    }
}

fn results(section: &Section<'_>) -> Results {
    let choices = [
        ("standard", Results::Standard),
        ("apple", Results::Apple),
        ("bare-6", Results::Bare(6)),
    ];
    section.choice("result-codes", &choices, Results::Standard)
}

fn call(section: &mut Section<'_>) -> Call {
    Call {
        tx_speed: section.number("tx-speed", 0..=u32::MAX, 100_000_000),
        rx_speed: optional(section, "rx-speed", 0..=u32::MAX),
        framing: section.number("framing-type", 0..=3, 1),
        bearer: optional(section, "bearer-type", 0..=3),
        calling_number: section.text("calling-number"),
        called_number: section.text("called-number"),
    }
}

fn link(section: &mut Section<'_>) -> Link {
    let methods = [Method::MsChapV2, Method::ChapMd5, Method::Pap];
    let named = methods.map(|method| (method.name(), method));
    Link {
        mru: section.number("mru", ppp::MIN_MRU..=u16::MAX, 1400),
        auth: section
            .choices("auth", &named)
            .unwrap_or_else(|| methods.to_vec()),
        lcp: section.list("lcp", PPP_OPTION),
        ipcp: section.list("ipcp", PPP_OPTION),
        networks: section.sections("network", network),
        identifications: section.list("identifications", OCTETS),
        restart: section.duration("restart", MILLISECOND..=MINUTE, 3 * SECOND),
        tries: section.number("tries", 1..=100, 10),
        echo_interval: section.duration("echo-interval", Duration::ZERO..=HOUR, Duration::ZERO),
        echo_failures: section.number("echo-failures", 1..=100, 4),
    }
}

fn network(section: &mut Section<'_>) -> Network {
    let protocol = section.parsed("protocol", "ccp, ipv6cp, acscp or a number such as 0x8235");
    if protocol.is_none() && !section.has("protocol") {
        section.fault("protocol", "this key has to be there");
    }
    Network {
        protocol: protocol.unwrap_or(super::Protocol(0)),
        options: section.list("options", PPP_OPTION),
        is_first: section.flag("first", false),
    }
}

/// A ladder: the wait after each sending.
fn waits(section: &Section<'_>, key: &str) -> Vec<Duration> {
    let waits: Vec<humantime::Duration> = section.list(key, "a time such as 2s");
    let waits: Vec<Duration> = waits.into_iter().map(Into::into).collect();
    if waits
        .iter()
        .any(|wait| !(MILLISECOND..=HOUR).contains(wait))
    {
        section.fault(key, "a wait is between 1ms and 1h");
    }
    waits
}

/// A port as a text, because `ephemeral` is one.
fn port(section: &Section<'_>, key: &str) -> Port {
    let port = section.parsed(key, "a port such as \"1701\", or \"ephemeral\"");
    port.unwrap_or(Port::Fixed(1701))
}

fn optional<T>(section: &Section<'_>, key: &str, range: std::ops::RangeInclusive<T>) -> Option<T>
where
    T: Copy + PartialOrd + std::str::FromStr + std::fmt::Display,
{
    let default = *range.start();
    section
        .has(key)
        .then(|| section.number(key, range, default))
}
