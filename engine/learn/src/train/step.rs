//! One optimiser step: forward and backward over its micro-batches, the check of the first gradients, clipping, AdamW.
//! Knows rows by their indices; no objective, no order of rows, no file.

use tch::{Kind, Tensor};

use crate::clock::{self, Part};
use crate::error::{Error, Result, some_of};
use crate::models::Model;
use crate::objectives::{Examples, Normalize};
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
    /// The loss of its rows.
    pub loss: Tensor,
    /// What penalties added to it, where there are some.
    pub penalty: Option<Tensor>,
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
    /// What the loss is a mean of.
    pub normalize: Normalize,
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

    /// Learns from `rows` of the examples, by their indices.
    pub fn step(
        &mut self,
        model: &Model,
        examples: &dyn Examples,
        rows: &[usize],
        rule: &Rule,
        learning_rate: f64,
    ) -> Result<Done> {
        let step = self.moments.steps + self.loss_scale.as_ref().map_or(0, |scale| scale.skipped);
        let factor = self.loss_scale.as_ref().map_or(1.0, LossScale::factor);
        let mut weighed = rule.normalize.weigh(examples, rows, rule.micro);
        weighed.iter_mut().for_each(|row| row.weight *= factor);
        if self.checked {
            let _ = self.flat.gradients()?.f_zero_()?;
        }
        let mut loss = Tensor::f_zeros([], (Kind::Float, model.device))?;
        for (index, part) in (0_u64..).zip(weighed.chunks(rule.micro.max(1))) {
            model.activations.begin(dropout_seed(rule.dropout_seed, step, index));
            clock::enter(Part::Data);
            loss = loss.f_add(&examples.backward(model, part)?)?;
            model.activations.backward()?;
        }
        clock::enter(Part::Optimizer);
        let loss = loss.f_div_scalar(factor)?;
        if !self.checked {
            self.check(&loss)?;
        }
        let gradients = self.flat.gradients()?;
        let rows = || rows.iter().filter_map(|&row| examples.row(row));
        let tokens = rows().map(|row| row.inputs() as u64).sum();
        let loss_tokens = rows().map(|row| row.losses() as u64).sum();
        if let Some(loss_scale) = &mut self.loss_scale
            && !loss_scale.unscale(&gradients)?
        {
            let norm = loss.f_zeros_like()?;
            return Ok(Done { loss, penalty: None, norm, tokens, loss_tokens, skipped: true });
        }
        let penalty = self.flat.penalize(&gradients)?;
        let norm = clip(&gradients, rule.clip)?;
        self.flat.project(&gradients)?;
        let groups = self.flat.groups();
        rule.optimizer.step(self.flat.values(), &gradients, &mut self.moments, groups, learning_rate)?;
        Ok(Done { loss, penalty, norm, tokens, loss_tokens, skipped: false })
    }

    /// After the first backward pass, before anything is changed: every tensor must be finite and have a gradient, and a
    /// finite one. In fp16 the first often is not.
    fn check(&mut self, loss: &Tensor) -> Result<()> {
        let without = self.flat.without_gradient();
        if !without.is_empty() {
            let problem = format!("no gradient reaches {}", some_of(without.iter().copied()));
            let hint = "nothing these tensors do changes the loss: check what is adapted, and that the model uses it";
            return Err(Error::stopped(problem, Some("the first step".into()), hint));
        }
        let faulty = self.flat.not_finite(self.flat.values())?;
        if !faulty.is_empty() {
            let problem =
                format!("the weights that are to train hold numbers that are not finite: {}", some_of(faulty));
            return Err(Error::stopped(problem, Some("before the first step".into()), OTHER_WEIGHTS));
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

/// What to do where a model's own weights are not finite.
pub const OTHER_WEIGHTS: &str =
    "the checkpoint is damaged, or was saved by a training that had diverged: fetch it again, or take another";

/// The names of the tensors that hold a number that is not finite.
pub fn not_finite<'a>(tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<Vec<&'a str>> {
    let mut names = Vec::new();
    for (name, tensor) in tensors {
        if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            names.push(name);
        }
    }
    Ok(names)
}

/// The seed of one micro-batch's dropout: a resumed training draws what an uninterrupted one draws.
fn dropout_seed(seed: u64, step: u64, micro: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"dropout").update(&seed.to_le_bytes()).update(&step.to_le_bytes()).update(&micro.to_le_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
