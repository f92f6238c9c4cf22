//! What happened, by name and number: everything that is dropped, refused or limited.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A thing that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Counter {
            $(#[doc = $text] $name,)+
        }

        impl Counter {
            const TEXTS: &'static [&'static str] = &[$($text,)+];
        }
    };
}

counters! {
    BacklogEstablished = "control frames of established peers dropped: backlog full",
    BacklogInProgress = "control frames of peers in progress dropped: backlog full",
    BacklogStranger = "control frames of strangers dropped: backlog full",
    StaleStranger = "control frames of strangers dropped: too old",
    IkeNotServed = "ike: no listener answers IKE at this address",
    IkeMalformed = "ike: not an ISAKMP message",
    IkeUnknownCookie = "ike: cookies name no exchange",
    IkeNotMainMode = "ike: first message of something other than main mode",
    IkeHalfOpenLimit = "ike: half-open exchanges at their limit",
    IkeHalfOpenSourceLimit = "ike: half-open exchanges of one source at their limit",
    IkeHalfOpenEvicted = "ike: half-open exchanges that never answered, given up for newcomers",
    IkeLongLimit = "ike: long messages of strangers at their limit",
    IkePeerLimit = "ike: peers at their limit",
    IkeSourcePeerLimit = "ike: peers of one source at their limit",
    IkeNoSlot = "ike: no slot left in the shard",
    IkeRefused = "ike: messages refused",
    IkeHopeless = "ike: half-open exchanges given up after too many refused messages",
    IkeProposalRefused = "ike: proposals refused",
    IkeWrongKey = "ike: wrong pre-shared keys",
    IkeEstablished = "ike: exchanges established",
    IkeRenewed = "ike: exchanges that joined a living peer",
    WeakPhase1 = "ike: exchanges established with SHA1, 3DES, or a group below 2048 bits",
    WeakSuite = "ike: IPsec SAs with HMAC-SHA1 or 3DES",
    IkeDown = "ike: exchanges ended before they were established",
    ComputeLimit = "ike: computations that had to wait",
    StaleComputed = "ike: computations answered too late",
    PlainRefused = "l2tp: plain L2TP where IPsec is required",
    PathMtuLearnt = "path mtu: news of routers that were believed",
    PathMtuStranger = "path mtu: news about no packet of ours",
    PathMtuLimit = "path mtu: news not looked at, too many in a second",
    L2tpMalformed = "l2tp: not an L2TPv2 control message",
    L2tpUnknownTunnel = "l2tp: messages for an unknown tunnel",
    L2tpUnknownTunnelAnswered = "l2tp: unknown tunnels answered with StopCCN",
    L2tpWrongPeer = "l2tp: messages for another peer's tunnel",
    L2tpHalfOpenLimit = "l2tp: half-open tunnels at their limit",
    L2tpHalfOpenSourceLimit = "l2tp: half-open tunnels of one source at their limit",
    L2tpHalfOpenEvicted = "l2tp: half-open tunnels that never answered, given up for newcomers",
    L2tpTunnelLimit = "l2tp: tunnels at their limit",
    L2tpPeerTunnelLimit = "l2tp: tunnels of one peer at their limit",
    L2tpSourceTunnelLimit = "l2tp: tunnels of one source at their limit",
    L2tpNoId = "l2tp: no tunnel id left",
    L2tpNoRoomAnswered = "l2tp: tunnels that there is no room for answered with StopCCN",
    L2tpRefused = "l2tp: messages refused",
    L2tpRedialled = "l2tp: tunnels replaced by a new dial-in under the same id",
    L2tpUp = "l2tp: tunnels established",
    CallRefusedLimit = "calls refused: sessions at their limit",
    CallRefusedSourceLimit = "calls refused: sessions of one source at their limit",
    CallRefusedNoId = "calls refused: no session id or slot left",
    CallRefusedShutdown = "calls refused: shutting down",
    PppEarlyDropped = "ppp: frames before the call was up dropped",
    PppUnknownSession = "ppp: frames of a session that is gone",
    PppDiscarded = "ppp: frames discarded",
    AuthUnknownUser = "authentication: unknown users",
    AuthWrongSecret = "authentication: wrong passwords",
    AuthHashOnly = "authentication: CHAP-MD5 where only an NT hash is known",
    AuthTooManySessions = "authentication: users at their session limit",
    AuthReplaced = "authentication: sessions replaced by a new one of their user",
    AuthNoAddress = "authentication: no address to be had",
    SessionsUp = "sessions that came up",
    SessionsEnded = "sessions that ended",
    AdminBusy = "admin: requests refused, too many under way",
    LinesHeldBack = "log lines about strangers held back",
    UnknownEvent = "events about slots that are free",
}

/// One number for each [`Counter`].
#[derive(Debug)]
pub(crate) struct Counters([u64; Counter::TEXTS.len()]);

impl Counters {
    pub(crate) fn new() -> Self {
        Self([0; Counter::TEXTS.len()])
    }

    pub(crate) fn add(&mut self, counter: Counter) {
        self.0[counter as usize] += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::TEXTS.iter().copied().zip(self.0.iter().copied())
    }
}
