//! No n-gram twice (Paulus et al., arXiv 1705.04304, section 2.5).

use tch::Tensor;

use super::{Processor, Written, ruled_out};
use crate::error::Result;

/// Ids that would complete a run of so many ids that the text holds already, the prompt with it, are ruled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRepeatNgram(pub usize);

impl Processor for NoRepeatNgram {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        let completed = rows.iter().enumerate().flat_map(|(row, text)| {
            let runs = if text.ids.len() < self.0 { 0 } else { self.0 };
            let end = text.ids.get((text.ids.len() + 1).saturating_sub(self.0)..).unwrap_or_default();
            text.ids.windows(runs.max(1)).filter_map(move |run| {
                let (last, first) = run.split_last()?;
                (runs > 0 && first == end).then_some((row, *last))
            })
        });
        ruled_out(scores, completed)
    }
}
