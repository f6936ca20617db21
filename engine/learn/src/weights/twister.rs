//! The numbers that PyTorch's generator of the CPU draws for a seed: a Mersenne Twister (Matsumoto and Nishimura, 1998)
//! and its uniform numbers in float32. For tensors that other tools make anew from a seed; libtorch's global generator is
//! left alone.

use tch::Tensor;

use crate::error::Result;

const LENGTH: usize = 624;
const APART: usize = 397;

/// A generator.
#[derive(Debug, Clone)]
pub struct Twister {
    state: Vec<u32>,
    next: usize,
}

impl Twister {
    /// As `torch.Generator().manual_seed(seed)`, of whose bits the lower 32 count.
    pub fn new(seed: u64) -> Self {
        let mut state = vec![(seed & 0xffff_ffff) as u32];
        for index in 1..LENGTH as u32 {
            let last = state.last().copied().unwrap_or_default();
            state.push(1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(index));
        }
        Self { state, next: LENGTH }
    }

    fn renew(&mut self) {
        for index in 0..LENGTH {
            let at = |offset: usize| self.state.get((index + offset) % LENGTH).copied().unwrap_or_default();
            let mixed = (at(0) & 0x8000_0000) | (at(1) & 0x7fff_ffff);
            let new = at(APART) ^ (mixed >> 1) ^ if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            if let Some(word) = self.state.get_mut(index) {
                *word = new;
            }
        }
        self.next = 0;
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.next >= LENGTH {
            self.renew();
        }
        let mut word = self.state.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A matrix of this shape, uniform between minus and plus `bound`, as `tensor.uniform_(-bound, bound)` on the CPU.
    pub fn uniform(&mut self, shape: [i64; 2], bound: f64) -> Result<Tensor> {
        let (low, high) = (-bound as f32, bound as f32);
        let count: i64 = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|_| ((self.bits() & 0x00ff_ffff) as f32 / 16_777_216.0).mul_add(high - low, low)).collect();
        Ok(Tensor::f_from_slice(&values)?.f_reshape(shape)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_the_published_generator() {
        let mut twister = Twister::new(5489);
        let bits: Vec<u32> = (0..10_000).map(|_| twister.bits()).collect();
        assert_eq!(bits[..3], [3_499_211_612, 581_869_302, 3_890_346_734]);
        assert_eq!(bits[9_999], 4_123_659_995, "the 10,000th of std::mt19937, which its standard names");
    }
}
