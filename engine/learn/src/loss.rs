//! The loss of predicted tokens: negative log-likelihood of the targets, in float32, with the output head applied to the
//! positions that predict one and to no other. Knows hidden states and a head; no network, no optimiser and no data.

use tch::{Device, Kind, Reduction, Tensor};

use crate::batches::MicroBatch;
use crate::clock::{self, Part};
use crate::error::Result;

/// The most scores that are held at once while training; more targets are computed in parts.
pub const SCORES: i64 = 1 << 22;

/// A micro-batch on the device.
#[derive(Debug)]
pub struct Placed {
    /// Token ids, `[rows, length]`.
    pub ids: Tensor,
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

    /// The predictions of the targets, from the hidden states `[rows, length, width]` of all positions.
    pub fn predictions<'a>(&'a self, hidden: &Tensor, head: Head<'a>) -> Result<Predictions<'a>> {
        let width = hidden.size3()?.2;
        let hidden = hidden.f_reshape([-1, width])?.f_index_select(0, &self.positions)?;
        Ok(Predictions::new(hidden, &self.targets, head))
    }
}

/// An output head: the scores `[…, vocabulary]` for hidden states `[…, width]`.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// The head itself.
    pub scores: &'a dyn Fn(&Tensor) -> Result<Tensor>,
    /// How many scores each hidden state gets.
    pub vocabulary: i64,
}

/// Hidden states, each of which predicts one target.
pub struct Predictions<'a> {
    /// `[targets, width]`
    hidden: Tensor,
    /// `[targets]`
    targets: &'a Tensor,
    head: Head<'a>,
}

impl<'a> Predictions<'a> {
    /// Of hidden states `[targets, width]` the predictions of `targets`.
    pub fn new(hidden: Tensor, targets: &'a Tensor, head: Head<'a>) -> Self {
        Self { hidden, targets, head }
    }

    /// How many targets are computed at once.
    fn part(&self) -> i64 {
        (SCORES / self.head.vocabulary.max(1)).max(1)
    }

    /// Adds the gradients of the weighed sum of the losses to the trainable tensors. Returns that sum.
    pub fn backward(&self, weights: &[f64]) -> Result<Tensor> {
        let weights = Weights::new(weights, self.hidden.device())?;
        if self.targets.size1()? <= self.part() {
            let loss = self.sum(&self.hidden, self.targets, &weights)?;
            clock::enter(Part::Backward);
            loss.f_backward()?;
            return Ok(loss.f_detach()?);
        }
        self.backward_in_parts(self.part(), &weights)
    }

    /// The same over parts of at most `part` targets, so that the scores of one part are held at a time. The head's part
    /// of the graph ends at a copy of the hidden states, whose gathered gradient then goes on to the model.
    fn backward_in_parts(&self, part: i64, weights: &Weights) -> Result<Tensor> {
        let cut = self.hidden.f_detach()?.f_set_requires_grad(true)?;
        let mut total = Tensor::f_zeros([], (Kind::Float, cut.device()))?;
        let count = self.targets.size1()?;
        for start in (0..count).step_by(usize::try_from(part).unwrap_or(1)) {
            let length = part.min(count - start);
            let (hidden, targets) = (cut.f_narrow(0, start, length)?, self.targets.f_narrow(0, start, length)?);
            clock::enter(Part::Forward);
            let loss = self.sum(&hidden, &targets, &weights.narrow(start, length)?)?;
            clock::enter(Part::Backward);
            loss.f_backward()?;
            total = total.f_add(&loss.f_detach()?)?;
        }
        if self.hidden.requires_grad() {
            self.hidden.f_mul(&cut.grad())?.f_sum(Kind::Float)?.f_backward()?;
        }
        Ok(total)
    }

    /// The loss of each target and whether the model held it the likeliest, each `[targets]`.
    pub fn scored(&self) -> Result<(Tensor, Tensor)> {
        let (mut losses, mut right) = (Vec::new(), Vec::new());
        let count = self.targets.size1()?;
        let part = self.part();
        for start in (0..count).step_by(usize::try_from(part).unwrap_or(1)) {
            let length = part.min(count - start);
            let (hidden, targets) = (self.hidden.f_narrow(0, start, length)?, self.targets.f_narrow(0, start, length)?);
            let scores = (self.head.scores)(&hidden)?.f_to_kind(Kind::Float)?;
            losses.push(cross_entropy(&scores, &targets, Reduction::None)?);
            right.push(scores.f_argmax(-1, false)?.f_eq_tensor(&targets)?);
        }
        Ok((Tensor::f_cat(&losses, 0)?, Tensor::f_cat(&right, 0)?))
    }

