//! Beam search: several beginnings of each text are followed at once, and the best of those that end is taken; in the form
//! that transformers 5 gives it. Scores are float32. Knows no model.

use std::fmt::Debug;

use tch::{Kind, Tensor};

use super::draws::{Draw, Draws};
use super::processors::{Processor, Written, process};
use super::text::Writer;
use super::tokens::indices;
use super::{Continuation, Ends, Prompt, Step, no_choice};
use crate::error::{Error, Result};

/// What keeps something from being taken, added to its score.
const NEVER: f32 = -1e9;

/// A beam search.
#[derive(Debug)]
pub struct Beams {
    /// Beginnings that are followed.
    pub count: usize,
    /// The sum of a text's logarithms of probabilities is divided by its number of new tokens, the end with them, to this
    /// power: above zero, longer texts become better.
    pub length_penalty: f64,
    /// When a search is over.
    pub early_stopping: EarlyStopping,
    /// How the next tokens are found.
    pub candidates: Box<dyn Candidates>,
}

/// When a search is over, beside that no text may be longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyStopping {
    /// When there are as many ended texts as beams, and the best beginning, ended now, would be worse than all of them.
    Heuristic,
    /// When there are as many ended texts as beams.
    Always,
    /// When there are as many, and the best beginning cannot become better than the worst of them, however long it grows.
    Never,
}

/// A text that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// The text.
    pub text: Continuation,
    /// Its score.
    pub score: f32,
    /// For each of its tokens, the end with them, the beam that it went on from.
    pub beams: Vec<usize>,
}

/// A way to find the next tokens of beginnings.
pub trait Candidates: Debug {
    /// For each prompt `count` places in its row of the scores `[prompts, beams · vocabulary]`, and what stands there, the
    /// preferred first. `draws` are what the prompts' random numbers belong to.
    fn candidates(&self, scores: &Tensor, count: usize, draws: &[Draw<'_>]) -> Result<Vec<Vec<(usize, f32)>>>;
}

/// Those of the highest scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Best;

/// Some that are drawn without putting back, by the probabilities that the softmax of the scores is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// The seed of what is drawn.
    pub seed: u64,
}

impl Candidates for Best {
    fn candidates(&self, scores: &Tensor, count: usize, _: &[Draw<'_>]) -> Result<Vec<Vec<(usize, f32)>>> {
        let (scores, places) = scores.f_topk(count as i64, -1, true, true)?;
        let scores = Vec::<f32>::try_from(scores.f_reshape([-1])?)?;
        let places = Vec::<i64>::try_from(places.f_reshape([-1])?)?;
        let pairs: Vec<(usize, f32)> = places.into_iter().map(|place| place as usize).zip(scores).collect();
        Ok(pairs.chunks(count).map(<[_]>::to_vec).collect())
    }
}

impl Candidates for Drawn {
    fn candidates(&self, scores: &Tensor, count: usize, draws: &[Draw<'_>]) -> Result<Vec<Vec<(usize, f32)>>> {
        draws
            .iter()
            .enumerate()
            .map(|(row, &draw)| {
                let scores = Vec::<f32>::try_from(scores.f_get(row as i64)?.f_reshape([-1])?)?;
                let mut numbers = Draws::new(self.seed, draw);
                // A score that is no number comes first, and so is seen.
                let mut keyed: Vec<(f64, usize, f32)> = scores
                    .into_iter()
                    .enumerate()
                    .map(|(place, score)| {
                        let number = numbers.gumbel();
                        (if score.is_nan() { f64::INFINITY } else { f64::from(score) + number }, place, score)
                    })
                    .collect();
                let order = |one: &(f64, usize, f32), other: &(f64, usize, f32)| {
                    other.0.total_cmp(&one.0).then(one.1.cmp(&other.1))
                };
                if count < keyed.len() {
                    keyed.select_nth_unstable_by(count, order);
                    keyed.truncate(count);
                }
                keyed.sort_unstable_by(order);
                Ok(keyed.into_iter().map(|(_, place, score)| (place, score)).collect())
            })
            .collect()
    }
}

/// A beginning, or a text that has ended.
#[derive(Debug, Clone)]
struct Beam {
    /// New tokens, an end id with them.
    ids: Vec<i64>,
    beams: Vec<usize>,
    score: f32,
    /// Whether it has ended, and may be a result.
    ended: bool,
}

/// The search for one prompt's text.
#[derive(Debug)]
struct Hunt {
    prompt: usize,
    /// What the text holds before its first new token.
    before: Vec<i64>,
    going: Vec<Beam>,
    found: Vec<Beam>,
    /// Whether a beginning may become better than what was found.
    improvable: bool,
    over: bool,
}

/// The best `count`, in order; of equal ones the first.
fn best(mut beams: Vec<Beam>, count: usize) -> Vec<Beam> {
    beams.sort_by(|one, other| other.score.total_cmp(&one.score));
    beams.truncate(count);
    beams
}

impl Hunt {
    fn start(prompt: usize, before: Vec<i64>, count: usize) -> Self {
        let beam = |score| Beam { ids: Vec::new(), beams: Vec::new(), score, ended: false };
        // All begin alike: but for the first they wait until it has parted.
        let going = (0..count).map(|at| beam(if at == 0 { 0.0 } else { NEVER })).collect();
        let found = (0..count).map(|_| beam(NEVER)).collect();
        Self { prompt, before, going, found, improvable: true, over: false }
    }

