//! `[[listener]]`: where peers are served, and how IKE, L2TP and PPP are spoken there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use control::settings::{Listener, Profile};
use document::Section;
use ike::policy::{Dpd, Natt, Policy, Psk};
use ppp::Method;

use super::subscriber::LISTENER_PROFILE;
use super::{DAY, HOUR, SECOND};

/// A listener, and the profile that its `pool` stands for if it names no `profile`.
pub(super) fn read(
    section: &mut Section<'_>,
    index: u16,
    host_name: &str,
) -> (Listener, Option<Profile>) {
    let name = section.required_text("name").unwrap_or_default();
    let address = section.parsed("address", "an IP address");
    match address {
        None if !section.has("address") => {
            section.fault("address", "a listener needs the address that peers dial");
        }
        Some(IpAddr::V6(_)) => {
            section.fault("address", "IPv6 outside the tunnels is not served yet")
        }
        Some(address) if address.is_unspecified() => {
            section.fault("address", "name the address; one listener for each");
        }
        _ => {}
    }
    let ipsec = [
        ("required", (true, true)),
        ("optional", (true, false)),
        ("off", (false, false)),
    ];
    let (answers_ike, ipsec_required) = section.choice("ipsec", &ipsec, (true, true));
    let ike = read_ike(section, answers_ike);
    let (l2tp, data_checksum) = section.section("l2tp", |l2tp| read_l2tp(l2tp, host_name));
    let ppp = read_ppp(section, host_name);
    let (profile, own_profile) = read_profile(section, &name);
    let listener = Listener {
        index,
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        vrf: 0,
        ipsec_required,
        ike: ike.map(Arc::new),
        l2tp: Arc::new(l2tp),
        ppp,
        profile,
        data_checksum,
        name,
    };
    (listener, own_profile)
}

fn read_profile(section: &Section<'_>, listener: &str) -> (String, Option<Profile>) {
    match (section.text("profile"), section.text("pool")) {
        (Some(profile), None) => (profile, None),
        (None, Some(pool)) => {
            let profile = Profile::new(&format!("{LISTENER_PROFILE}{listener}"), &pool);
            (profile.name.clone(), Some(profile))
        }
        (None, None) => {
            section.fault(
                "pool",
                "a listener needs a pool, or a profile that names one",
            );
            (String::new(), None)
        }
        (Some(profile), Some(_)) => {
            section.fault("pool", "a listener has either a pool or a profile");
            (profile, None)
        }
    }
}

fn read_ike(section: &mut Section<'_>, answers: bool) -> Option<Policy> {
    let policies = [
        ("modern", Policy::modern()),
        ("compat", Policy::compat()),
        ("strict", Policy::strict()),
    ];
    let mut policy = section.choice("policy", &policies, Policy::modern());
    let psks = section.sections("psk", read_psk);
    let is_keyless = psks.is_empty();
    policy.psks = psks.into_iter().flatten().collect();
    section.section("ike", |ike| read_ike_details(ike, &mut policy));
    if answers && is_keyless {
        section.fault(
            "psk",
            "IPsec needs a key: psk = [{ secret = \"…\" }], or ipsec = \"off\"",
        );
    }
    if !answers && !is_keyless {
        section.fault("psk", "with ipsec = \"off\" nobody uses this key");
    }
    answers.then_some(policy)
}

fn read_psk(section: &mut Section<'_>) -> Option<Psk> {
    let any = section.text("peer").is_none_or(|peer| peer == "any");
    let peer = if any {
        None
    } else {
        section.parsed("peer", "\"any\" or a prefix")
    };
    if !section.has("secret") {
        section.fault(
            "secret",
            "a key needs a secret: a text, or { file = \"…\" }",
        );
    }
    let key = section.secret("secret")?;
    if key.is_empty() {
        section.fault("secret", "an empty secret protects nothing");
    }
    Some(Psk {
        peer,
        identity: None,
        key,
    })
}

