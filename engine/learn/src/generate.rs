//! Greedy generation for prompts of mixed lengths, in batches with a cache of keys and values. The result does not
//! depend on the batches. Knows token ids; no text and no model family.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::{Cache, Mode};
use crate::models::{CausalLm, Network, Seq2SeqLm, Texts, Writing};

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

/// Continues each prompt, or answers it where the model is an encoder–decoder, with the token of the highest score, step by step. Results stand in the order of the prompts;
/// `progress` is called after each step. Equal scores: the lower id.
pub fn greedy(
    model: &Network,
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

/// The same for one prompt; `each` gets the tokens as they come.
pub fn stream(
    model: &Network,
    prompt: &[i64],
    limits: &Limits,
    device: Device,
    each: &mut dyn FnMut(i64) -> Result<()>,
) -> Result<Continuation> {
    let prompts = [prompt.to_vec()];
    check(model, &prompts, limits)?;
    let _guard = tch::no_grad_guard();
    let mut made = Continuation { tokens: Vec::new(), end: None };
    if limits.max_new_tokens == 0 {
        return Ok(made);
    }
    let Batch { mut text, mut next, .. } = Batch::start(model, &prompts, &[0], device)?;
    loop {
        let id = next.f_int64_value(&[0])?;
        if limits.end_ids.contains(&id) {
            made.end = Some(id);
            return Ok(made);
        }
        made.tokens.push(id);
        each(id)?;
        if made.tokens.len() == limits.max_new_tokens {
            return Ok(made);
        }
        next = text.next(&next)?;
    }
}

/// Rows that are generated together.
struct Batch<'a> {
    text: Box<dyn Growing + 'a>,
    /// For each row of the tensors: the prompt's index, or none once the row has ended.
    rows: Vec<Option<usize>>,
    /// The newest token of each row, `[rows]`.
    next: Tensor,
}

/// Texts that grow token by token.
trait Growing {
    /// The likeliest next token of each row, `[rows]`, after one more of each, `[rows]`.
    fn next(&mut self, newest: &Tensor) -> Result<Tensor>;

    /// Keeps only `rows` (`[kept]`, indices), in that order.
    fn keep(&mut self, rows: &Tensor) -> Result<()>;
}

/// Prompts that a causal language model continues.
struct Continued<'a> {
    model: &'a dyn CausalLm,
    cache: Cache,
}

impl Growing for Continued<'_> {
    fn next(&mut self, newest: &Tensor) -> Result<Tensor> {
        let hidden = self.model.hidden_next(&newest.f_unsqueeze(1)?, &mut self.cache)?;
        best(&self.model.logits(&hidden.f_squeeze_dim(1)?, Mode::Eval)?)
    }

    fn keep(&mut self, rows: &Tensor) -> Result<()> {
        self.cache.keep(rows)
    }
}

/// Texts that an encoder–decoder answers.
struct Answered<'a> {
    model: &'a dyn Seq2SeqLm,
    writing: Box<dyn Writing + 'a>,
}

impl Growing for Answered<'_> {
    fn next(&mut self, newest: &Tensor) -> Result<Tensor> {
        let hidden = self.writing.hidden_next(&newest.f_unsqueeze(1)?)?;
        best(&self.model.logits(&hidden.f_squeeze_dim(1)?, Mode::Eval)?)
    }

    fn keep(&mut self, rows: &Tensor) -> Result<()> {
        self.writing.keep(rows)
    }
}

/// What one step added.
struct Step {
    rows: usize,
    tokens: usize,
}

impl<'a> Batch<'a> {
    /// Reads the prompts and finds each row's first new token.
    fn start(model: &'a Network, prompts: &[Vec<i64>], rows: &[usize], device: Device) -> Result<Self> {
        let chosen: Vec<&Vec<i64>> = rows.iter().filter_map(|&row| prompts.get(row)).collect();
        let (text, next): (Box<dyn Growing + 'a>, Tensor) = match model {
            Network::Seq2SeqLm(model) => {
                let (text, next) = answered(model.as_ref(), &chosen, device)?;
                (Box::new(text), next)
            }
            other => {
                let (text, next) = continued(other.causal_lm()?, &chosen, device)?;
                (Box::new(text), next)
            }
        };
        Ok(Self { text, rows: rows.iter().copied().map(Some).collect(), next })
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
            self.next = self.text.next(&self.next)?;
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
        self.text.keep(&kept)?;
        self.next = self.next.f_index_select(0, &kept)?;
        self.rows.retain(Option::is_some);
        Ok(())
    }
}

fn continued<'a>(model: &'a dyn CausalLm, prompts: &[&Vec<i64>], device: Device) -> Result<(Continued<'a>, Tensor)> {
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    let padded: Vec<i64> = prompts
        .iter()
        .flat_map(|prompt| prompt.iter().copied().chain(std::iter::repeat_n(0, longest - prompt.len())))
        .collect();
    let lengths: Vec<i64> = prompts.iter().map(|prompt| prompt.len() as i64).collect();
    let tokens = Tensor::f_from_slice(&padded)?.f_view([prompts.len() as i64, longest as i64])?.f_to_device(device)?;
    let mut cache = Cache::new(model.layers(), &lengths, device)?;
    let hidden = model.hidden_next(&tokens, &mut cache)?;
    let width = hidden.size3()?.2;
    let last = Tensor::f_from_slice(&lengths)?.f_sub_scalar(1)?.f_to_device(device)?;
    let last = last.f_view([-1, 1, 1])?.f_expand([-1, 1, width], false)?;
    let hidden = hidden.f_gather(1, &last, false)?.f_squeeze_dim(1)?;
    let next = best(&model.logits(&hidden, Mode::Eval)?)?;
    Ok((Continued { model, cache }, next))
}

fn answered<'a>(model: &'a dyn Seq2SeqLm, prompts: &[&Vec<i64>], device: Device) -> Result<(Answered<'a>, Tensor)> {
    let ids: Vec<Vec<i32>> =
        prompts.iter().map(|prompt| prompt.iter().filter_map(|&id| i32::try_from(id).ok()).collect()).collect();
    let rows: Vec<(&[i32], &[i32])> = ids.iter().map(|ids| (ids.as_slice(), [].as_slice())).collect();
    let writing = model.begin(&Texts::new(&rows, 0, device)?)?;
    let first = Tensor::f_full([rows.len() as i64], model.start_id(), (Kind::Int64, device))?;
    let mut text = Answered { model, writing };
    let next = text.next(&first)?;
    Ok((text, next))
}

/// The id of the highest score of each row, `[rows]`.
fn best(scores: &Tensor) -> Result<Tensor> {
    Ok(scores.f_argmax(-1, false)?.f_to_kind(Kind::Int64)?)
}

fn check(model: &Network, prompts: &[Vec<i64>], limits: &Limits) -> Result<()> {
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
