//! Generation: prompts go on token by token, in batches of like length that share what their prompts have in common. The
//! result does not depend on the batches. Knows token ids; no text and no model family.

pub mod beams;
pub mod choose;
mod draws;
mod network;
mod order;
pub mod processors;
mod reading;
mod shared;
mod text;
mod tokens;

use serde::{Deserialize, Serialize};
use tch::Device;

use self::beams::Beams;
use self::choose::{Choose, Greedy};
use self::processors::Processor;
use crate::error::{Error, Result};
use crate::models::Network;

pub use draws::{Draw, Draws};
pub use network::Reader;
pub use order::batches;
pub use reading::{Beginning, Pass, Reading};
pub use text::{Growing, Writer};

/// A text that is to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its name in messages, to which its random numbers belong.
    pub name: String,
    /// Its tokens, at least one.
    pub ids: Vec<i64>,
}

/// Whether a text ends with the last of its new tokens.
pub type Stop<'a> = dyn Fn(&[i64]) -> Result<bool> + 'a;

/// When a text ends.
pub struct Ends<'a> {
    /// A text ends before any of these ids, which is not part of its result.
    pub ids: Vec<i64>,
    /// It ends at the latest after this many new tokens.
    pub max_new_tokens: usize,
    /// It ends with the token after which this is true of its new tokens.
    pub stop: Option<&'a Stop<'a>>,
}

/// How tokens are chosen.
#[derive(Debug)]
pub struct Decoding {
    /// What is done to their scores first, in this order.
    pub processors: Vec<Box<dyn Processor>>,
    /// The search.
    pub search: Search,
}

/// The search for a text.
#[derive(Debug)]
pub enum Search {
    /// Each token is chosen when its turn comes.
    Tokens {
        /// How.
        choose: Box<dyn Choose>,
        /// Texts for each prompt.
        samples: usize,
    },
    /// Several beginnings are followed at once.
    Beams(Beams),
}

impl Decoding {
    /// Always the token of the highest score.
    pub fn greedy() -> Self {
        Self { processors: Vec::new(), search: Search::Tokens { choose: Box::new(Greedy), samples: 1 } }
    }

    /// Texts for each prompt.
    pub fn samples(&self) -> usize {
        match &self.search {
            Search::Tokens { samples, .. } => *samples,
            Search::Beams(_) => 1,
        }
    }
}

/// What was generated for one prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continuation {
    /// The new tokens without the end id.
    pub tokens: Vec<i64>,
    /// The token that ended it: an end id, or the last of the tokens where they met `stop`; none where `max_new_tokens` cut
    /// the text off.
    pub end: Option<i64>,
}

/// What one step added to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Texts that have ended.
    pub texts: usize,
    /// New tokens.
    pub tokens: usize,
}

/// Continues prompts together: for each of them as many texts as the decoding makes. `step` is called after each step.
pub fn together(
    writer: &dyn Writer,
    prompts: &[&Prompt],
    decoding: &Decoding,
    ends: &Ends<'_>,
    step: &mut dyn FnMut(Step),
) -> Result<Vec<Vec<Continuation>>> {
    if ends.max_new_tokens == 0 {
        let nothing = Continuation { tokens: Vec::new(), end: None };
        return Ok(vec![vec![nothing; decoding.samples()]; prompts.len()]);
    }
    let _guard = tch::no_grad_guard();
    match &decoding.search {
        Search::Tokens { choose, samples } => {
            let search =
                tokens::Tokens { choose: choose.as_ref(), samples: *samples, processors: &decoding.processors };
            search.run(writer, prompts, ends, step)
        }
        Search::Beams(beams) => {
            let best = |mut found: Vec<beams::Hypothesis>| {
                found.truncate(1);
                found.into_iter().map(|hypothesis| hypothesis.text).collect()
            };
            Ok(beams.run(writer, prompts, &decoding.processors, ends, step)?.into_iter().map(best).collect())
        }
    }
}

/// When a generation ends, and how many rows go together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A row ends before any of these ids, which is not part of its result.
    pub end_ids: Vec<i64>,
    /// A row ends at the latest after this many new tokens.
    pub max_new_tokens: usize,
    /// Rows that are generated together.
    pub batch: usize,
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Rows that have ended.
    pub rows: usize,
    /// All rows.
    pub of: usize,
    /// Tokens generated so far.
    pub tokens: usize,
}

/// Continues each prompt, or answers it where the model is an encoder–decoder, with the token of the highest score, step by
/// step. Results stand in the order of the prompts; `progress` is called after each step. Equal scores: the lower id.
pub fn greedy(
    model: &Network,
    prompts: &[Vec<i64>],
    limits: &Limits,
    device: Device,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Continuation>> {
    let prompts: Vec<Prompt> =
        prompts.iter().enumerate().map(|(at, ids)| Prompt { name: format!("prompt {at}"), ids: ids.clone() }).collect();
    check(model, &prompts, limits.batch)?;
    let ends = Ends { ids: limits.end_ids.clone(), max_new_tokens: limits.max_new_tokens, stop: None };
    let reader = Reader::new(model, device).of_all(prompts.iter().map(|prompt| prompt.ids.as_slice()));
    let decoding = Decoding::greedy();
    let mut results = vec![Continuation { tokens: Vec::new(), end: None }; prompts.len()];
    let mut seen = Progress { rows: 0, of: prompts.len(), tokens: 0 };
    for batch in batches(&prompts, limits.batch) {
        let asked: Vec<&Prompt> = batch.iter().filter_map(|&at| prompts.get(at)).collect();
        let made = together(&reader, &asked, &decoding, &ends, &mut |new| {
            seen.rows += new.texts;
            seen.tokens += new.tokens;
            progress(seen);
        })?;
        for (at, texts) in batch.into_iter().zip(made) {
            if let (Some(result), Some(text)) = (results.get_mut(at), texts.into_iter().next()) {
                *result = text;
            }
        }
    }
    Ok(results)
}

/// Whether the model can continue these prompts, so many at once.
pub fn check(model: &Network, prompts: &[Prompt], batch: usize) -> Result<()> {
    if batch == 0 {
        return Err(Error::setting("batch", "is 0", "give the number of rows to generate together, at least 1"));
    }
    for prompt in prompts {
        if prompt.ids.is_empty() {
            let hint = "give each row at least one token, such as the tokenizer's BOS";
            return Err(Error::setting(&prompt.name, "has no token to continue", hint));
        }
        if let Some(id) = prompt.ids.iter().find(|&&id| !(0..model.vocabulary()).contains(&id)) {
            let problem = format!("holds the token id {id}, the model knows 0 to {}", model.vocabulary() - 1);
            return Err(Error::setting(&prompt.name, problem, "use the tokenizer that belongs to the model"));
        }
    }
    Ok(())
}

/// That no next token could be chosen for a text.
fn no_choice(name: &str, new_tokens: usize, scores: &[f32]) -> Error {
    let place = Some(format!("{name}, new token {}", new_tokens + 1));
    if scores.iter().any(|score| score.is_nan()) || scores.contains(&f32::INFINITY) {
        let hint = "a model that diverged in training gives such scores; with `precision: fp16` numbers overflow: use `bf16` or `float32`";
        return Error::stopped("the scores of the next token are not finite numbers", place, hint);
    }
    let hint = "leave out `no_repeat_ngram`, or give a smaller `max_new_tokens`";
    Error::stopped("every token is ruled out as the next one", place, hint)
}
