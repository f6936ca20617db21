//! One optimiser step: forward and backward over its micro-batches, the check of the first gradients, clipping, AdamW.
//! Knows rows as ids; no order of rows, no file.

use tch::{Kind, Tensor};

use crate::batches::{LossRow, MicroBatch};
use crate::error::{Error, Result, some_of};
use crate::loss::Placed;
use crate::models::Model;
use crate::optim::{AdamW, Flat, LossScale, Moments, clip};

/// The tensors that change from step to step.
#[derive(Debug)]
pub struct Weights {
    /// Values and gradients.
    pub flat: Flat,
    /// The optimiser's memory of them.
    pub moments: Moments,
    /// The scaling of the loss, where the model computes in fp16.
    pub loss_scale: Option<LossScale>,
    checked: bool,
}

/// What a step did; the tensors are single numbers on the device.
#[derive(Debug)]
pub struct Done {
    /// The mean loss of its targets.
    pub loss: Tensor,
    /// The norm of all gradients before clipping.
    pub norm: Tensor,
    /// Token ids read.
    pub tokens: u64,
    /// Targets that carried loss.
    pub loss_tokens: u64,
    /// Whether the gradients had overflowed, so that nothing was learned. The norm is zero then.
    pub skipped: bool,
}

/// What a step needs beside its rows.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Rows that are computed at once.
    pub micro: usize,
    /// The id that fills short rows up.
    pub padding: i64,
    /// The seed of dropout.
    pub dropout_seed: u64,
    /// The most that the norm of all gradients may be.
    pub clip: Option<f64>,
    /// The optimiser.
    pub optimizer: AdamW,
}

impl Weights {
    /// Those of a model before its first step.
    pub fn new(model: &Model) -> Result<Self> {
        let flat = Flat::new(&model.trainable)?;
        let moments = Moments::zero(flat.values())?;
        let loss_scale = (model.numerics.compute == Kind::Half).then(LossScale::default);
        Ok(Self { flat, moments, loss_scale, checked: false })
    }

    /// Learns from the rows of a batch. The loss is the mean over all targets of the batch, however many micro-batches
    /// it is computed in.
    pub fn step(&mut self, model: &Model, rows: &[&LossRow], rule: &Rule, learning_rate: f64) -> Result<Done> {
        let step = self.moments.steps + self.loss_scale.as_ref().map_or(0, |scale| scale.skipped);
        let loss_tokens: usize = rows.iter().map(|row| row.losses()).sum();
        let factor = self.loss_scale.as_ref().map_or(1.0, LossScale::factor);
        let scale = factor / loss_tokens.max(1) as f64;
        if self.checked {
            let _ = self.flat.gradients()?.f_zero_()?;
        }
        let mut loss = Tensor::f_zeros([], (Kind::Float, model.device))?;
        let mut tokens = 0;
        for (index, part) in (0_u64..).zip(rows.chunks(rule.micro.max(1))) {
            let micro = MicroBatch::new(part.iter().copied(), rule.padding);
            tokens += micro.tokens;
            model.activations.begin(dropout_seed(rule.dropout_seed, step, index));
            loss = loss.f_add(&Placed::new(&micro, model.device)?.backward(model.network.as_ref(), scale)?)?;
            model.activations.backward()?;
        }
        let loss = loss.f_div_scalar(factor)?;
        if !self.checked {
            self.check(&loss)?;
        }
        let gradients = self.flat.gradients()?;
        let loss_tokens = loss_tokens as u64;
        if let Some(loss_scale) = &mut self.loss_scale
            && !loss_scale.unscale(&gradients)?
        {
            let norm = loss.f_zeros_like()?;
            return Ok(Done { loss, norm, tokens, loss_tokens, skipped: true });
        }
        let norm = clip(&gradients, rule.clip)?;
        rule.optimizer.step(self.flat.values(), &gradients, &mut self.moments, learning_rate)?;
        Ok(Done { loss, norm, tokens, loss_tokens, skipped: false })
    }

    /// After the first backward pass: every tensor must have a gradient, and a finite one. In fp16 the first often is not.
    fn check(&mut self, loss: &Tensor) -> Result<()> {
        let without = self.flat.without_gradient();
        if !without.is_empty() {
            let problem = format!("no gradient reaches {}", some_of(without.iter().copied()));
            let hint = "nothing these tensors do changes the loss: check what is adapted, and that the model uses it";
            return Err(Error::stopped(problem, Some("the first step".into()), hint));
        }
        self.checked = true;
        if self.loss_scale.is_some() {
            return Ok(());
        }
        let gradients = self.flat.gradients()?;
        let faulty = self.flat.not_finite(&gradients)?;
        // A loss that is not finite is reported as such, with its rows.
        if !faulty.is_empty() && loss.f_isfinite()?.f_int64_value(&[])? == 1 {
            let problem = format!("the gradient of {} is not finite", some_of(faulty.iter().copied()));
            let hint = "the loss is finite, so its derivative is not: check the model's weights for infinite values";
            return Err(Error::stopped(problem, Some("the first step".into()), hint));
        }
        Ok(())
    }
}

/// The seed of one micro-batch's dropout: a resumed training draws what an uninterrupted one draws.
fn dropout_seed(seed: u64, step: u64, micro: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"dropout").update(&seed.to_le_bytes()).update(&step.to_le_bytes()).update(&micro.to_le_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
