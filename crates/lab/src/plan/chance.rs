//! Chance that follows from a seed, so that a plan is the same whenever it is made.

/// A generator of random numbers (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From 0, included, to 1, excluded.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From 0 to `count`, excluded.
    pub fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f64) as usize
    }

    /// Exponentially distributed.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }

    /// At least 1, each further one with the same probability.
    pub fn geometric(&mut self, mean: f64) -> u64 {
        if mean <= 1.0 {
            return 1;
        }
        let more = 1.0 - 1.0 / mean;
        1 + ((1.0 - self.unit()).ln() / more.ln()) as u64
    }

    /// The index of one of these weights, as often as its share; the last if there are none.
    pub fn pick(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_what_was_asked_for() {
        let mut chance = Chance::new(1);
        let mean = |draw: &mut dyn FnMut(&mut Chance) -> f64, chance: &mut Chance| {
            (0..200_000).map(|_| draw(chance)).sum::<f64>() / 200_000.0
        };
        let unit = mean(&mut Chance::unit, &mut chance);
        assert!((unit - 0.5).abs() < 0.005, "{unit}");
        let exponential = mean(&mut |c| c.exponential(3.0), &mut chance);
        assert!((exponential - 3.0).abs() < 0.05, "{exponential}");
        let geometric = mean(&mut |c| c.geometric(8.0) as f64, &mut chance);
        assert!((geometric - 8.0).abs() < 0.1, "{geometric}");
        let second = mean(&mut |c| c.pick(&[1.0, 3.0]) as f64, &mut chance);
        assert!((second - 0.75).abs() < 0.01, "{second}");
    }
}
