//! Slow start and congestion avoidance, RFC 2661 Appendix A.

/// How many messages may be outstanding. Names are those of the RFC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Congestion {
    cwnd: u16,
    ssthresh: u16,
    /// The peer's Receive Window Size, which CWND never exceeds.
    limit: u16,
    /// Acknowledgements since CWND last grew, in congestion avoidance.
    credit: u16,
}

impl Congestion {
    pub(crate) fn new(limit: u16) -> Self {
        Self {
            cwnd: 1,
            ssthresh: limit,
            limit,
            credit: 0,
        }
    }

    /// Learns the peer's window: SSTHRESH starts there.
    pub(crate) fn set_limit(&mut self, limit: u16) {
        *self = Self {
            cwnd: self.cwnd.min(limit),
            ssthresh: limit,
            limit,
            credit: 0,
        };
    }

    pub(crate) fn window(&self) -> usize {
        usize::from(self.cwnd)
    }

    pub(crate) fn limit(&self) -> usize {
        usize::from(self.limit)
    }

    /// New acknowledgement: one more below SSTHRESH, 1/CWND more above it.
    pub(crate) fn acknowledged(&mut self) {
        if self.cwnd < self.ssthresh {
            self.cwnd = (self.cwnd + 1).min(self.limit);
            return;
        }
        self.credit += 1;
        if self.credit >= self.cwnd {
            self.credit = 0;
            self.cwnd = self.cwnd.saturating_add(1).min(self.limit);
        }
    }

    /// Retransmission: half of CWND becomes SSTHRESH, CWND starts again from one.
    pub(crate) fn lost(&mut self) {
        self.ssthresh = (self.cwnd / 2).max(1);
        self.cwnd = 1;
        self.credit = 0;
    }
}
