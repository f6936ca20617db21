//! Texts whose tokens are chosen one by one. Knows scores and how to choose; no model.

use tch::{Device, Tensor};

use super::choose::Choose;
use super::draws::Draw;
use super::processors::{Processor, Written, process};
use super::text::{Growing, Writer};
use super::{Continuation, Ends, Prompt, Step, no_choice};
use crate::error::Result;

/// A search that decides each token when its turn comes.
pub struct Tokens<'a> {
    /// How one is chosen.
    pub choose: &'a dyn Choose,
    /// Texts for each prompt.
    pub samples: usize,
    /// What is done to scores first.
    pub processors: &'a [Box<dyn Processor>],
}

/// Which text a row of the tensors is.
#[derive(Debug, Clone, Copy)]
struct Row {
    prompt: usize,
    sample: usize,
    ended: bool,
}

impl Tokens<'_> {
    /// Continues prompts together: for each of them its samples.
    pub fn run(
        &self,
        writer: &dyn Writer,
        prompts: &[&Prompt],
        ends: &Ends<'_>,
        step: &mut dyn FnMut(Step),
    ) -> Result<Vec<Vec<Continuation>>> {
        let ids: Vec<&[i64]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
        let (mut text, mut scores) = writer.begin(&ids)?;
        let samples = 0..self.samples;
        let mut rows: Vec<Row> = (0..prompts.len())
            .flat_map(|prompt| samples.clone().map(move |sample| Row { prompt, sample, ended: false }))
            .collect();
        let mut written: Vec<Written> =
            rows.iter().filter_map(|row| Some(Written::start(writer.before(ids.get(row.prompt)?)))).collect();
        if self.samples != 1 {
            let places = indices(rows.iter().map(|row| row.prompt), scores.device())?;
            text.keep(&places)?;
            scores = scores.f_index_select(0, &places)?;
        }
        let nothing = Continuation { tokens: Vec::new(), end: None };
        let mut results = vec![vec![nothing; self.samples]; prompts.len()];
        for made in 1.. {
            let newest = self.next(&scores, prompts, &rows, &written)?;
            let mut new = Step { texts: 0, tokens: 0 };
            for ((row, written), &id) in rows.iter_mut().zip(&mut written).zip(&newest) {
                written.ids.push(id);
                let result = results.get_mut(row.prompt).and_then(|texts| texts.get_mut(row.sample));
                let Some(result) = result.filter(|_| !row.ended) else { continue };
                if ends.ids.contains(&id) {
                    result.end = Some(id);
                } else {
                    result.tokens.push(id);
                    new.tokens += 1;
                    if let Some(stop) = ends.stop
                        && stop(&result.tokens)?
                    {
                        result.end = Some(id);
                    }
                }
                if result.end.is_some() || made == ends.max_new_tokens {
                    row.ended = true;
                    new.texts += 1;
                }
            }
            step(new);
            if rows.iter().all(|row| row.ended) {
                break;
            }
            let newest = drop_ended(text.as_mut(), &mut rows, &mut written, newest, scores.device())?;
            scores = text.next(&newest)?;
        }
        Ok(results)
    }

    /// The next token of each row.
    fn next(&self, scores: &Tensor, prompts: &[&Prompt], rows: &[Row], written: &[Written]) -> Result<Vec<i64>> {
        let processed = process(self.processors, scores, written)?;
        let name = |row: &Row| prompts.get(row.prompt).map_or("", |prompt| prompt.name.as_str());
        let draws: Vec<Draw<'_>> = rows
            .iter()
            .zip(written)
            .map(|(row, text)| Draw { name: name(row), sample: row.sample, step: text.new_tokens().len() })
            .collect();
        let chosen = self.choose.choose(&processed, &draws)?;
        let mut ids = Vec::with_capacity(chosen.len());
        for (at, (id, row)) in chosen.into_iter().zip(rows).enumerate() {
            match id {
                Some(id) => ids.push(id),
                // What it is followed by is no part of the result.
                None if row.ended => ids.push(0),
                None => {
                    let scores = Vec::<f32>::try_from(processed.f_get(at as i64)?.f_reshape([-1])?)?;
                    let new_tokens = written.get(at).map_or(0, |text| text.new_tokens().len());
                    return Err(no_choice(name(row), new_tokens, &scores));
                }
            }
        }
        Ok(ids)
    }
}

/// Takes the texts that have ended out of the tensors, when they are a quarter of them: each time copies what was read.
/// Returns the newest tokens of those that are left.
fn drop_ended(
    text: &mut dyn Growing,
    rows: &mut Vec<Row>,
    written: &mut Vec<Written>,
    newest: Vec<i64>,
    device: Device,
) -> Result<Tensor> {
    let going: Vec<usize> = rows.iter().enumerate().filter(|(_, row)| !row.ended).map(|(at, _)| at).collect();
    if going.len() * 4 > rows.len() * 3 {
        return Ok(Tensor::f_from_slice(&newest)?.f_to_device(device)?);
    }
    text.keep(&indices(going.iter().copied(), device)?)?;
    let kept = |at: &usize| Some((*rows.get(*at)?, written.get(*at)?.clone(), *newest.get(*at)?));
    let kept: Vec<_> = going.iter().filter_map(kept).collect();
    let newest: Vec<i64> = kept.iter().map(|(_, _, id)| *id).collect();
    (*rows, *written) = kept.into_iter().map(|(row, text, _)| (row, text)).unzip();
    Ok(Tensor::f_from_slice(&newest)?.f_to_device(device)?)
}

/// Places as a tensor.
pub fn indices(places: impl Iterator<Item = usize>, device: Device) -> Result<Tensor> {
    let places: Vec<i64> = places.map(|place| place as i64).collect();
    Ok(Tensor::f_from_slice(&places)?.f_to_device(device)?)
}
