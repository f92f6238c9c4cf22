//! `[limits]` and `[rekey]`.

use control::settings::{Limits, Rekey};
use document::Section;

use super::{HOUR, Rates, SECOND};

pub(super) fn limits(section: &mut Section<'_>, limits: &mut Limits) {
    const MANY: usize = 1 << 24;
    let number = |key: &str, now: usize| section.number(key, 1..=MANY, now);
    let answers = |key: &str, now: u32| section.number(key, 0..=1_000_000, now);
    *limits = Limits {
        peers: number("peers", limits.peers),
        peers_per_source: number("peers_per_source", limits.peers_per_source),
        tunnels: number("tunnels", limits.tunnels),
        tunnels_per_peer: number("tunnels_per_peer", limits.tunnels_per_peer),
        tunnels_per_source: number("tunnels_per_source", limits.tunnels_per_source),
        sessions: number("sessions", limits.sessions),
        sessions_per_source: number("sessions_per_source", limits.sessions_per_source),
        half_open_ike: number("half_open_ike", limits.half_open_ike),
        half_open_ike_per_source: number(
            "half_open_ike_per_source",
            limits.half_open_ike_per_source,
        ),
        half_open_l2tp: number("half_open_l2tp", limits.half_open_l2tp),
        half_open_l2tp_per_source: number(
            "half_open_l2tp_per_source",
            limits.half_open_l2tp_per_source,
        ),
        unknown_tunnel_answers: answers("unknown_tunnel_answers", limits.unknown_tunnel_answers),
        refused_tunnel_answers: answers("refused_tunnel_answers", limits.refused_tunnel_answers),
        computations: number("computations", limits.computations),
        backlog: number("backlog", limits.backlog),
        backlog_age: section.duration("backlog_age", SECOND..=HOUR, limits.backlog_age),
        admin_requests: number("admin_requests", limits.admin_requests),
        rows_per_turn: number("rows_per_turn", limits.rows_per_turn),
        ..limits.clone()
    };
}

pub(super) fn rates(section: &mut Section<'_>) -> Rates {
    let number = |key: &str, default: u32| section.number(key, 1..=1_000_000, default);
    Rates {
        icmp: number("icmp_per_second", 1_000),
        strangers: number("strangers_per_second", 10_000),
        stranger: number("stranger_per_second", 100),
        compat: 100,
    }
}

pub(super) fn rekey(section: &mut Section<'_>, rekey: &mut Rekey) {
    *rekey = Rekey {
        soft_percent: section.number("soft_percent", 10..=100, rekey.soft_percent),
        soft_packets: section.number("soft_packets", 1..=u64::MAX, rekey.soft_packets),
        hard_packets: section.number("hard_packets", 1..=0xffff_fff0, rekey.hard_packets),
    };
    if rekey.soft_packets > rekey.hard_packets {
        section.fault(
            "soft_packets",
            "a soft limit above the hard one is never reached",
        );
    }
}
