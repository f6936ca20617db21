//! How a model is asked: by continuing prompts, or by the likelihood of a row's own tokens. Knows a model, rows and a
//! tokenizer; no metric and no file.

mod generate;
mod perplexity;

pub use generate::{Answer, answers, decode};
pub use perplexity::scores;
