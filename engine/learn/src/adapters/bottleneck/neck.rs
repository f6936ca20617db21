//! The bottleneck itself: `γ · U f(D x)` from wide states through few numbers and back, with new layer norms before and
//! behind it where it has them. Knows neither where it stands nor what is done with what it gives.

use tch::Tensor;

use crate::error::{Error, Result};
use crate::layers::{Activation, LayerNorm, Linear, LinearMap, Mode, dropped};
use crate::parameters::Stores;
use crate::weights::Init;

/// What new layer norms add to the variance: PyTorch's default.
const EPSILON: f64 = 1e-5;

/// How a bottleneck is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neck {
    /// Numbers in the middle.
    pub size: i64,
    /// What stands there.
    pub activation: Activation,
    /// What the result is multiplied with.
    pub scale: f64,
    /// Dropout, on the result; of a bottleneck without biases, on what comes in.
    pub dropout: f64,
    /// The new layer norms.
    pub norms: Norms,
    /// Whether both maps have biases.
    pub bias: bool,
    /// The first values of both maps.
    pub first: First,
}

/// New layer norms, which train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Norms {
    /// Before the bottleneck.
    pub before: bool,
    /// Behind it.
    pub after: bool,
}

/// The first values of a bottleneck's maps; its biases are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Both normal with a deviation of 0.02.
    Bert,
    /// Both normal with a deviation of 0.01, none further off than twice that. Houlsby et al. (arXiv 1902.00751), 3.1.
    Houlsby,
    /// Down as LoRA's A, up zero, so that it begins with nothing. He et al. (arXiv 2110.04366).
    Zero,
}

/// The size of a bottleneck.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// So many numbers.
    Units(i64),
    /// The width of the hidden states divided by this, rounded down, at least 1.
    Reduction(f64),
}

impl Size {
    /// Numbers in the middle for hidden states of `width`.
    pub fn of(self, width: i64) -> i64 {
        match self {
            Self::Units(units) => units,
            Self::Reduction(factor) => ((width as f64 / factor).floor() as i64).max(1),
        }
    }

    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Units(units) if units < 1 => {
                Err(Error::setting("size.units", format!("is {units}"), "it must be at least 1"))
            }
            Self::Reduction(factor) if !(factor > 0.0 && factor.is_finite()) => {
                Err(Error::setting("size.reduction", format!("is {factor}"), "it must be above zero; 16 is usual"))
            }
            _ => Ok(()),
        }
    }
}

