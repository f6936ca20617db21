//! Texts as a causal language model reads them: what all of them begin with alike once, the rest wave by wave. Knows ids and
//! the trait of networks; no family, no search and no score.

use std::cell::OnceCell;

use tch::{Device, Tensor};

use super::order::common;
use super::shared::{Wave, waves};
use super::tokens::indices;
use crate::error::Result;
use crate::layers::Cache;
use crate::models::CausalLm;

/// The least number of tokens that are worth a pass of their own.
const LEAST: usize = 16;

/// What many texts begin with alike, read when it is first asked for.
#[derive(Debug)]
pub struct Beginning {
    ids: Vec<i64>,
    cache: OnceCell<Cache>,
}

impl Beginning {
    /// That of texts, each of which goes on behind it; none where it is not worth a pass.
    pub fn of<'t>(texts: impl IntoIterator<Item = &'t [i64]>) -> Option<Self> {
        let mut texts = texts.into_iter();
        let first = texts.next()?;
        let mut length = first.len().saturating_sub(1);
        let mut others = 0_usize;
        for text in texts {
            length = length.min(common(first, text)).min(text.len().saturating_sub(1));
            others += 1;
        }
        let ids = first.get(..length)?.to_vec();
        (others > 0 && length >= LEAST).then(|| Self { ids, cache: OnceCell::new() })
    }

    /// Whether every one of these texts goes on behind it.
    fn fits(&self, texts: &[&[i64]]) -> bool {
        texts.iter().all(|text| text.len() > self.ids.len() && text.starts_with(&self.ids))
    }

    /// A cache in which so many rows have read it.
    fn read(&self, model: &dyn CausalLm, rows: usize, device: Device) -> Result<Cache> {
        let cache = match self.cache.get() {
            Some(cache) => cache,
            None => {
                let mut cache = Cache::new(model.layers(), device);
                let _ = model
                    .hidden_next(&Tensor::f_from_slice(&self.ids)?.f_unsqueeze(0)?.f_to_device(device)?, &mut cache)?;
                self.cache.get_or_init(|| cache)
            }
        };
        cache.fork(&indices(std::iter::repeat_n(0, rows), device)?)
    }
}

/// How texts are read together.
#[derive(Debug)]
pub struct Reading<'t> {
    texts: &'t [&'t [i64]],
    /// What they have behind them already.
    begun: Option<&'t Beginning>,
    waves: Vec<Wave>,
}

/// One pass.
#[derive(Debug)]
pub struct Pass<'p> {
    wave: &'p Wave,
    /// Tokens in front of the wave's columns.
    offset: usize,
    /// The states of its tokens, `[rows, columns, width]`.
    pub hidden: &'p Tensor,
    /// What has been read so far, in the order of its rows.
    pub cache: &'p Cache,
}

impl<'t> Reading<'t> {
    /// Texts, each of at least one token, behind what they begin with where that is given and fits them.
    pub fn new(texts: &'t [&'t [i64]], beginning: Option<&'t Beginning>) -> Self {
        let begun = beginning.filter(|beginning| beginning.fits(texts));
        let offset = begun.map_or(0, |beginning| beginning.ids.len());
        let rest: Vec<&[i64]> = texts.iter().filter_map(|text| text.get(offset..)).collect();
        Self { texts, begun, waves: waves(&rest) }
    }

    /// Whether one pass reads every text in a row of its own, in their order.
    pub fn is_plain(&self) -> bool {
        let in_place = |wave: &Wave| wave.row_of.iter().enumerate().all(|(text, row)| *row == Some(text));
        self.waves.len() == 1 && self.waves.first().is_some_and(in_place)
    }

    /// Reads them; `each` gets every pass. Returns what the rows of the last pass have read.
    pub fn run(
        &self,
        model: &dyn CausalLm,
        device: Device,
        each: &mut dyn FnMut(&Pass<'_>) -> Result<()>,
    ) -> Result<Cache> {
        let offset = self.begun.map_or(0, |beginning| beginning.ids.len());
        let rows = self.waves.first().map_or(0, |wave| wave.prompts.len());
        let mut cache = match self.begun {
            Some(beginning) => beginning.read(model, rows, device)?,
            None => Cache::new(model.layers(), device),
        };
        for wave in &self.waves {
            if wave.columns.start > 0 {
                cache.keep(&indices(wave.parents.iter().copied(), device)?)?;
            }
            let columns = wave.columns.start + offset..wave.columns.end + offset;
            let padded: Vec<i64> = wave
                .prompts
                .iter()
                .filter_map(|&text| self.texts.get(text))
                .flat_map(|text| columns.clone().map(|at| text.get(at).copied().unwrap_or(0)))
                .collect();
            let shape = [wave.prompts.len() as i64, columns.len() as i64];
            let tokens = Tensor::f_from_slice(&padded)?.f_view(shape)?.f_to_device(device)?;
            let hidden = model.hidden_next(&tokens, &mut cache)?;
            each(&Pass { wave, offset, hidden: &hidden, cache: &cache })?;
        }
        Ok(cache)
    }
}

impl Pass<'_> {
    /// The texts that it reads some of, each with its row.
    pub fn texts(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.wave.row_of.iter().enumerate().filter_map(|(text, row)| Some((text, (*row)?)))
    }

    /// Where the state of a row's token stands among the states `[rows · columns, width]`, by the token's place in its text;
    /// none for a token of another pass.
    pub fn place(&self, row: usize, token: usize) -> Option<usize> {
        let column = token.checked_sub(self.offset).filter(|column| self.wave.columns.contains(column))?;
        Some(row * self.wave.columns.len() + (column - self.wave.columns.start))
    }

    /// Those of the states at such places, `[places, width]`.
    pub fn states(&self, places: &[usize]) -> Result<Tensor> {
        let (_, _, width) = self.hidden.size3()?;
        let places = indices(places.iter().copied(), self.hidden.device())?;
        Ok(self.hidden.f_reshape([-1, width])?.f_index_select(0, &places)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_leaves_a_token_of_every_text_and_is_worth_a_pass() {
        let long: Vec<i64> = (0..40).collect();
        let of = |texts: &[&[i64]]| Beginning::of(texts.iter().copied()).map(|beginning| beginning.ids.len());
        assert_eq!(of(&[&long, &long]), Some(39));
        assert_eq!(of(&[&long, &long[..30], &long[..35]]), Some(29));
        assert_eq!(of(&[&long, &long[..16]]), None);
        assert_eq!(of(&[&long]), None);
        assert_eq!(of(&[]), None);
        let mut other = long.clone();
        other[20] = 99;
        assert_eq!(of(&[&long, &other]), Some(20));
        let beginning = Beginning::of([long.as_slice(), other.as_slice()]).unwrap();
        assert!(beginning.fits(&[&long, &other]));
        assert!(!beginning.fits(&[&long[..20]]) && !beginning.fits(&[&long[1..]]));
    }
}
