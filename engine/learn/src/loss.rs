//! The loss of a language model: negative log-likelihood of the targets, in float32, with the output head applied to
//! the positions that predict one and to no other. Knows the model by its trait; no optimiser and no data.

use tch::{Device, Kind, Reduction, Tensor};

use crate::batches::MicroBatch;
use crate::error::Result;
use crate::layers::Mode;
use crate::models::CausalLm;

/// The most scores that are held at once while training; more targets are computed in parts.
const SCORES: i64 = 1 << 26;

/// A micro-batch on the device.
#[derive(Debug)]
pub struct Placed {
    ids: Tensor,
    positions: Tensor,
    targets: Tensor,
}

impl Placed {
    /// Copies a micro-batch to `device`.
    pub fn new(micro: &MicroBatch, device: Device) -> Result<Self> {
        let shape = [micro.rows as i64, micro.length as i64];
        Ok(Self {
            ids: Tensor::f_from_slice(&micro.ids)?.f_view(shape)?.f_to_device(device)?,
            positions: Tensor::f_from_slice(&micro.positions)?.f_to_device(device)?,
            targets: Tensor::f_from_slice(&micro.targets)?.f_to_device(device)?,
        })
    }

    /// The hidden states that predict a target, `[targets, width]`.
    fn predicting(&self, network: &dyn CausalLm, mode: Mode) -> Result<Tensor> {
        let hidden = network.hidden(&self.ids, mode)?;
        let width = hidden.size3()?.2;
        Ok(hidden.f_reshape([-1, width])?.f_index_select(0, &self.positions)?)
    }

    /// Adds the gradients of `scale` times the summed loss to the trainable tensors. Returns that loss, one number on
    /// the device.
    pub fn backward(&self, network: &dyn CausalLm, scale: f64) -> Result<Tensor> {
        let hidden = self.predicting(network, Mode::Train)?;
        let count = self.targets.size1()?;
        let part = (SCORES / network.vocabulary().max(1)).max(1);
        if count <= part {
            let loss = sum(network, &hidden, &self.targets, Mode::Train)?.f_mul_scalar(scale)?;
            loss.f_backward()?;
            return Ok(loss.f_detach()?);
        }
        self.backward_in_parts(network, &hidden, part, scale)
    }

    /// The same over parts of at most `part` targets, so that the scores of one part are held at a time. The head's part
    /// of the graph ends at a copy of the hidden states, whose gathered gradient then goes on to the model.
    fn backward_in_parts(&self, network: &dyn CausalLm, hidden: &Tensor, part: i64, scale: f64) -> Result<Tensor> {
        let cut = hidden.f_detach()?.f_set_requires_grad(true)?;
        let mut total = Tensor::f_zeros([], (Kind::Float, hidden.device()))?;
        let count = self.targets.size1()?;
        for start in (0..count).step_by(usize::try_from(part).unwrap_or(1)) {
            let length = part.min(count - start);
            let (hidden, targets) = (cut.f_narrow(0, start, length)?, self.targets.f_narrow(0, start, length)?);
            let loss = sum(network, &hidden, &targets, Mode::Train)?.f_mul_scalar(scale)?;
            loss.f_backward()?;
            total = total.f_add(&loss.f_detach()?)?;
        }
        if hidden.requires_grad() {
            hidden.f_mul(&cut.grad())?.f_sum(Kind::Float)?.f_backward()?;
        }
        Ok(total)
    }

    /// The loss of each target, `[targets]`, in evaluation.
    pub fn losses(&self, network: &dyn CausalLm) -> Result<Tensor> {
        Ok(self.scored(network)?.0)
    }

    /// The loss of each target and whether the model held it the likeliest, each `[targets]`, in evaluation.
    pub fn scored(&self, network: &dyn CausalLm) -> Result<(Tensor, Tensor)> {
        let _guard = tch::no_grad_guard();
        let hidden = self.predicting(network, Mode::Eval)?;
        let (mut losses, mut right) = (Vec::new(), Vec::new());
        let count = self.targets.size1()?;
        let part = (SCORES / network.vocabulary().max(1)).max(1);
        for start in (0..count).step_by(usize::try_from(part).unwrap_or(1)) {
            let length = part.min(count - start);
            let (hidden, targets) = (hidden.f_narrow(0, start, length)?, self.targets.f_narrow(0, start, length)?);
            let scores = network.logits(&hidden, Mode::Eval)?.f_to_kind(Kind::Float)?;
            losses.push(cross_entropy(&scores, &targets, Reduction::None)?);
            right.push(scores.f_argmax(-1, false)?.f_eq_tensor(&targets)?);
        }
        Ok((Tensor::f_cat(&losses, 0)?, Tensor::f_cat(&right, 0)?))
    }
}

fn sum(network: &dyn CausalLm, hidden: &Tensor, targets: &Tensor, mode: Mode) -> Result<Tensor> {
    cross_entropy(&network.logits(hidden, mode)?.f_to_kind(Kind::Float)?, targets, Reduction::Sum)
}

fn cross_entropy(scores: &Tensor, targets: &Tensor, reduction: Reduction) -> Result<Tensor> {
    Ok(scores.f_cross_entropy_loss(targets, None::<&Tensor>, reduction, -100, 0.0)?)
}
