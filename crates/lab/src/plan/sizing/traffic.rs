//! What flows, and what it is on the wire.

use super::{Sizing, constant, sum};
use crate::plan::costs::Way;
use crate::plan::model::Access;
use crate::plan::quantity::{Quantity, Source, Unit};
use crate::plan::wire::on_ethernet;

/// Links that can be bought, in Gbit/s.
const LINKS: [f64; 9] = [1.0, 2.5, 5.0, 10.0, 25.0, 40.0, 50.0, 100.0, 200.0];

/// What flows in the busy hour, down and up.
pub(super) struct Traffic {
    pub(super) packets: [Quantity; 2],
    tunnel: [Quantity; 2],
    network: [Quantity; 2],
}

/// The same, one way.
struct Flow {
    packets: Quantity,
    tunnel: Quantity,
    network: Quantity,
}

/// One side of the gateway: the names of its figures, and what it is.
struct Side {
    line: &'static str,
    link: &'static str,
    used: &'static str,
    title: &'static str,
}

const TUNNEL: Side = Side {
    line: "tunnel_line",
    link: "tunnel_link",
    used: "tunnel_use",
    title: "the link to the tunnels",
};
const NETWORK: Side = Side {
    line: "network_line",
    link: "network_link",
    used: "network_use",
    title: "the link to the network",
};

impl Sizing<'_> {
    pub(super) fn traffic(&mut self, sessions: &Quantity) -> Traffic {
        let mean = self.over_sizes(|octets| octets, "the packet itself");
        let title = "octets of an inner packet";
        let mean = self.note("mean_octets", title, Unit::Octets, mean);
        let laid_down = "IEEE 802.3: preamble 8, header 14, FCS 4, gap 12 octets";
        let network = self.over_sizes(on_ethernet, laid_down);
        let title = "octets of time of a packet on the network side";
        let network = self.note("network_octets", title, Unit::Octets, network);
        let tunnel = self.tunnel_octets();
        let title = "wire octets for each octet of goodput, tunnel side";
        self.note("encapsulation", title, Unit::Amount, tunnel.over(&mean));
        let [down, up] = Way::ALL.map(|way| self.flow(way, sessions, [&mean, &tunnel, &network]));
        Traffic {
            packets: [down.packets, up.packets],
            tunnel: [down.tunnel, up.tunnel],
            network: [down.network, up.network],
        }
    }

    fn flow(&mut self, way: Way, sessions: &Quantity, octets: [&Quantity; 3]) -> Flow {
        let (name, [mean, tunnel, network]) = (way.name(), octets);
        let kilo = constant(1000.0, "bit/kbit", "a kilobit has 1000 bits");
        let goodput = sessions
            .times(&self.model.quantity(way.kbit()))
            .times(&kilo);
        let title = format!("inner goodput {name}");
        let goodput = self.note(
            &format!("goodput_{name}"),
            &title,
            Unit::BitsPerSecond,
            goodput,
        );
        let packets = goodput.over(&bits().times(mean));
        let title = format!("packets a second {name}");
        let packets = self.note(&format!("packets_{name}"), &title, Unit::PerSecond, packets);
        let mut wire = |side: &str, octets: &Quantity| {
            let rate = packets.times(octets).times(&bits());
            let title = format!("wire rate {name} on the {side} side");
            self.note(
                &format!("{side}_rate_{name}"),
                &title,
                Unit::BitsPerSecond,
                rate,
            )
        };
        let (tunnel, network) = (wire("tunnel", tunnel), wire("network", network));
        Flow {
            packets,
            tunnel,
            network,
        }
    }

    /// The mean of something over the sizes of packets.
    fn over_sizes(&self, of: impl Fn(usize) -> usize, laid_down: &str) -> Quantity {
        let terms = self.sizes().map(|(octets, share)| {
            let octets = constant(of(octets) as f64, "octets", laid_down);
            share.times(&octets)
        });
        sum(terms)
    }

    fn tunnel_octets(&mut self) -> Quantity {
        let mut terms = Vec::new();
        for (access, share) in self.accesses() {
            let wrapping = access.wrapping();
            let octets = self.over_sizes(|n| wrapping.on_ethernet(n), &layers(access));
            let name = format!("tunnel_octets.{}", access.name);
            let title = format!("octets of time of a packet of {}", access.name);
            let octets = self.note(&name, &title, Unit::Octets, octets);
            terms.push(share.times(&octets));
        }
        let title = "octets of time of a packet on the tunnel side";
        self.note("tunnel_octets", title, Unit::Octets, sum(terms))
    }

    pub(super) fn links(&mut self, traffic: &Traffic) {
        self.link(&TUNNEL, &traffic.tunnel);
        self.link(&NETWORK, &traffic.network);
    }

    fn link(&mut self, side: &Side, [down, up]: &[Quantity; 2]) {
        let title = format!("line rate of {}, the busier way", side.title);
        let rate = self.note(side.line, &title, Unit::BitsPerSecond, down.max(up));
        let gbit = match self.model.value("gateway.link_gbit") > 0.0 {
            true => self.model.quantity("gateway.link_gbit"),
            false => self.smallest_link(&rate),
        };
        let giga = constant(1e9, "bit/Gbit", "a gigabit has 10⁹ bits");
        let speed = self.note(
            side.link,
            side.title,
            Unit::BitsPerSecond,
            gbit.times(&giga),
        );
        self.limit(side.used, side.title, rate.over(&speed));
    }

    fn smallest_link(&self, rate: &Quantity) -> Quantity {
        let wanted = rate.value() / 1e9 / self.model.value("targets.use");
        let fastest = LINKS[LINKS.len() - 1];
        let one = LINKS.into_iter().find(|speed| *speed >= wanted);
        let speed = one.unwrap_or_else(|| (wanted / fastest).ceil() * fastest);
        let label = format!(
            "Gbit/s: the smallest link of {LINKS:?}, or several of the fastest, that is no fuller than targets.use"
        );
        let constant = Source::Constant("speeds of IEEE 802.3".to_owned());
        Quantity::of(speed, &label, constant).because(self.model.source("targets.use"))
    }
}

fn layers(access: &Access) -> String {
    let l2tp = "Ethernet 38, IPv4 20, UDP 8, L2TP 8 (RFC 2661 §3.1), PPP 4 (RFC 1661 §2)";
    match (access.is_plain(), access.is_natt) {
        (true, _) => l2tp.to_owned(),
        (false, false) => format!("{l2tp}, ESP of {} (RFC 4303 §2)", access.suite),
        (false, true) => format!(
            "{l2tp}, ESP of {} (RFC 4303 §2), UDP 8 (RFC 3948 §2.1)",
            access.suite
        ),
    }
}

fn bits() -> Quantity {
    constant(8.0, "bits", "an octet has 8 bits")
}
