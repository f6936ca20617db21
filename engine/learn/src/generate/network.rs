//! Models as what generation asks: a causal language model continues a prompt, an encoder–decoder answers it. Knows the
//! traits of networks; no family and no search.

use tch::{Device, Kind, Tensor};

use super::reading::{Beginning, Reading};
use super::text::{Growing, Writer};
use super::tokens::indices;
use crate::error::Result;
use crate::layers::{Cache, Mode};
use crate::models::{CausalLm, Network, Seq2SeqLm, Texts, Writing};

/// A network that reads prompts.
#[derive(Debug)]
pub struct Reader<'a> {
    network: &'a Network,
    device: Device,
    /// What all of them begin with, if that is known.
    beginning: Option<Beginning>,
}

impl<'a> Reader<'a> {
    /// The network, on its device.
    pub fn new(network: &'a Network, device: Device) -> Self {
        Self { network, device, beginning: None }
    }

    /// The same for batches of these prompts: what all of them begin with alike is read once, not once a batch.
    pub fn of_all<'p>(self, prompts: impl IntoIterator<Item = &'p [i64]>) -> Self {
        Self { beginning: Beginning::of(prompts), ..self }
    }
}

impl Writer for Reader<'_> {
    fn begin<'a>(&'a self, prompts: &[&[i64]]) -> Result<(Box<dyn Growing + 'a>, Tensor)> {
        match self.network {
            Network::Seq2SeqLm(model) => answered(model.as_ref(), prompts, self.device),
            other => continued(other.causal_lm()?, prompts, self.beginning.as_ref(), self.device),
        }
    }

    fn before(&self, prompt: &[i64]) -> Vec<i64> {
        match self.network {
            Network::Seq2SeqLm(model) => vec![model.start_id()],
            _ => prompt.to_vec(),
        }
    }
}

/// Prompts that a causal language model continues.
struct Continued<'a> {
    model: &'a dyn CausalLm,
    cache: Cache,
}

impl Growing for Continued<'_> {
    fn next(&mut self, newest: &Tensor) -> Result<Tensor> {
        let hidden = self.model.hidden_next(&newest.f_unsqueeze(1)?, &mut self.cache)?;
        self.model.logits(&hidden.f_squeeze_dim(1)?, Mode::Eval)
    }

    fn keep(&mut self, texts: &Tensor) -> Result<()> {
        self.cache.keep(texts)
    }

    fn reorder(&mut self, texts: &Tensor) -> Result<()> {
        self.cache.reorder(texts)
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
        self.model.logits(&hidden.f_squeeze_dim(1)?, Mode::Eval)
    }

    fn keep(&mut self, texts: &Tensor) -> Result<()> {
        self.writing.keep(texts)
    }

    fn reorder(&mut self, texts: &Tensor) -> Result<()> {
        self.writing.reorder(texts)
    }
}

/// Reads prompts, what they begin with alike once.
fn continued<'a>(
    model: &'a dyn CausalLm,
    prompts: &[&[i64]],
    beginning: Option<&Beginning>,
    device: Device,
) -> Result<(Box<dyn Growing + 'a>, Tensor)> {
    let reading = Reading::new(prompts, beginning);
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0) as i64;
    // The keys and values of prompts that have ended, the states at their ends, and which prompts these are.
    let (mut read, mut ends, mut ended) = (Cache::new(model.layers(), device), Vec::new(), Vec::new());
    let last = reading.run(model, device, &mut |pass| {
        let ending: Vec<(usize, usize, usize)> = pass
            .texts()
            .filter_map(|(prompt, row)| Some((prompt, row, pass.place(row, prompts.get(prompt)?.len() - 1)?)))
            .collect();
        ends.push(pass.states(&ending.iter().map(|(_, _, place)| *place).collect::<Vec<_>>())?);
        if !reading.is_plain() {
            let rows = indices(ending.iter().map(|(_, row, _)| *row), device)?;
            let places = indices(ending.iter().map(|(prompt, _, _)| *prompt), device)?;
            read.put(pass.cache, &rows, &places, prompts.len() as i64, longest)?;
        }
        ended.extend(ending.into_iter().map(|(prompt, _, _)| prompt));
        Ok(())
    })?;
    if reading.is_plain() {
        read = last;
    }
    read.prompts_end(&prompts.iter().map(|prompt| prompt.len() as i64).collect::<Vec<_>>())?;
    let mut place_of = vec![0; prompts.len()];
    for (place, prompt) in ended.into_iter().enumerate() {
        if let Some(slot) = place_of.get_mut(prompt) {
            *slot = place;
        }
    }
    let ends = Tensor::f_cat(&ends, 0)?.f_index_select(0, &indices(place_of.into_iter(), device)?)?;
    let scores = model.logits(&ends, Mode::Eval)?;
    Ok((Box::new(Continued { model, cache: read }), scores))
}

/// Reads texts and begins their answers.
fn answered<'a>(
    model: &'a dyn Seq2SeqLm,
    prompts: &[&[i64]],
    device: Device,
) -> Result<(Box<dyn Growing + 'a>, Tensor)> {
    let ids: Vec<Vec<i32>> =
        prompts.iter().map(|prompt| prompt.iter().filter_map(|&id| i32::try_from(id).ok()).collect()).collect();
    let rows: Vec<(&[i32], &[i32])> = ids.iter().map(|ids| (ids.as_slice(), [].as_slice())).collect();
    let writing = model.begin(&Texts::new(&rows, 0, device)?)?;
    let first = Tensor::f_full([rows.len() as i64], model.start_id(), (Kind::Int64, device))?;
    let mut text = Answered { model, writing };
    let scores = text.next(&first)?;
    Ok((Box::new(text), scores))
}