fn read_ike_details(section: &mut Section<'_>, policy: &mut Policy) {
    let natt = [
        ("off", Natt::Off),
        ("detect", Natt::Detect),
        ("force", Natt::Force),
    ];
    policy.natt = section.choice("nat_traversal", &natt, Natt::Detect);
    policy.phase1_lifetime = section.duration(
        "phase1_lifetime",
        60 * SECOND..=7 * DAY,
        policy.phase1_lifetime,
    );
    policy.phase2_lifetime = section.duration(
        "phase2_lifetime",
        10 * SECOND..=7 * DAY,
        policy.phase2_lifetime,
    );
    if section.has("phase2_kilobytes") {
        let kilobytes = section.number("phase2_kilobytes", 1_000..=u32::MAX, u32::MAX);
        policy.phase2_kilobytes = Some(kilobytes);
    }
    policy.rekey = section.flag("rekey", policy.rekey);
    policy.overlap = section.duration("overlap", SECOND..=HOUR, policy.overlap);
    policy.pfs_required = section.flag("pfs_required", false);
    policy.nat_keepalive = section.duration("nat_keepalive", SECOND..=HOUR, policy.nat_keepalive);
    policy.setup_limit = section.duration("setup_limit", SECOND..=HOUR, policy.setup_limit);
    if section.flag("dpd", true) {
        let default = Dpd {
            interval: 30 * SECOND,
            retry: 5 * SECOND,
            tries: 5,
        };
        let now = policy.dpd.unwrap_or(default);
        policy.dpd = Some(Dpd {
            interval: section.duration("dpd_interval", SECOND..=HOUR, now.interval),
            retry: section.duration("dpd_retry", SECOND..=HOUR, now.retry),
            tries: section.number("dpd_tries", 1..=100, now.tries),
        });
    } else {
        policy.dpd = None;
    }
}

fn read_l2tp(section: &mut Section<'_>, host_name: &str) -> (l2tp::Settings, bool) {
    let secret = section.secret("secret");
    let default = l2tp::Settings::default();
    let require = section.flag("require_secret", false);
    if require && secret.is_none() {
        section.fault("require_secret", "there is no secret to require");
    }
    let hello = section.duration("hello", Duration::ZERO..=DAY, 60 * SECOND);
    let settings = l2tp::Settings {
        host_name: super::host_name(section, host_name),
        require_tunnel_auth: require,
        receive_window: section.number("receive_window", 1..=1024, default.receive_window),
        hello_interval: (!hello.is_zero()).then_some(hello),
        retransmissions: section.number("retransmissions", 1..=20, default.retransmissions),
        setup_limit: section.duration("setup_limit", SECOND..=HOUR, default.setup_limit),
        max_sessions: section.number("max_sessions", 1..=65535, default.max_sessions),
        secret,
        ..default
    };
    (settings, section.flag("data_checksum", false))
}

fn read_ppp(section: &mut Section<'_>, host_name: &str) -> ppp::Settings {
    let methods = [
        ("mschapv2", Method::MsChapV2),
        ("chap", Method::ChapMd5),
        ("pap", Method::Pap),
    ];
    let auth = section.choices("auth", &methods);
    if auth.as_ref().is_some_and(Vec::is_empty) {
        section.fault("auth", "at least one of mschapv2, chap, pap");
    }
    let mut settings = ppp::Settings::server(host_name);
    if let Some(auth) = auth {
        settings.auth = auth;
    }
    section.section("ppp", |ppp| {
        settings.mru = ppp.number("mru", 576..=9000, 1500);
        settings.echo_interval = ppp.duration(
            "echo_interval",
            Duration::ZERO..=HOUR,
            settings.echo_interval,
        );
        settings.echo_failures = ppp.number("echo_failures", 1..=100, settings.echo_failures);
        settings.negotiation_limit = ppp.duration(
            "negotiation_limit",
            SECOND..=HOUR,
            settings.negotiation_limit,
        );
    });
    settings
}

/// A plain tunnel is found by its listener and its id: this many listeners fit.
const LISTENERS_MAX: usize = 256;

/// What one listener cannot see: two of the same name or address.
pub(super) fn check(root: &Section<'_>, listeners: &[Listener]) {
    if listeners.is_empty() {
        root.fault(
            "listener",
            "at least one [[listener]] is needed: nobody could dial in",
        );
    }
    if listeners.len() > LISTENERS_MAX {
        let text = format!(
            "there are {}, and {LISTENERS_MAX} are served",
            listeners.len()
        );
        root.fault("listener", text);
    }
    let mut names = BTreeSet::new();
    let mut addresses = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        let name = &listener.name;
        if !names.insert(name) {
            root.fault_in(
                "listener",
                index,
                "name",
                format!("\"{name}\" is given twice"),
            );
        }
        if let Some(other) = addresses.insert(listener.address, name) {
            let what = format!("\"{other}\" has the same address");
            root.fault_in("listener", index, "address", what);
        }
    }
}
