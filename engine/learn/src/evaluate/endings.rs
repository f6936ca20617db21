//! The log-likelihood of how texts end, by a causal language model: what texts begin with alike is read once, and the output
//! head runs on the positions that predict an ending alone. Knows ids; no question, no choice and no metric.

use data::metrics::TokenScore;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::generate::{Beginning, Reading};
use crate::layers::Mode;
use crate::loss::{Head, Predictions};
use crate::models::CausalLm;

/// A text and where its ending begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The tokens of the text, at least two.
    pub ids: Vec<i64>,
    /// The first token of the ending, at least 1: it is predicted by the one before it.
    pub start: usize,
}

impl Ending {
    /// What a model reads to predict all of it: all tokens but the last.
    pub fn read(&self) -> &[i64] {
        self.ids.split_last().map_or(&[], |(_, read)| read)
    }
}

/// The scores of endings, in their order, read together.
pub fn ending_scores(
    model: &dyn CausalLm,
    endings: &[&Ending],
    beginning: Option<&Beginning>,
    device: Device,
) -> Result<Vec<TokenScore>> {
    let _guard = tch::no_grad_guard();
    let texts: Vec<&[i64]> = endings.iter().map(|ending| ending.read()).collect();
    let (mut states, mut targets, mut whose) = (Vec::new(), Vec::new(), Vec::new());
    Reading::new(&texts, beginning).run(model, device, &mut |pass| {
        let mut places = Vec::new();
        for (text, row) in pass.texts() {
            let Some(ending) = endings.get(text) else { continue };
            for (at, &target) in ending.ids.iter().enumerate().skip(ending.start.max(1)) {
                if let Some(place) = pass.place(row, at - 1) {
                    places.push(place);
                    targets.push(target);
                    whose.push(text);
                }
            }
        }
        if !places.is_empty() {
            states.push(pass.states(&places)?);
        }
        Ok(())
    })?;
    let mut scores = vec![TokenScore::default(); endings.len()];
    if states.is_empty() {
        return Ok(scores);
    }
    let head = |hidden: &Tensor| model.logits(hidden, Mode::Eval);
    let head = Head { scores: &head, vocabulary: model.vocabulary() };
    let targets = Tensor::f_from_slice(&targets)?.f_to_device(device)?;
    let (losses, right) = Predictions::new(Tensor::f_cat(&states, 0)?, &targets, head).scored()?;
    let losses = Vec::<f64>::try_from(losses.f_to_kind(Kind::Double)?)?;
    let right = Vec::<i64>::try_from(right.f_to_kind(Kind::Int64)?)?;
    for ((text, loss), right) in whose.into_iter().zip(losses).zip(right) {
        if let Some(score) = scores.get_mut(text) {
            score.nll += loss;
            score.tokens += 1;
            score.correct += u64::from(right == 1);
        }
    }
    Ok(scores)
}
