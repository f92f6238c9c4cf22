//! Token buckets: how often something may happen.

/// A bucket that fills at a steady rate. Its content is measured in thousandths of a token, so that
/// a rate a second is what comes in a millisecond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    level: u64,
    filled_ms: u64,
}

/// How a bucket fills.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

const TOKEN: u64 = 1000;

impl Bucket {
    /// A full bucket.
    pub(crate) fn full(rate: Rate) -> Self {
        Self {
            level: u64::from(rate.burst) * TOKEN,
            filled_ms: 0,
        }
    }

    /// Takes one token, if there is one.
    #[inline]
    pub(crate) fn take(&mut self, rate: Rate, now_ms: u64) -> bool {
        let elapsed = now_ms.saturating_sub(self.filled_ms);
        let filled = elapsed.saturating_mul(u64::from(rate.per_second));
        self.level = (self.level.saturating_add(filled)).min(u64::from(rate.burst) * TOKEN);
        self.filled_ms = self.filled_ms.max(now_ms);
        let has_one = self.level >= TOKEN;
        if has_one {
            self.level -= TOKEN;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_its_burst_and_then_its_rate() {
        let rate = Rate {
            per_second: 10,
            burst: 3,
        };
        let mut bucket = Bucket::full(rate);
        let mut taken = |now_ms| (0..10).filter(|_| bucket.take(rate, now_ms)).count();
        assert_eq!(taken(5000), 3);
        assert_eq!(taken(5099), 0);
        assert_eq!(taken(5100), 1);
        assert_eq!(taken(5300), 2);
        assert_eq!(taken(60_000), 3);
        assert_eq!(taken(1000), 0, "time that runs backwards brings nothing");
    }
}
