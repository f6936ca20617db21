//! How long a model's forward pass takes, by rows of a batch: median and 95th percentile over repeated passes over the same
//! rows. Knows a model and rows; no metric and no file.

use std::time::Instant;

use spec::observed::BatchLatency;
use tch::{Cuda, Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::Mode;
use crate::models::{Model, Network, Texts};
use crate::objectives::{TextRow, span_scores, together};
use crate::observer::Observer;

/// How often a batch is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    /// Passes that do not count.
    pub warmup: u64,
    /// Passes that are measured.
    pub iterations: u64,
}

/// A batch on the device, ready to be computed again and again.
#[derive(Debug)]
pub struct Forward<'a> {
    model: &'a Model,
    texts: Texts,
    /// Of a causal language model, where each row ends among all positions, `[rows]`.
    ends: Option<Tensor>,
    /// Of an encoder–decoder, the first token of each answer, `[rows, 1]`.
    starts: Option<Tensor>,
    tokens: u64,
}

impl<'a> Forward<'a> {
    /// Puts rows together, padded on the right to the longest; each has a token at least.
    pub fn new(model: &'a Model, rows: &[&TextRow], padding: i64) -> Result<Self> {
        let texts = together(rows.iter().copied(), padding, model)?;
        let (count, length) = texts.ids.size2()?;
        let ends = match &model.network {
            Network::CausalLm(_) => {
                let ends: Vec<i64> =
                    (0..count).zip(rows).map(|(row, of)| row * length + of.ids.len() as i64 - 1).collect();
                Some(Tensor::f_from_slice(&ends)?.f_to_device(model.device)?)
            }
            _ => None,
        };
        let starts = match &model.network {
            Network::Seq2SeqLm(network) => {
                Some(Tensor::f_full([count, 1], network.start_id(), (Kind::Int64, model.device))?)
            }
            _ => None,
        };
        let tokens = rows.iter().map(|row| row.ids.len() as u64).sum();
        Ok(Self { model, texts, ends, starts, tokens })
    }

    /// One forward pass: the scores of each row's next token, `[rows, vocabulary]`; of an answer's first one,
    /// `[rows, 1, vocabulary]`; of each text's classes, `[rows, labels]`; or of each token, `[rows, length, 2]`.
    pub fn scores(&self) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        match (&self.model.network, &self.ends, &self.starts) {
            (Network::CausalLm(network), Some(ends), _) => {
                // Padding stands on the right, where no token of the row sees it.
                let hidden = network.hidden(&self.texts.ids, Mode::Eval)?;
                let width = hidden.size3()?.2;
                network.logits(&hidden.f_reshape([-1, width])?.f_index_select(0, ends)?, Mode::Eval)
            }
            (Network::Seq2SeqLm(network), _, Some(starts)) => {
                let encoded = network.encode(&self.texts, Mode::Eval)?;
                network.logits(&network.hidden(&encoded, &self.texts, starts, Mode::Eval)?, Mode::Eval)
            }
            (Network::SequenceClassifier(network), ..) => network.scores(&self.texts, Mode::Eval),
            (Network::TokenClassifier(_), ..) => span_scores(self.model, &self.texts, Mode::Eval),
            _ => Err(Error::stopped("the batch was made for another network", None, "this is a mistake of the engine")),
        }
    }

    /// Seconds of each measured pass.
    fn seconds(&self, passes: Passes, passed: &mut dyn FnMut()) -> Result<Vec<f64>> {
        let mut seconds = Vec::with_capacity(usize::try_from(passes.iterations).unwrap_or_default());
        for pass in 0..passes.warmup.saturating_add(passes.iterations) {
            wait(self.model.device);
            let started = Instant::now();
            let scores = self.scores()?;
            wait(self.model.device);
            let taken = started.elapsed().as_secs_f64();
            drop(scores);
            if pass >= passes.warmup {
                seconds.push(taken);
            }
            passed();
        }
        Ok(seconds)
    }
}

/// Waits until the device has done all that was asked of it.
fn wait(device: Device) {
    if let Device::Cuda(number) = device {
        Cuda::synchronize(i64::try_from(number).unwrap_or_default());
    }
}

/// How long batches of these sizes take. A batch is the first rows; where there are fewer, they come again.
pub fn latency(
    model: &Model,
    rows: &[TextRow],
    sizes: &[u64],
    passes: Passes,
    padding: i64,
    observer: &mut dyn Observer,
) -> Result<Vec<BatchLatency>> {
    let each = passes.warmup.saturating_add(passes.iterations);
    let (mut done, total) = (0, each.saturating_mul(sizes.len() as u64));
    let mut batches = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let together: Vec<&TextRow> = rows.iter().cycle().take(usize::try_from(size).unwrap_or(usize::MAX)).collect();
        let forward = Forward::new(model, &together, padding)?;
        let mut seconds = forward.seconds(passes, &mut || {
            done += 1;
            observer.progress(done, total, "forward passes", &|| format!("{size} rows"));
        })?;
        seconds.sort_by(f64::total_cmp);
        batches.push(BatchLatency {
            size,
            length: u64::try_from(forward.texts.ids.size2()?.1).unwrap_or_default(),
            tokens: forward.tokens,
            median_seconds: quantile(&seconds, 0.5),
            p95_seconds: quantile(&seconds, 0.95),
        });
    }
    Ok(batches)
}

/// The number below which a part of the sorted numbers lies, between two of them by the line through them, as NumPy's
/// `quantile` has it. NaN of nothing.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * sorted.len().saturating_sub(1) as f64;
    let at = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numpys() {
        let numbers: Vec<f64> = (1..=10).map(|n| f64::from(n * n)).collect();
        assert_eq!(quantile(&numbers, 0.5), 30.5);
        assert!((quantile(&numbers, 0.95) - 91.45).abs() < 1e-12);
        assert_eq!(quantile(&[3.0], 0.95), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 9.0], 0.5), 2.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
