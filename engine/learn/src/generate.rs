//! Greedy generation for prompts of mixed lengths, in batches with a cache of keys and values. The result does not
//! depend on the batches. Knows token ids; no text and no model family.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::{Cache, Mode};
use crate::models::CausalLm;

/// When generation ends, and how many rows go together.
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

/// What was generated for one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The new tokens without the end id.
    pub tokens: Vec<i64>,
    /// The end id that was met; none where `max_new_tokens` cut the row off.
    pub end: Option<i64>,
}

/// Continues each prompt with the token of the highest score, step by step. Results stand in the order of the prompts;
/// `progress` is called after each step. Equal scores: the lower id.
pub fn greedy(
    model: &dyn CausalLm,
    prompts: &[Vec<i64>],
    limits: &Limits,
    device: Device,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Continuation>> {
    check(model, prompts, limits)?;
    let mut results = vec![Continuation { tokens: Vec::new(), end: None }; prompts.len()];
    if limits.max_new_tokens == 0 {
        return Ok(results);
    }
    let _guard = tch::no_grad_guard();
    // Rows of like length go together, so that little is padded.
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(prompts.get(row).map_or(0, Vec::len)));
    let mut seen = Progress { rows: 0, of: prompts.len(), tokens: 0 };
    for rows in order.chunks(limits.batch) {
        Batch::start(model, prompts, rows, device)?.run(limits, &mut results, &mut |new| {
            seen.rows += new.rows;
            seen.tokens += new.tokens;
            progress(seen);
        })?;
    }
    Ok(results)
}

/// Rows that are generated together.
struct Batch<'a> {
    model: &'a dyn CausalLm,
    cache: Cache,
    /// For each row of the tensors: the prompt's index, or none once the row has ended.
    rows: Vec<Option<usize>>,
    /// The newest token of each row, `[rows]`.
    next: Tensor,
}

/// What one step added.
struct Step {
    rows: usize,
    tokens: usize,
}

impl<'a> Batch<'a> {
    /// Reads the prompts and finds each row's first new token.
    fn start(model: &'a dyn CausalLm, prompts: &[Vec<i64>], rows: &[usize], device: Device) -> Result<Self> {
        let chosen: Vec<&Vec<i64>> = rows.iter().filter_map(|&row| prompts.get(row)).collect();
        let longest = chosen.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let padded: Vec<i64> = chosen
            .iter()
            .flat_map(|prompt| prompt.iter().copied().chain(std::iter::repeat_n(0, longest - prompt.len())))
            .collect();
        let lengths: Vec<i64> = chosen.iter().map(|prompt| prompt.len() as i64).collect();
        let tokens =
            Tensor::f_from_slice(&padded)?.f_view([chosen.len() as i64, longest as i64])?.f_to_device(device)?;
        let mut cache = Cache::new(model.layers(), &lengths, device)?;
        let hidden = model.hidden_next(&tokens, &mut cache)?;
        let width = hidden.size3()?.2;
        let last = Tensor::f_from_slice(&lengths)?.f_sub_scalar(1)?.f_to_device(device)?;
        let last = last.f_view([-1, 1, 1])?.f_expand([-1, 1, width], false)?;
        let next = best(model, &hidden.f_gather(1, &last, false)?)?;
        Ok(Self { model, cache, rows: rows.iter().copied().map(Some).collect(), next })
    }

    fn run(mut self, limits: &Limits, results: &mut [Continuation], step: &mut dyn FnMut(Step)) -> Result<()> {
        for made in 1.. {
            // The one point of a step where the host waits for the device.
            let newest = Vec::<i64>::try_from(&self.next)?;
            let mut new = Step { rows: 0, tokens: 0 };
            for (row, &id) in self.rows.iter_mut().zip(&newest) {
                let Some(result) = row.and_then(|index| results.get_mut(index)) else { continue };
                if limits.end_ids.contains(&id) {
                    result.end = Some(id);
                } else {
                    result.tokens.push(id);
                    new.tokens += 1;
                }
                if result.end.is_some() || made == limits.max_new_tokens {
                    *row = None;
                    new.rows += 1;
                }
            }
            step(new);
            if self.rows.iter().all(Option::is_none) {
                break;
            }
            self.drop_ended()?;
            let hidden = self.model.hidden_next(&self.next.f_unsqueeze(1)?, &mut self.cache)?;
            self.next = best(self.model, &hidden)?;
        }
        Ok(())
    }

    /// Takes the rows that have ended out of the tensors, when they are a quarter of them: each time copies the cache.
    fn drop_ended(&mut self) -> Result<()> {
        let going: Vec<i64> = (0i64..).zip(&self.rows).filter(|(_, row)| row.is_some()).map(|(at, _)| at).collect();
        if going.len() * 4 > self.rows.len() * 3 {
            return Ok(());
        }
        let kept = Tensor::f_from_slice(&going)?.f_to_device(self.next.device())?;
        self.cache.keep(&kept)?;
        self.next = self.next.f_index_select(0, &kept)?;
        self.rows.retain(Option::is_some);
        Ok(())
    }
}

/// The id of the highest score for each row of hidden states `[rows, 1, width]`.
fn best(model: &dyn CausalLm, hidden: &Tensor) -> Result<Tensor> {
    Ok(model.logits(&hidden.f_squeeze_dim(1)?, Mode::Eval)?.f_argmax(-1, false)?.f_to_kind(Kind::Int64)?)
}

fn check(model: &dyn CausalLm, prompts: &[Vec<i64>], limits: &Limits) -> Result<()> {
    if limits.batch == 0 {
        return Err(Error::setting("batch", "is 0", "give the number of rows to generate together, at least 1"));
    }
    for (index, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            let hint = "give each row at least one token, such as the tokenizer's BOS";
            return Err(Error::setting(format!("prompt {index}"), "has no token to continue", hint));
        }
        if let Some(id) = prompt.iter().find(|&&id| !(0..model.vocabulary()).contains(&id)) {
            let problem = format!("holds the token id {id}, the model knows 0 to {}", model.vocabulary() - 1);
            return Err(Error::setting(
                format!("prompt {index}"),
                problem,
                "use the tokenizer that belongs to the model",
            ));
        }
    }
    Ok(())
}