impl Neck {
    pub(super) fn check(&self) -> Result<()> {
        if self.size < 1 {
            return Err(Error::setting("size", format!("is {}", self.size), "it must be at least 1"));
        }
        if !(self.scale.is_finite() && self.scale != 0.0) {
            return Err(Error::setting("scale", format!("is {}", self.scale), "it must be a number other than zero"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::setting("dropout", format!("is {}", self.dropout), "it must be at least 0 and below 1"));
        }
        Ok(())
    }

    /// The names, shapes and first values of its tensors at the place `name`.
    fn plan(&self, name: &str, [outputs, inputs]: [i64; 2]) -> Vec<(String, Vec<i64>, Init)> {
        let Self { size, .. } = *self;
        let (down, up) = match self.first {
            First::Bert => (Init::Normal(0.02), Init::Normal(0.02)),
            First::Houlsby => (Init::TruncatedNormal(0.01), Init::TruncatedNormal(0.01)),
            First::Zero => (Init::Uniform((inputs as f64).sqrt().recip()), Init::Constant(0.0)),
        };
        let mut tensors = Vec::new();
        let mut add = |part: &str, shape: Vec<i64>, init| tensors.push((format!("{name}.{part}"), shape, init));
        let norm = |there: bool, which: &str, width: i64, add: &mut dyn FnMut(&str, Vec<i64>, Init)| {
            if there {
                add(&format!("adapter_norm_{which}.weight"), vec![width], Init::Constant(1.0));
                add(&format!("adapter_norm_{which}.bias"), vec![width], Init::Constant(0.0));
            }
        };
        norm(self.norms.before, "before", inputs, &mut add);
        add("adapter_down.weight", vec![size, inputs], down);
        if self.bias {
            add("adapter_down.bias", vec![size], Init::Constant(0.0));
        }
        add("adapter_up.weight", vec![outputs, size], up);
        if self.bias {
            add("adapter_up.bias", vec![outputs], Init::Constant(0.0));
        }
        norm(self.norms.after, "after", outputs, &mut add);
        tensors
    }

    /// The names and shapes of its tensors at the place `name`, from `inputs` to `outputs` numbers.
    pub fn tensors(&self, name: &str, [outputs, inputs]: [i64; 2]) -> Vec<(String, Vec<i64>)> {
        self.plan(name, [outputs, inputs]).into_iter().map(|(name, shape, _)| (name, shape)).collect()
    }

    /// A new bottleneck at the place `name`, from `inputs` to `outputs` numbers.
    pub(super) fn create(&self, name: &str, sizes: [i64; 2], stores: &mut Stores) -> Result<Block> {
        for (name, shape, init) in self.plan(name, sizes) {
            let tensor = stores.fresh.draw(&name, &shape, init)?;
            let _ = stores.trainable.add(&name, &tensor)?;
        }
        let get = |part: &str| {
            let name = format!("{name}.{part}");
            stores.trainable.get(&name).map(Tensor::shallow_clone).ok_or_else(|| {
                Error::setting(&name, "this part of a bottleneck was not made", "report it with the pipeline file")
            })
        };
        let map = |part: &str| -> Result<Linear> {
            let bias = if self.bias { Some(get(&format!("{part}.bias"))?) } else { None };
            Ok(Linear { weight: get(&format!("{part}.weight"))?, bias })
        };
        let norm = |there: bool, part: &str| -> Result<Option<LayerNorm>> {
            match there {
                true => {
                    Ok(Some(LayerNorm::new(get(&format!("{part}.weight"))?, get(&format!("{part}.bias"))?, EPSILON)))
                }
                false => Ok(None),
            }
        };
        Ok(Block {
            before: norm(self.norms.before, "adapter_norm_before")?,
            down: map("adapter_down")?,
            up: map("adapter_up")?,
            after: norm(self.norms.after, "adapter_norm_after")?,
            neck: *self,
        })
    }
}

/// A bottleneck with its tensors.
#[derive(Debug)]
pub(super) struct Block {
    before: Option<LayerNorm>,
    /// `[size, inputs]`
    down: Linear,
    /// `[outputs, size]`
    up: Linear,
    after: Option<LayerNorm>,
    neck: Neck,
}

impl Block {
    /// `norm(dropout(γ · U f(D norm(x))))` of `[…, inputs]`.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let dropout = mode.dropout(self.neck.dropout);
        let inner = match &self.before {
            Some(norm) => self.down.forward(&norm.forward(x)?, mode)?,
            None => self.down.forward(x, mode)?,
        };
        let made = self.up(&self.neck.activation.apply(&inner)?, mode)?;
        let made = dropped(made, dropout)?;
        match &self.after {
            Some(norm) => norm.forward(&made),
            None => Ok(made),
        }
    }

    /// The same with dropout on what comes in, as LLM-Adapters have it.
    pub fn forward_dropped(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let x = dropped(x.shallow_clone(), mode.dropout(self.neck.dropout))?;
        self.up(&self.neck.activation.apply(&self.down.forward(&x, mode)?)?, mode)
    }

    /// `γ · U inner`: scaled where it is smallest.
    fn up(&self, inner: &Tensor, mode: Mode) -> Result<Tensor> {
        if self.neck.scale == 1.0 {
            return self.up.forward(inner, mode);
        }
        let scaled = inner.f_mul_scalar(self.neck.scale)?;
        let kind = inner.f_kind()?;
        let bias = match &self.up.bias {
            Some(bias) => Some(bias.f_mul_scalar(self.neck.scale)?.f_to_kind(kind)?),
            None => None,
        };
        Ok(scaled.f_linear(&self.up.weight.f_to_kind(kind)?, bias.as_ref())?)
    }
}