    /// One more token: the candidates are a beam, an id and a score each, best first.
    fn go_on(&mut self, search: &Beams, ends: &Ends<'_>, candidates: &[(usize, i64, f32)]) -> Result<()> {
        let count = search.count;
        let mut next = Vec::with_capacity(candidates.len());
        for &(beam, id, score) in candidates {
            let Some(from) = self.going.get(beam) else { continue };
            let mut ids = from.ids.clone();
            ids.push(id);
            let mut beams = from.beams.clone();
            beams.push(beam);
            let stopped = match ends.stop {
                Some(stop) => stop(&ids)?,
                None => false,
            };
            let ended = stopped || ends.ids.contains(&id) || ids.len() == ends.max_new_tokens;
            next.push(Beam { ids, beams, score, ended });
        }
        let all_ended = next.iter().all(|beam| beam.ended);
        let length = next.first().map_or(1, |beam| beam.ids.len());
        let full = search.early_stopping == EarlyStopping::Always && self.found.iter().all(|beam| beam.ended);
        // Those beyond the first `count` are there so that enough go on; they do not end.
        let divisor = search.divisor(length);
        let ended = next.iter().enumerate().map(|(at, beam)| {
            let ended = beam.ended && at < count;
            let mut score = beam.score / divisor;
            for kept_out in [full, !self.improvable, !ended] {
                score += if kept_out { NEVER } else { 0.0 };
            }
            Beam { score, ended, ..beam.clone() }
        });
        let found: Vec<Beam> = self.found.iter().cloned().chain(ended).collect();
        self.found = best(found, count);
        for beam in &mut next {
            beam.score += if beam.ended { NEVER } else { 0.0 };
        }
        self.going = best(next, count);
        let promise = self.going.first().map_or(NEVER, |beam| beam.score)
            / search.divisor(match search.early_stopping {
                EarlyStopping::Never if search.length_penalty > 0.0 => ends.max_new_tokens,
                _ => length,
            });
        let worst = self.found.iter().map(|beam| beam.score).fold(f32::INFINITY, f32::min);
        self.improvable &= self.found.iter().any(|beam| promise > if beam.ended { worst } else { NEVER });
        let full = search.early_stopping == EarlyStopping::Always && self.found.iter().all(|beam| beam.ended);
        self.over = all_ended || full || !self.improvable;
        Ok(())
    }

    fn new_tokens(&self) -> usize {
        self.going.first().map_or(0, |beam| beam.ids.len())
    }

    fn written(&self, beam: &Beam) -> Written {
        Written { ids: self.before.iter().chain(&beam.ids).copied().collect(), before: self.before.len() }
    }

    fn found(self, ends: &Ends<'_>) -> Vec<Hypothesis> {
        let hypothesis = |beam: Beam| {
            let Beam { mut ids, beams, score, .. } = beam;
            let last = ids.last().copied();
            let mut end = last.filter(|id| ends.ids.contains(id));
            if end.is_some() {
                ids.pop();
            } else if ids.len() < ends.max_new_tokens {
                // A stop string ended it.
                end = last;
            }
            Hypothesis { text: Continuation { tokens: ids, end }, score, beams }
        };
        self.found.into_iter().map(hypothesis).collect()
    }
}

impl Beams {
    fn divisor(&self, length: usize) -> f32 {
        (length as f64).powf(self.length_penalty) as f32
    }

