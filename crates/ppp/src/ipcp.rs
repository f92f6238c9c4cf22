//! The IP Control Protocol's options: addresses (RFC 1332 §3.3) and name servers (RFC 1877).
//!
//! A server has an address for every slot or none, and the peer either asks for exactly that or is
//! told. A client asks for what it wants and takes what it is told.

use std::net::Ipv4Addr;

use crypto::Random;

use crate::frame::{code, protocol};
use crate::negotiation::Dialect;
use crate::options::{ConfigOption, Judgement, Objections, Options, Patience, push};
use crate::{Addresses, DownReason, Grant, Role, Settings};

/// The options that hold one address each; everything else, IP-Compression and the deprecated
/// IP-Addresses included, is rejected.
const KINDS: [u8; 5] = [3, 129, 130, 131, 132];

/// Places in [`KINDS`].
mod slot {
    pub(super) const ADDRESS: usize = 0;
    pub(super) const PRIMARY_DNS: usize = 1;
    pub(super) const PRIMARY_NBNS: usize = 2;
    pub(super) const SECONDARY_DNS: usize = 3;
    pub(super) const SECONDARY_NBNS: usize = 4;
}

/// An address per option, where there is one.
type Slots = [Option<Ipv4Addr>; KINDS.len()];

/// Both sides' addresses.
pub(crate) struct Ipcp {
    role: Role,
    /// What our Configure-Request holds.
    ask: Slots,
    /// Server: what the peer is to have.
    give: Slots,
    /// Our address, whether the peer wants to hear of it or not.
    own: Ipv4Addr,
    /// The address in the peer's last Configure-Request.
    peer: Option<Ipv4Addr>,
}

impl Ipcp {
    pub(crate) fn server(grant: &Grant) -> Self {
        let mut ask = Slots::default();
        ask[slot::ADDRESS] = specified(grant.own_address);
        let mut give = Slots::default();
        give[slot::ADDRESS] = specified(grant.peer_address);
        give[slot::PRIMARY_DNS] = grant.dns.first().copied();
        give[slot::SECONDARY_DNS] = grant.dns.get(1).copied();
        give[slot::PRIMARY_NBNS] = grant.wins.first().copied();
        give[slot::SECONDARY_NBNS] = grant.wins.get(1).copied();
        Self {
            role: Role::Server,
            ask,
            give,
            own: grant.own_address,
            peer: None,
        }
    }

    pub(crate) fn client(settings: &Settings) -> Self {
        // RFC 1332 §3.3 and RFC 1877 §1: all zeroes ask the peer to name one.
        let unknown = |wanted: bool| wanted.then_some(Ipv4Addr::UNSPECIFIED);
        let mut ask = Slots::default();
        ask[slot::ADDRESS] = Some(settings.address);
        ask[slot::PRIMARY_DNS] = unknown(settings.request_dns);
        ask[slot::SECONDARY_DNS] = unknown(settings.request_dns);
        ask[slot::PRIMARY_NBNS] = unknown(settings.request_wins);
        ask[slot::SECONDARY_NBNS] = unknown(settings.request_wins);
        Self {
            role: Role::Client,
            ask,
            give: Slots::default(),
            own: Ipv4Addr::UNSPECIFIED,
            peer: None,
        }
    }

    /// What Opened means. A client that was left without an address has none.
    pub(crate) fn addresses(&self) -> Result<Addresses, DownReason> {
        let (own, servers) = match self.role {
            Role::Server => (self.own, &self.give),
            Role::Client => (
                self.ask[slot::ADDRESS]
                    .and_then(specified)
                    .ok_or(DownReason::NoAddress)?,
                &self.ask,
            ),
        };
        let known = |slots: [usize; 2]| {
            slots
                .into_iter()
                .filter_map(|slot| servers[slot].and_then(specified))
                .collect()
        };
        Ok(Addresses {
            own,
            peer: self.give[slot::ADDRESS]
                .or(self.peer)
                .unwrap_or(Ipv4Addr::UNSPECIFIED),
            dns: known([slot::PRIMARY_DNS, slot::SECONDARY_DNS]),
            wins: known([slot::PRIMARY_NBNS, slot::SECONDARY_NBNS]),
        })
    }

    fn judge_option(&mut self, option: ConfigOption<'_>, objections: &mut Objections) {
        let Some(slot) = slot_of(option) else {
            return objections.reject(option);
        };
        match (self.give[slot], option.address()) {
            (Some(wanted), Some(asked)) if wanted == asked => {}
            // RFC 1332 §3.3, RFC 1877 §1: zeroes and any other address get the one assigned.
            (Some(wanted), _) => objections.nak(option, &wanted.octets()),
            // A client lets a server have whatever address it says it has.
            (None, Some(asked)) if self.is_peers_own(slot) && !asked.is_unspecified() => {
                self.peer = Some(asked);
            }
            (None, _) => objections.reject(option),
        }
    }

    fn is_peers_own(&self, slot: usize) -> bool {
        self.role == Role::Client && slot == slot::ADDRESS
    }
}

impl Dialect for Ipcp {
    const PROTOCOL: u16 = protocol::IPCP;
    const LAST_CODE: u8 = code::CODE_REJECT;

    fn request(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for (kind, address) in KINDS.into_iter().zip(self.ask) {
            if let Some(address) = address {
                push(&mut list, kind, &address.octets());
            }
        }
        list
    }

    fn judge(
        &mut self,
        options: Options<'_>,
        patience: Patience,
        _random: &mut Random,
    ) -> Result<Judgement, DownReason> {
        self.peer = None;
        let mut objections = Objections::new(patience);
        for option in options.iter() {
            self.judge_option(option, &mut objections);
        }
        // RFC 1332 §3.3: a peer that does not name its address is asked to.
        let names_address = options
            .iter()
            .any(|option| slot_of(option) == Some(slot::ADDRESS));
        if let (false, Some(wanted)) = (names_address, self.give[slot::ADDRESS]) {
            objections.miss(KINDS[slot::ADDRESS], &wanted.octets());
        }
        Ok(objections.judge())
    }

    fn adopt(&mut self, options: Options<'_>, _random: &mut Random) -> Result<(), DownReason> {
        if self.role == Role::Server {
            // Our address is not the peer's to choose.
            return Ok(());
        }
        for option in options.iter() {
            let proposed = option.address().and_then(specified);
            if let (Some(slot), Some(address)) = (slot_of(option), proposed) {
                self.ask[slot] = self.ask[slot].map(|_| address);
            }
        }
        Ok(())
    }

    fn drop_rejected(&mut self, options: Options<'_>) -> Result<(), DownReason> {
        for slot in options.iter().filter_map(slot_of) {
            if self.is_peers_own(slot) {
                return Err(DownReason::NoAddress);
            }
            self.ask[slot] = None;
        }
        Ok(())
    }
}

fn slot_of(option: ConfigOption<'_>) -> Option<usize> {
    KINDS.iter().position(|&kind| kind == option.kind)
}

fn specified(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}
