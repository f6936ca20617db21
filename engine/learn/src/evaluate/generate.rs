//! The protocol `generate`: each row's prompt is continued, and the new tokens become text. Knows no metric.

use std::path::Path;

use data::library::guarded;
use spec::files;
use tch::Device;
use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::generate::{Limits, greedy};
use crate::models::Model;
use crate::observer::Observer;
use crate::rows::TokenRow;

/// What a model answered to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text, without special tokens; none for a row that failed before it was asked.
    pub text: Option<String>,
    /// How many tokens were generated.
    pub tokens: usize,
    /// Whether the model ended it by itself.
    pub ended: bool,
}

/// Continues the prompts of `rows`, in their order; a row with a failure is not asked.
pub fn answers(
    model: &Model,
    rows: &[TokenRow],
    limits: &Limits,
    tokenizer: &Tokenizer,
    device: Device,
    observer: &mut dyn Observer,
) -> Result<Vec<Answer>> {
    let asked: Vec<&TokenRow> = rows.iter().filter(|row| row.failed.is_none()).collect();
    if let Some(row) = asked.iter().find(|row| row.prompt_length == 0) {
        let hint = "give the template a prompt, or the tokenizer a BOS token";
        return Err(Error::stopped(format!("row `{}` has no prompt to continue", row.id), None, hint));
    }
    let prompts: Vec<Vec<i64>> =
        asked.iter().map(|row| row.ids.iter().take(row.prompt_length).map(|&id| i64::from(id)).collect()).collect();
    let mut continued = greedy(&model.network, &prompts, limits, device, &mut |now| {
        observer.progress(now.rows as u64, now.of as u64, "rows", &|| format!("{} tokens", now.tokens));
    })?
    .into_iter();
    rows.iter()
        .map(|row| match row.failed.is_none().then(|| continued.next()).flatten() {
            None => Ok(Answer { text: None, tokens: 0, ended: false }),
            Some(continuation) => Ok(Answer {
                text: Some(decode(tokenizer, continuation.tokens.iter().copied())?),
                tokens: continuation.tokens.len(),
                ended: continuation.end.is_some(),
            }),
        })
        .collect()
}

/// The text of token ids, without special tokens.
pub fn decode(tokenizer: &Tokenizer, ids: impl Iterator<Item = i64>) -> Result<String> {
    let ids: Vec<u32> = ids.filter_map(|id| u32::try_from(id).ok()).collect();
    let failed = |error: String| {
        Error::stopped(format!("token ids cannot be decoded: {error}"), None, "check the tokenizer's decoder")
    };
    // Its rules come from others: a library that gives up ends this stage, not the program.
    let text = guarded(Path::new(files::TOKENIZER), || tokenizer.decode(&ids, true)).map_err(|e| failed(e.message))?;
    text.map_err(|error| failed(error.to_string()))
}
