//! The objective `span`: the mean of the negative log-likelihoods of an answer's first and last token among the tokens of
//! its text. Devlin et al. (arXiv 1810.04805), section 4.2. Padding is no candidate, so that a row's loss does not depend
//! on its batch; transformers' own loss lets padding take part.

use tch::{Kind, Reduction, Tensor};

use super::texts::TextObjective;
use crate::error::Result;
use crate::layers::Mode;
use crate::loss::cross_entropy;
use crate::models::{Model, Texts};

/// Learns where an answer stands; a target is the numbers of its first and last token, both 0 where there is none.
#[derive(Debug)]
pub struct Span;

impl TextObjective for Span {
    type Target = (i64, i64);

    fn losses(model: &Model, texts: &Texts, targets: &[&(i64, i64)], mode: Mode) -> Result<Tensor> {
        let scores = span_scores(model, texts, mode)?;
        let loss = |which: i64, targets: Vec<i64>| -> Result<Tensor> {
            let targets = Tensor::f_from_slice(&targets)?.f_to_device(scores.device())?;
            cross_entropy(&scores.f_select(2, which)?, &targets, Reduction::None)
        };
        let starts = loss(0, targets.iter().map(|target| target.0).collect())?;
        let ends = loss(1, targets.iter().map(|target| target.1).collect())?;
        Ok(starts.f_add(&ends)?.f_div_scalar(2.0)?)
    }
}

/// The scores `[rows, length, 2]` of starts and ends, float32; minus infinity for padding.
pub fn span_scores(model: &Model, texts: &Texts, mode: Mode) -> Result<Tensor> {
    let scores = model.network.token_classifier()?.scores(texts, mode)?.f_to_kind(Kind::Float)?;
    Ok(match &texts.seen {
        Some(seen) => scores.f_masked_fill(&seen.f_logical_not()?.f_unsqueeze(2)?, f64::NEG_INFINITY)?,
        None => scores,
    })
}
