//! Models as what generation asks: a causal language model continues a prompt, an encoder–decoder answers it. Knows the
//! traits of networks; no family and no search.

use tch::{Device, Kind, Tensor};

use super::shared::waves;
use super::text::{Growing, Writer};
use super::tokens::indices;
use crate::error::Result;
use crate::layers::{Cache, Mode};
use crate::models::{CausalLm, Network, Seq2SeqLm, Texts, Writing};

/// A network that reads prompts.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    network: &'a Network,
    device: Device,
}

impl<'a> Reader<'a> {
    /// The network, on its device.
    pub fn new(network: &'a Network, device: Device) -> Self {
        Self { network, device }
    }
}

impl Writer for Reader<'_> {
    fn begin<'a>(&'a self, prompts: &[&[i64]]) -> Result<(Box<dyn Growing + 'a>, Tensor)> {
        match self.network {
            Network::Seq2SeqLm(model) => answered(model.as_ref(), prompts, self.device),
            other => continued(other.causal_lm()?, prompts, self.device),
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

/// Reads prompts wave by wave.
fn continued<'a>(
    model: &'a dyn CausalLm,
    prompts: &[&[i64]],
    device: Device,
) -> Result<(Box<dyn Growing + 'a>, Tensor)> {
    let mut cache = Cache::new(model.layers(), device);
    // The states at the ends of prompts, and for each prompt which of them is its own.
    let (mut ends, mut end_of, mut read) = (Vec::new(), vec![0; prompts.len()], 0);
    let waves = waves(prompts);
    for wave in &waves {
        let columns = wave.columns.clone();
        let padded: Vec<i64> = wave
            .prompts
            .iter()
            .filter_map(|&prompt| prompts.get(prompt))
            .flat_map(|prompt| columns.clone().map(|at| prompt.get(at).copied().unwrap_or(0)))
            .collect();
        let shape = [wave.prompts.len() as i64, columns.len() as i64];
        let tokens = Tensor::f_from_slice(&padded)?.f_view(shape)?.f_to_device(device)?;
        if columns.start > 0 && !wave.parents.iter().enumerate().all(|(row, &parent)| row == parent) {
            cache.keep(&indices(wave.parents.iter().copied(), device)?)?;
        }
        let hidden = model.hidden_next(&tokens, &mut cache)?;
        let (rows, length, width) = hidden.size3()?;
        let mut places = Vec::new();
        for (prompt, &row) in prompts.iter().zip(&wave.row_of) {
            let at = (prompt.len().wrapping_sub(1)).wrapping_sub(columns.start);
            places.push((at < columns.len()).then_some(row * columns.len() + at));
        }
        for (end, place) in end_of.iter_mut().zip(&places) {
            if place.is_some() {
                *end = read;
                read += 1;
            }
        }
        let places = indices(places.into_iter().flatten(), device)?;
        ends.push(hidden.f_reshape([rows * length, width])?.f_index_select(0, &places)?);
    }
    if let Some(last) = waves.last()
        && !last.row_of.iter().enumerate().all(|(prompt, &row)| prompt == row)
    {
        cache.keep(&indices(last.row_of.iter().copied(), device)?)?;
    }
    cache.prompts_end(&prompts.iter().map(|prompt| prompt.len() as i64).collect::<Vec<_>>())?;
    let ends = Tensor::f_cat(&ends, 0)?.f_index_select(0, &indices(end_of.into_iter(), device)?)?;
    let scores = model.logits(&ends, Mode::Eval)?;
    Ok((Box::new(Continued { model, cache }), scores))
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
