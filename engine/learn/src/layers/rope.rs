//! Rotary position embedding and the scalings of its frequencies. Su et al., RoFormer (arXiv 2104.09864), section 3.2.2, in the form
//! of Hugging Face checkpoints, which turn element i together with element i + d/2.

use std::f32::consts::TAU;

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// How Llama 3.1 stretches the long wavelengths to longer texts than it was first trained on (The Llama 3 Herd of
/// Models, arXiv 2407.21783; formula as in its published code).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// Frequencies of wavelengths above `original_context / low_frequency` are divided by this.
    pub factor: f64,
    /// Where the division is full: wavelengths above `original_context` divided by this.
    pub low_frequency: f64,
    /// Where there is none: wavelengths below `original_context` divided by this.
    pub high_frequency: f64,
    /// The length of the texts in the first training, in tokens.
    pub original_context: f64,
}

impl Llama3Scaling {
    /// In float32 and in this order of operations, as the checkpoints were trained: a text's angle is its position times
    /// the frequency, so that a last bit shows after some thousand tokens.
    fn scale(&self, frequency: f32) -> f32 {
        let (factor, low, high) = (self.factor as f32, self.low_frequency as f32, self.high_frequency as f32);
        let context = self.original_context as f32;
        let wavelength = TAU / frequency;
        if wavelength < context / high {
            frequency
        } else if wavelength > context / low {
            frequency / factor
        } else {
            let smooth = (context / wavelength - low) / (high - low);
            (1.0 - smooth) * frequency / factor + smooth * frequency
        }
    }
}

/// How the frequencies are stretched to longer texts than a model was first trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// All frequencies are divided by this (Chen et al., arXiv 2306.15595).
    Linear(f64),
    /// Llama 3.1's.
    Llama3(Llama3Scaling),
}

impl RopeScaling {
    fn scale(&self, frequency: f32) -> f32 {
        match self {
            Self::Linear(factor) => frequency / *factor as f32,
            Self::Llama3(scaling) => scaling.scale(frequency),
        }
    }
}

/// The frequencies of a rotary embedding.
#[derive(Debug)]
pub struct Rope {
    /// `[head_dim / 2]`, float32
    frequencies: Tensor,
}

/// Cosines and sines of the angles at some positions, ready to turn queries and keys.
#[derive(Debug)]
pub struct Angles {
    cosine: Tensor,
    /// The first half negated, so that turning needs no negation.
    signed_sine: Tensor,
    half: i64,
}

impl Rope {
    /// Frequencies `theta^(−2i/head_dim)`, scaled where `scaling` is given. A family that turns a part of each head gives
    /// the width of that.
    pub fn new(head_dim: i64, theta: f64, scaling: Option<RopeScaling>, device: Device) -> Result<Self> {
        let exponents =
            Tensor::f_arange_start_step(0, head_dim, 2, (Kind::Float, Device::Cpu))?.f_div_scalar(head_dim)?;
        let plain = Vec::<f32>::try_from(Tensor::f_pow_scalar(theta, &exponents)?.f_reciprocal()?)?;
        let frequencies: Vec<f32> =
            plain.into_iter().map(|frequency| scaling.map_or(frequency, |scaling| scaling.scale(frequency))).collect();
        Ok(Self { frequencies: Tensor::f_from_slice(&frequencies)?.f_to_device(device)? })
    }

    /// The angles at `positions` `[rows, length]` (or `[1, length]` for all rows), for states of `[rows, heads, length, head_dim]`.
    pub fn angles(&self, positions: &Tensor) -> Result<Angles> {
        let turned = positions.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?.f_mul(&self.frequencies)?.f_unsqueeze(1)?;
        let (cosine, sine) = (turned.f_cos()?, turned.f_sin()?);
        Ok(Angles {
            cosine: Tensor::f_cat(&[&cosine, &cosine], -1)?,
            signed_sine: Tensor::f_cat(&[&sine.f_neg()?, &sine], -1)?,
            half: self.frequencies.size1()?,
        })
    }
}

impl Angles {
    /// Turns `[rows, heads, length, head_dim]` by the angles, in float32; the result is of the kind that came in. Where
    /// there are angles for the first part of a head alone, the rest stays.
    pub fn turn(&self, states: &Tensor) -> Result<Tensor> {
        let (width, turned) = (states.size4()?.3, 2 * self.half);
        if turned == width {
            return self.turn_whole(states);
        }
        let first = self.turn_whole(&states.f_narrow(-1, 0, turned)?)?;
        Ok(Tensor::f_cat(&[&first, &states.f_narrow(-1, turned, width - turned)?], -1)?)
    }

    fn turn_whole(&self, states: &Tensor) -> Result<Tensor> {
        let exact = states.f_to_kind(Kind::Float)?;
        let swapped = exact.f_roll([self.half], [-1])?;
        Ok(exact.f_mul(&self.cosine)?.f_addcmul(&swapped, &self.signed_sine)?.f_to_kind(states.f_kind()?)?)
    }
}
