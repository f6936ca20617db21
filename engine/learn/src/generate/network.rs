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
    let waves = waves(prompts);
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0) as i64;
    let mut reading = Cache::new(model.layers(), device);
    // The keys and values of prompts that have ended, the states at their ends, and which prompts these are.
    let (mut read, mut ends, mut ended) = (Cache::new(model.layers(), device), Vec::new(), Vec::new());
    for wave in &waves {
        let columns = wave.columns.clone();
        if columns.start > 0 {
            reading.keep(&indices(wave.parents.iter().copied(), device)?)?;
        }
        let padded: Vec<i64> = wave
            .prompts
            .iter()
            .filter_map(|&prompt| prompts.get(prompt))
            .flat_map(|prompt| columns.clone().map(|at| prompt.get(at).copied().unwrap_or(0)))
            .collect();
        let shape = [wave.prompts.len() as i64, columns.len() as i64];
        let tokens = Tensor::f_from_slice(&padded)?.f_view(shape)?.f_to_device(device)?;
        let hidden = model.hidden_next(&tokens, &mut reading)?;
        let ending: Vec<(usize, usize)> = wave.ending(prompts).collect();
        let last = |&(prompt, row): &(usize, usize)| {
            let length = prompts.get(prompt).map_or(0, |prompt| prompt.len());
            row * columns.len() + (length - 1 - columns.start)
        };
        let (_, _, width) = hidden.size3()?;
        let lasts = indices(ending.iter().map(last), device)?;
        ends.push(hidden.f_reshape([-1, width])?.f_index_select(0, &lasts)?);
        let rows = indices(ending.iter().map(|(_, row)| *row), device)?;
        let places = indices(ending.iter().map(|(prompt, _)| *prompt), device)?;
        let in_place = ending.iter().all(|(prompt, row)| prompt == row);
        if waves.len() == 1 && ending.len() == wave.prompts.len() && in_place {
            read = reading;
            ended = ending.into_iter().map(|(prompt, _)| prompt).collect();
            break;
        }
        read.put(&reading, &rows, &places, prompts.len() as i64, longest)?;
        ended.extend(ending.into_iter().map(|(prompt, _)| prompt));
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
