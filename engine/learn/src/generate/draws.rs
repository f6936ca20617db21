//! Random numbers that depend on a seed, a row's name, which of its samples it is, and the step; never on the batch, and
//! never on how many were drawn before. Knows no score.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What random numbers are drawn for: one step of one sample of one row.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// The row's name.
    pub name: &'a str,
    /// Which of its samples.
    pub sample: usize,
    /// How many tokens came before.
    pub step: usize,
}

/// The numbers of a draw.
#[derive(Debug)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// Those that belong to this seed.
    pub fn new(seed: u64, draw: Draw<'_>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("a token of a generated text");
        for number in [seed, draw.sample as u64, draw.step as u64] {
            hasher.update(&number.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(*hasher.update(draw.name.as_bytes()).finalize().as_bytes()))
    }

    /// The next number, evenly distributed between 0 and 1, neither of which it is.
    pub fn uniform(&mut self) -> f64 {
        // 53 bits and a half.
        ((self.0.next_u64() >> 11) as f64 + 0.5) * (-53f64).exp2()
    }

    /// The next number of the Gumbel distribution. The largest of scores with such numbers added is an id drawn by the
    /// probabilities that the scores are logarithms of; the largest two are two ids drawn without putting back, and so on
    /// (Kool et al., arXiv 1903.06059, section 2.3).
    pub fn gumbel(&mut self) -> f64 {
        -(-self.uniform().ln()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_belong_to_seed_name_sample_and_step() {
        let first = |seed, name, sample, step| Draws::new(seed, Draw { name, sample, step }).uniform();
        let base = first(1, "a", 2, 3);
        assert_eq!(base, first(1, "a", 2, 3));
        for other in [first(2, "a", 2, 3), first(1, "b", 2, 3), first(1, "a", 3, 3), first(1, "a", 2, 4)] {
            assert_ne!(base, other);
        }
        // Numbers that stand beside each other are not taken for one.
        assert_ne!(first(1, "a", 2, 3), first(1, "a", 3, 2));
    }

    #[test]
    fn numbers_have_their_distribution() {
        let draws = (0..20_000).map(|step| Draws::new(7, Draw { name: "row", sample: 0, step }).uniform());
        let numbers: Vec<f64> = draws.collect();
        let mean = numbers.iter().sum::<f64>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        // The mean of the Gumbel distribution is Euler's constant.
        let mut draws = Draws::new(7, Draw { name: "row", sample: 0, step: 0 });
        let mean = (0..20_000).map(|_| draws.gumbel()).sum::<f64>() / 20_000.0;
        assert!((mean - 0.5772).abs() < 0.03, "{mean}");
    }
}