    /// Continues prompts together: for each of them as many texts as there are beams, the best first.
    pub fn run(
        &self,
        writer: &dyn Writer,
        prompts: &[&Prompt],
        processors: &[Box<dyn Processor>],
        ends: &Ends<'_>,
        step: &mut dyn FnMut(Step),
    ) -> Result<Vec<Vec<Hypothesis>>> {
        if self.count == 0 {
            return Err(Error::setting("beams", "no beam", "give at least 1"));
        }
        let ids: Vec<&[i64]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
        let (mut text, mut scores) = writer.begin(&ids)?;
        let device = scores.device();
        let start = |(prompt, ids): (usize, &&[i64])| Hunt::start(prompt, writer.before(ids), self.count);
        let mut hunts: Vec<Hunt> = ids.iter().enumerate().map(start).collect();
        let mut results: Vec<Vec<Hypothesis>> = vec![Vec::new(); prompts.len()];
        // In the first step the beams of a prompt are one row.
        let mut beams = 1;
        loop {
            let before = going(&hunts);
            self.advance(&scores, beams, &mut hunts, prompts, processors, ends)?;
            let left = going(&hunts);
            step(Step { texts: before - left, tokens: before });
            // Those that are over leave when they are a quarter of all: each time copies what was read.
            let drop = left * 4 <= hunts.len() * 3;
            let (over, kept): (Vec<_>, Vec<_>) = hunts.into_iter().enumerate().partition(|(_, hunt)| drop && hunt.over);
            for (_, hunt) in over {
                if let Some(result) = results.get_mut(hunt.prompt) {
                    *result = hunt.found(ends);
                }
            }
            if kept.is_empty() {
                return Ok(results);
            }
            let rows = kept.iter().flat_map(|(at, hunt)| {
                hunt.going.iter().map(move |beam| at * beams + beam.beams.last().copied().unwrap_or(0).min(beams - 1))
            });
            let rows = indices(rows, device)?;
            if drop || beams != self.count {
                text.keep(&rows)?
            } else {
                text.reorder(&rows)?
            }
            beams = self.count;
            hunts = kept.into_iter().map(|(_, hunt)| hunt).collect();
            let newest = hunts.iter().flat_map(|hunt| hunt.going.iter());
            let newest: Vec<i64> = newest.map(|beam| beam.ids.last().copied().unwrap_or(0)).collect();
            scores = text.next(&Tensor::f_from_slice(&newest)?.f_to_device(device)?)?;
        }
    }

    /// One more token for each prompt, from the scores `[prompts · beams, vocabulary]`.
    fn advance(
        &self,
        scores: &Tensor,
        beams: usize,
        hunts: &mut [Hunt],
        prompts: &[&Prompt],
        processors: &[Box<dyn Processor>],
        ends: &Ends<'_>,
    ) -> Result<()> {
        let texts = hunts.iter().flat_map(|hunt| hunt.going.iter().take(beams).map(|beam| hunt.written(beam)));
        let written: Vec<Written> = if processors.is_empty() { Vec::new() } else { texts.collect() };
        let likely = process(processors, &scores.f_log_softmax(-1, Kind::Float)?, &written)?;
        let vocabulary = likely.size2()?.1;
        let so_far: Vec<f32> = hunts.iter().flat_map(|hunt| hunt.going.iter().map(|beam| beam.score)).collect();
        let count = self.count as i64;
        let so_far = Tensor::f_from_slice(&so_far)?.f_to_device(scores.device())?.f_view([-1, count, 1])?;
        let sums =
            likely.f_view([-1, beams as i64, vocabulary])?.f_add(&so_far)?.f_reshape([-1, count * vocabulary])?;
        // So many that enough go on where all ends are among them.
        let wanted = (1 + ends.ids.len()).max(2) * self.count;
        let name = |hunt: &Hunt| prompts.get(hunt.prompt).map_or("", |prompt| prompt.name.as_str());
        let draws: Vec<Draw<'_>> =
            hunts.iter().map(|hunt| Draw { name: name(hunt), sample: 0, step: hunt.new_tokens() }).collect();
        let found = self.candidates.candidates(&sums, wanted.min((count * vocabulary) as usize), &draws)?;
        for (hunt, candidates) in hunts.iter_mut().zip(found).filter(|(hunt, _)| !hunt.over) {
            if candidates.iter().any(|(_, score)| score.is_nan()) {
                return Err(no_choice(name(hunt), hunt.new_tokens(), &[f32::NAN]));
            }
            let vocabulary = vocabulary as usize;
            let candidates: Vec<(usize, i64, f32)> = candidates
                .into_iter()
                .map(|(place, score)| (place / vocabulary, (place % vocabulary) as i64, score))
                .collect();
            hunt.go_on(self, ends, &candidates)?;
        }
        Ok(())
    }
}

/// How many searches go on.
fn going(hunts: &[Hunt]) -> usize {
    hunts.iter().filter(|hunt| !hunt.over).count()
}