    fn sum(&self, hidden: &Tensor, targets: &Tensor, weights: &Weights) -> Result<Tensor> {
        let scores = (self.head.scores)(hidden)?.f_to_kind(Kind::Float)?;
        match weights {
            Weights::Equal(weight) => Ok(cross_entropy(&scores, targets, Reduction::Sum)?.f_mul_scalar(*weight)?),
            Weights::Each(weights) => {
                Ok(cross_entropy(&scores, targets, Reduction::None)?.f_mul(weights)?.f_sum(Kind::Float)?)
            }
        }
    }
}

/// The weights of targets.
enum Weights {
    Equal(f64),
    /// `[targets]`, float32
    Each(Tensor),
}

impl Weights {
    fn new(weights: &[f64], device: Device) -> Result<Self> {
        match weights.split_first() {
            Some((&first, rest)) if rest.iter().any(|&weight| weight != first) => {
                Ok(Self::Each(Tensor::f_from_slice(weights)?.f_to_kind(Kind::Float)?.f_to_device(device)?))
            }
            Some((&first, _)) => Ok(Self::Equal(first)),
            None => Ok(Self::Equal(0.0)),
        }
    }

    fn narrow(&self, start: i64, length: i64) -> Result<Self> {
        match self {
            Self::Equal(weight) => Ok(Self::Equal(*weight)),
            Self::Each(weights) => Ok(Self::Each(weights.f_narrow(0, start, length)?)),
        }
    }
}

/// Negative log-likelihood of `targets` `[n]` under `scores` `[n, classes]`, float32.
pub fn cross_entropy(scores: &Tensor, targets: &Tensor, reduction: Reduction) -> Result<Tensor> {
    Ok(scores.f_cross_entropy_loss(targets, None::<&Tensor>, reduction, -100, 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::{Full, Lora, Method};
    use crate::batches::LossRow;
    use crate::layers::Mode;
    use crate::models::Model;
    use crate::targets::Targets;

    #[test]
    fn parts_give_the_loss_and_the_gradients_of_the_whole() {
        let rows = [5, 9, 7].map(|length| {
            let ids: Vec<i32> = (0..length).map(|at| (at * 3 + length) % 11).collect();
            LossRow::new(format!("{length}"), &ids, vec![true; ids.len()]).unwrap()
        });
        let micro = Placed::new(&MicroBatch::new(&rows, 0), Device::Cpu).unwrap();
        let config = serde_json::json!({
            "model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "vocab_size": 11,
            "num_attention_heads": 2, "tie_word_embeddings": true, "initializer_range": 0.3, "rms_norm_eps": 1e-5,
        });
        let lora = Lora::new(2, 3.0, 0.0, Targets::AllLinear).unwrap();
        let targets = usize::try_from(micro.targets.size()[0]).unwrap();
        let different: Vec<f64> = (0..targets).map(|target| 0.1 + target as f64 / 10.0).collect();
        for (method, weights) in [(&Full as &dyn Method, &vec![0.5; targets]), (&lora, &different)] {
            let run = |parts: Option<i64>| {
                let model = Model::random(&config, 1, method, 2, Device::Cpu).unwrap();
                let network = model.network.causal_lm().unwrap();
                let head = |hidden: &Tensor| network.logits(hidden, Mode::Train);
                let head = Head { scores: &head, vocabulary: network.vocabulary() };
                let hidden = network.hidden(&micro.ids, Mode::Train).unwrap();
                let predictions = micro.predictions(&hidden, head).unwrap();
                let loss = match parts {
                    None => predictions.backward(weights).unwrap(),
                    Some(part) => {
                        let weights = Weights::new(weights, Device::Cpu).unwrap();
                        predictions.backward_in_parts(part, &weights).unwrap()
                    }
                };
                let gradients = model.trainable.iter().map(|(_, tensor)| tensor.grad()).collect::<Vec<_>>();
                let (apart, _) = tch::no_grad(|| predictions.scored()).unwrap();
                let apart = Vec::<f64>::try_from(apart.to_kind(Kind::Double)).unwrap();
                let expected: f64 = apart.iter().zip(weights).map(|(loss, weight)| loss * weight).sum();
                assert!((loss.double_value(&[]) - expected).abs() < 1e-5 * expected, "{loss:?} and {expected}");
                (loss.double_value(&[]), gradients)
            };
            let (loss, gradients) = run(None);
            for part in [1, 4, 100] {
                let (other_loss, other_gradients) = run(Some(part));
                assert!((loss - other_loss).abs() < 1e-5, "{loss} and {other_loss}");
                for (one, other) in gradients.iter().zip(&other_gradients) {
                    let scale = one.abs().max().double_value(&[]).max(1e-6);
                    assert!((one - other).abs().max().double_value(&[]) < 1e-5 * scale, "parts of {part}");
                }
            }
        }
    }
}
