//! The last line: how many of what.

use std::fmt;

use serde::Serialize;

use super::layer::{Fault, Layer, Packet};

/// Counts of packets; one is counted once in each row that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All.
    pub packets: u64,
    /// ISAKMP messages, one in fragments by its last.
    pub isakmp: u64,
    /// ESP packets.
    pub esp: u64,
    /// L2TP control messages, acknowledgements included.
    pub l2tp_control: u64,
    /// L2TP data messages.
    pub l2tp_data: u64,
    /// IP packets inside PPP.
    pub inner_ip: u64,
    /// Whose ESP or ISAKMP was decrypted, and found authentic where that can be told.
    pub opened: u64,
    /// Whose key is not there.
    pub no_key: u64,
    /// ESP that is not authentic.
    pub wrong_icv: u64,
    /// That a key does not open.
    pub not_opened: u64,
    /// With a HASH that is wrong.
    pub wrong_hash: u64,
    /// That were there before.
    pub replayed: u64,
    /// That a parser refuses.
    pub malformed: u64,
    /// Of which the capture has only the beginning.
    pub cut_short: u64,
}

impl Tally {
    /// Counts one packet.
    pub fn count(&mut self, packet: &Packet) {
        let has = |name: &str| u64::from(packet.layers.iter().any(|layer| layer.name() == name));
        let is_opened = |name: &str, key: &str| {
            let layers = packet.layers.iter().filter(|layer| layer.name() == name);
            layers.filter(|layer| layer.field(key).is_some()).count() > 0
        };
        self.packets += 1;
        self.isakmp += has("ISAKMP");
        self.esp += has("ESP");
        self.l2tp_control += has("L2TP control");
        self.l2tp_data += has("L2TP data");
        let mut layers = packet.layers.iter().map(Layer::name);
        self.inner_ip += u64::from(layers.any(|name| name == "PPP") && layers.any(is_ip));
        let is_opened = is_opened("ESP", "ICV good") || is_opened("ISAKMP", "opened");
        let is_whole = !packet.faults.iter().any(Fault::is_failure);
        self.opened += u64::from(is_opened && is_whole);
        self.count_faults(&packet.faults);
    }

    fn count_faults(&mut self, faults: &[Fault]) {
        let has = |class: fn(&Fault) -> bool| u64::from(faults.iter().any(class));
        self.no_key += has(|fault| matches!(fault, Fault::NoKey(_)));
        self.wrong_icv += has(|fault| matches!(fault, Fault::WrongIcv(_)));
        self.not_opened += has(|fault| matches!(fault, Fault::NotOpened(_)));
        self.wrong_hash += has(|fault| matches!(fault, Fault::WrongHash(_)));
        self.replayed += has(|fault| matches!(fault, Fault::Replayed(_)));
        self.malformed += has(|fault| matches!(fault, Fault::Malformed(_)));
        self.cut_short += has(|fault| matches!(fault, Fault::CutShort(_)));
    }

    /// Whether everything that has a key was opened with it.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.wrong_icv == 0 && self.not_opened == 0 && self.wrong_hash == 0
    }
}

fn is_ip(name: &str) -> bool {
    matches!(name, "IPv4" | "IPv6")
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets: {} ISAKMP, {} ESP, {} L2TP control, {} L2TP data, {} inner IP; \
             {} opened, {} without key, {} with wrong ICV, {} not opened, {} with wrong HASH, \
             {} replayed, {} malformed, {} cut short",
            self.packets,
            self.isakmp,
            self.esp,
            self.l2tp_control,
            self.l2tp_data,
            self.inner_ip,
            self.opened,
            self.no_key,
            self.wrong_icv,
            self.not_opened,
            self.wrong_hash,
            self.replayed,
            self.malformed,
            self.cut_short,
        )
    }
}
