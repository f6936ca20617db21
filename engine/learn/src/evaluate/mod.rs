//! How a model is asked: by continuing prompts, by the likelihood of a row's own tokens, or by a head. Knows a model, rows and a
//! tokenizer; no metric and no file.

mod choices;
mod endings;
mod generate;
mod kept;
mod latency;
mod perplexity;
mod stop;
mod texts;
mod windows;

use crate::error::Error;

pub use choices::likelihoods;
pub use endings::{Ending, ending_scores};
pub use generate::{Answer, Answers, Asking, decode};
pub use latency::{Forward, Passes, latency};
pub use perplexity::{answer_scores, scores, windowed_scores};
pub use stop::StopStrings;
pub use texts::{class_scores, token_scores};
pub use windows::Windows;

/// That a row's scores cannot be compared: nothing is the likeliest of what is no number.
fn no_numbers(row: &str) -> Error {
    let hint = "the model's scores are not finite: check its weights, or compute in `precision: float32`";
    Error::stopped(format!("the scores of row `{row}` are no numbers"), None, hint)
}
