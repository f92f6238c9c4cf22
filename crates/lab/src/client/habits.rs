//! What a kind of client does that none of its machines decides.

use packet::header::Udp;

/// The habits of one kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// The port from which L2TP leaves inside ESP.
    pub l2tp_port: u16,
    /// The tunnel id, if it is not drawn.
    pub tunnel_id: Option<u16>,
    /// The session id, if it is not drawn.
    pub session_id: Option<u16>,
    /// PPP begins when the ICCN is acknowledged, not when it is sent.
    pub waits_for_acknowledgement: bool,
    /// Control messages are heard only with T, L and S set, O and P clear, the Length of the
    /// datagram, and a Message Type that is mandatory and first: mtpd.
    pub wants_exact_header: bool,
    /// Packets under HMAC-SHA2-256 have 96 bits of it: Android before 8.
    pub cuts_sha256: bool,
    /// What is sent and received is kept, for whoever wants to tell it.
    pub keeps_journal: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            l2tp_port: Udp::L2TP,
            tunnel_id: None,
            session_id: None,
            waits_for_acknowledgement: false,
            wants_exact_header: false,
            cuts_sha256: false,
            keeps_journal: false,
        }
    }
}

impl Habits {
    /// Whether a control message gets as far as being read.
    pub(super) fn hears(&self, message: &[u8]) -> bool {
        if !self.wants_exact_header {
            return true;
        }
        let word = |at: usize| {
            let octets = message.get(at..at + 2)?.try_into().ok()?;
            Some(u16::from_be_bytes(octets))
        };
        let is_plain = word(0).is_some_and(|flags| flags & 0xCB0F == 0xC802);
        let is_whole = word(2).map(usize::from) == Some(message.len());
        let is_zlb = message.len() == 12;
        let has_type = [word(12), word(14), word(16)] == [Some(0x8008), Some(0), Some(0)];
        is_plain && is_whole && (is_zlb || has_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtpd_hears_only_what_begins_as_it_wants() {
        let habits = Habits {
            wants_exact_header: true,
            ..Habits::default()
        };
        let hello = [
            0xc8, 2, 0, 20, 0, 1, 0, 0, 0, 0, 0, 1, 0x80, 8, 0, 0, 0, 0, 0, 6,
        ];
        let with = |at: usize, octet: u8| {
            let mut message = hello;
            message[at] = octet;
            habits.hears(&message)
        };
        assert!(habits.hears(&hello));
        assert!(
            habits.hears(&[0xc8, 2, 0, 12, 0, 1, 0, 0, 0, 0, 0, 1]),
            "a ZLB"
        );
        assert!(!with(0, 0xc9), "the P bit");
        assert!(!with(3, 19), "another length");
        assert!(!with(12, 0), "a type without the M bit");
        assert!(Habits::default().hears(&[0; 3]));
    }
}
