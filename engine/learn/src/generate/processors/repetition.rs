//! Ids that a text holds already become less likely (Keskar et al., arXiv 1909.05858, section 4.1, with the sign minded as
//! transformers does).

use tch::Tensor;

use super::{Processor, Written, places};
use crate::error::Result;

/// The score of each id that the text holds, the prompt's too, is divided by this where it is not negative and multiplied
/// where it is; once, however often the id stands there. Above 1 repetition becomes rarer, below 1 more frequent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RepetitionPenalty(pub f64);

impl Processor for RepetitionPenalty {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        let distinct = rows.iter().enumerate().flat_map(|(row, text)| {
            let mut ids = text.ids.clone();
            ids.sort_unstable();
            ids.dedup();
            ids.into_iter().map(move |id| (row, id))
        });
        let places = Tensor::f_from_slice(&places(scores, distinct)?)?.f_to_device(scores.device())?;
        let flat = scores.f_reshape([-1])?;
        let held = flat.f_index_select(0, &places)?;
        let changed = held.f_mul_scalar(self.0)?.f_where_self(&held.f_lt(0.0)?, &held.f_div_scalar(self.0)?)?;
        Ok(flat.f_index_copy(0, &places, &changed)?.f_view_as(scores)?)
    }
}
