//! Fresh random tensors. Each depends on the seed and its own name alone, so neither the order of creation nor the
//! device changes a value. Leaves libtorch's global generator alone.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::{Fresh, Init, Source};
use crate::error::Result;

/// A source of random tensors.
#[derive(Debug, Clone)]
pub struct Random {
    seed: u64,
    device: Device,
}

impl Random {
    /// A source whose values depend on `seed`; tensors are made on `device`.
    pub fn new(seed: u64, device: Device) -> Self {
        Self { seed, device }
    }

    /// The tensor `name` of `shape` as `kind`, drawn as `init` says. The same seed and name give the same values.
    fn draw_as(&self, name: &str, shape: &[i64], init: Init, kind: Kind) -> Result<Tensor> {
        let tensor = match init {
            Init::Constant(value) => return Ok(Tensor::f_full(shape, value, (kind, self.device))?),
            Init::Normal(deviation) => normal(&mut self.generator(name), count(shape), deviation),
            Init::TruncatedNormal(deviation) => truncated(&mut self.generator(name), count(shape), deviation),
            Init::Uniform(bound) => uniform(&mut self.generator(name), count(shape), bound),
        };
        Ok(Tensor::f_from_slice(&tensor)?.f_reshape(shape)?.f_to_device(self.device)?.f_to_kind(kind)?)
    }

    fn generator(&self, name: &str) -> ChaCha8Rng {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(name.as_bytes());
        ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
    }
}

impl Fresh for Random {
    fn draw(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        self.draw_as(name, shape, init, Kind::Float)
    }
}

impl Source for Random {
    fn tensor(&mut self, name: &str, shape: &[i64], init: Init, kind: Kind) -> Result<Tensor> {
        self.draw_as(name, shape, init, kind)
    }

    fn extra(&mut self, _name: &str, _kind: Kind) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn holds(&self, _name: &str) -> bool {
        true
    }

    fn leave_out(&mut self, _prefix: &str) -> Vec<String> {
        Vec::new()
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn count(shape: &[i64]) -> usize {
    shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).product()
}

/// Pairs of normal values by Box and Muller's transform.
fn normal(generator: &mut ChaCha8Rng, count: usize, deviation: f64) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * (1.0 - generator.random::<f64>()).ln()).sqrt() * deviation;
        let (sine, cosine) = (std::f64::consts::TAU * generator.random::<f64>()).sin_cos();
        values.push((radius * cosine) as f32);
        values.push((radius * sine) as f32);
    }
    values.truncate(count);
    values
}

/// Normal values until there are enough that lie within two deviations.
fn truncated(generator: &mut ChaCha8Rng, count: usize, deviation: f64) -> Vec<f32> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let drawn = normal(generator, count - values.len(), deviation);
        values.extend(drawn.into_iter().filter(|value| f64::from(value.abs()) <= 2.0 * deviation));
    }
    values
}

fn uniform(generator: &mut ChaCha8Rng, count: usize, bound: f64) -> Vec<f32> {
    (0..count).map(|_| ((2.0 * generator.random::<f64>() - 1.0) * bound) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Random {
        Random::new(7, Device::Cpu)
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.reshape(-1)).unwrap()
    }

    #[test]
    fn values_depend_on_seed_and_name_alone() {
        let a = source().draw("a", &[3, 5], Init::Normal(0.1)).unwrap();
        let _between = source().draw("b", &[100], Init::Normal(0.1)).unwrap();
        let again = source().draw("a", &[3, 5], Init::Normal(0.1)).unwrap();
        assert_eq!(values(&a), values(&again));
        assert_ne!(values(&a), values(&source().draw("b", &[3, 5], Init::Normal(0.1)).unwrap()));
        let other = Random::new(8, Device::Cpu);
        assert_ne!(values(&a), values(&other.draw("a", &[3, 5], Init::Normal(0.1)).unwrap()));
    }

    #[test]
    fn draws_have_the_moments_they_should() {
        let normal = source().draw("n", &[20_000], Init::Normal(0.5)).unwrap();
        assert!(normal.mean(Kind::Float).double_value(&[]).abs() < 0.02);
        assert!((normal.std(true).double_value(&[]) - 0.5).abs() < 0.02);
        let fourth = normal.pow_tensor_scalar(4).mean(Kind::Float).double_value(&[]) / 0.5f64.powi(4);
        assert!((fourth - 3.0).abs() < 0.2, "kurtosis {fourth}");
        let truncated = source().draw("t", &[20_000], Init::TruncatedNormal(0.5)).unwrap();
        assert!(truncated.abs().max().double_value(&[]) <= 1.0);
        assert!((truncated.std(true).double_value(&[]) - 0.5 * 0.8796).abs() < 0.01, "that of a normal one cut there");
        let uniform = source().draw("u", &[20_000], Init::Uniform(0.25)).unwrap();
        assert!(uniform.abs().max().double_value(&[]) <= 0.25);
        assert!((uniform.std(true).double_value(&[]) - 0.25 / 3f64.sqrt()).abs() < 0.005);
    }
}
