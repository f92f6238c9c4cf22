//! Why a frame was discarded: declared once, and from that one line come the variant, the index of
//! its counter, its name on the command line and the text an operator reads.

macro_rules! discards {
    ($($name:ident = $text:literal,)*) => {
        /// Why a frame was discarded. One counter each; the text is what `show discards` prints.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Discard {
            $(#[doc = $text] $name,)*
        }

        impl Discard {
            /// All reasons, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// What an operator reads.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The variant's name, a stable key for machines.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Whether something was wrong: a keepalive and a dummy packet end here as they should.
            pub const fn is_fault(self) -> bool {
                !matches!(self, Self::Keepalive | Self::Dummy)
            }

            /// Index of its counter.
            #[inline]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

discards! {
    Truncated         = "shorter than its headers",
    // link
    OuterProtocol     = "frame from an interface is not IPv4",
    OuterFragment     = "fragment for an endpoint of ours, which the kernel puts together",
    OuterMalformed    = "outer header malformed",
    Keepalive         = "NAT keepalive (RFC 3948), nothing to do",
    BadChecksum       = "wrong UDP checksum",
    NoListener        = "no listener at this address",
    PlainRefused      = "L2TP in the clear where IPsec is required",
    StrangerLimited   = "too many messages from strangers",
    PuntLimited       = "too many control messages from one session, peer or address",
    PuntFull          = "slow path is behind, its queue is full",
    ParcelFull        = "hand-over to another worker is full",
    ShardInTransit    = "shard on its way between workers, waiting room full",
    TooManyMoves      = "moved between lines more than four times",
    // esp
    UnknownSpi        = "no SA for this SPI",
    BadEspLength      = "length that the SA's cipher never makes",
    Replayed          = "ESP sequence number seen before or left of the window",
    NotAuthentic      = "ESP integrity check failed",
    BadPadding        = "ESP padding malformed",
    Dummy             = "ESP dummy packet (RFC 4303 section 2.6)",
    NotUdp            = "protocol inside ESP is not UDP",
    WrongEndpoint     = "outer address is not the one the peer set up",
    NoOutboundSa      = "no SA to send on, never sent in clear",
    SaExhausted       = "SA is at a hard limit or at its last sequence number",
    CompatShare       = "3DES has its share of the worker's cycles (compat.max_share)",
    NoPath            = "the peer is gone",
    // l2tp
    L2tpVersion       = "L2TP version other than 2",
    L2tpMalformed     = "L2TP header malformed",
    NoTunnel          = "no L2TP tunnel of this id",
    NoSession         = "no L2TP session of this id",
    WrongPorts        = "L2TP ports are not those of the session's tunnel",
    OutOfOrder        = "L2TP data message late or doubled",
    // ppp
    PppMalformed      = "PPP header malformed",
    NetworkNotOpen    = "data before the subscriber has an address",
    PolicedUp         = "subscriber sends faster than its profile allows",
    PolicedDown       = "subscriber is sent more than its profile allows",
    // ip
    NotIpv4           = "inner packet is not IPv4",
    IpMalformed       = "IPv4 header malformed",
    IpChecksum        = "wrong IPv4 header checksum",
    SourceForged      = "source address is not the session's",
    TtlExpired        = "TTL reached zero",
    CongestionLost    = "outer packet marked congested, inner not ECN-capable (RFC 6040)",
    NoRoute           = "no route to the destination",
    Blackholed        = "route says discard",
    NotForSubscriber  = "from the network, but not for a subscriber",
    NoSubscriber      = "pool address without a subscriber",
    TunnelInTunnel    = "for the gateway's tunnel address from inside a tunnel",
    Isolated          = "subscriber to subscriber, refused by isolation",
    Martian           = "broadcast, multicast, loopback or no address",
    TooBig            = "larger than the MTU",
    IcmpLimited       = "ping of our own address held back by the rate limit",
    NoChunk           = "packet memory exhausted",
    // send
    NoHeadroom        = "no room for the outer headers",
    Unresolved        = "next hop not resolved, one packet is already held",
    ResolveTimeout    = "next hop was not resolved in time",
    NoPort            = "next hop on a port this worker does not have",
    SendFull          = "transmit queue full",
    SendTooLong       = "larger than the port's MTU",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_and_a_text_of_its_own() {
        for (index, reason) in Discard::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            let same_text = Discard::ALL
                .iter()
                .filter(|other| other.text() == reason.text());
            assert_eq!(same_text.count(), 1, "{reason:?}");
        }
    }
}
