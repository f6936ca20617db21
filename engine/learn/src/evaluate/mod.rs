//! How a model is asked: by continuing prompts, by the likelihood of a row's own tokens, or by a head. Knows a model, rows and a
//! tokenizer; no metric and no file.

mod choices;
mod generate;
mod perplexity;
mod texts;

pub use choices::likelihoods;
pub use generate::{Answer, answers, decode};
pub use perplexity::{answer_scores, scores};
pub use texts::{class_scores, token_scores};
