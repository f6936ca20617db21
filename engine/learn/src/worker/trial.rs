//! A model that a person asks: loaded once, then one row after the other, each answered as an evaluate stage would.
//! Knows the words of pipeline files and the files between stages; not how text is generated.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use data::answers::{Window, best};
use spec::files;
use spec::job::Job;
use spec::protocol::{Generate, Protocol, Span};
use spec::stage::{Evaluate, Stage};
use spec::trial::Reply;
use tch::Device;
use tokenizers::Tokenizer;

use super::evaluate::texts::{softmax, window};
use super::special_ids::SpecialIds;
use super::{decoding, device, labels, model_source};
use crate::error::{Error, Result};
use crate::evaluate::{StopStrings, class_scores, decode, token_scores};
use crate::generate::{Ends, Prompt, Reader, Search, check, together};
use crate::models::{Model, Task};
use crate::observer::Unobserved;
use crate::rows::{has_column, read_tokens};
use crate::text_rows::{read_answered, read_text_rows};

/// The split with the typed row.
const SPLIT: &str = "typed";

/// Answers on standard output what comes on standard input. Returns whether the model could be loaded.
pub fn trial() -> bool {
    let mut lines = std::io::stdin().lock().lines().map_while(std::result::Result::ok);
    let Some(first) = lines.next() else { return true };
    let asked = match Asked::load(&first) {
        Ok(asked) => asked,
        Err(error) => {
            say(&Reply::Failed(super::failure(&error)));
            return false;
        }
    };
    say(&Reply::Ready);
    for line in lines {
        let answered = serde_json::from_str::<PathBuf>(&line)
            .map_err(|error| Error::setting("row", error.to_string(), "engine and worker must be of the same build"))
            .and_then(|folder| asked.answer(&folder));
        if let Err(error) = answered {
            say(&Reply::Failed(super::failure(&error)));
        }
        say(&Reply::Ready);
    }
    true
}

fn say(reply: &Reply) {
    if let Ok(line) = serde_json::to_string(reply) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// A model and how it is asked.
struct Asked {
    model: Model,
    /// Where its configuration is.
    place: PathBuf,
    protocol: Protocol,
    ids: SpecialIds,
    labels: Vec<String>,
    tokenizer: Tokenizer,
    end_ids: Vec<i64>,
    /// Of what is drawn.
    seed: u64,
    device: Device,
}

impl Asked {
    fn load(line: &str) -> Result<Self> {
        let hint = "engine and worker must be of the same build";
        let job: Job = serde_json::from_str(line).map_err(|error| Error::setting("job", error.to_string(), hint))?;
        let stage: Evaluate = match Stage::deserialize(&job.kind, &job.settings) {
            Some(Ok(Stage::Evaluate(stage))) => *stage,
            _ => return Err(Error::setting("job", "is no evaluate stage's", hint)),
        };
        tch::set_num_threads(i32::try_from(job.threads.max(1)).unwrap_or(i32::MAX));
        tch::set_num_interop_threads(1);
        let device = device::choose(job.device)?;
        let data = job.input("data").ok_or_else(|| Error::setting("data", "the job names no data", hint))?;
        let ids = SpecialIds::read(data)?;
        let labels = match &stage.protocol {
            Protocol::Classify(_) => labels::of_data(data)?,
            _ => Vec::new(),
        };
        let task = match &stage.protocol {
            Protocol::Classify(_) => {
                labels::check_model(&job, &labels)?;
                Task::SequenceClassification { labels: labels.len() as i64 }
            }
            Protocol::Regress(_) => Task::SequenceClassification { labels: 1 },
            Protocol::Span(_) => Task::QuestionAnswering,
            Protocol::Generate(_) | Protocol::Perplexity(_) | Protocol::Choices(_) => Task::LanguageModel,
        };
        let model = model_source::plain(&job, task, device::numerics(stage.precision, device))?;
        let place = model_source::config_place(&job);
        ids.check_model(model.network.vocabulary(), &place, &[])?;
        let tokenizer = super::tokenizer(data)?;
        let mut end_ids = ids.eos.clone();
        end_ids.extend(model_source::end_ids(&job)?);
        let seed = stage.seed.unwrap_or(0);
        Ok(Self { model, place, protocol: stage.protocol, ids, labels, tokenizer, end_ids, seed, device })
    }

    /// Answers the row in a folder as a tokenize stage leaves it.
    fn answer(&self, folder: &Path) -> Result<()> {
        let path = folder.join(files::split(SPLIT));
        self.ids.check_model(self.model.network.vocabulary(), &self.place, std::slice::from_ref(&path))?;
        match &self.protocol {
            Protocol::Generate(generate) => self.write(&path, generate),
            Protocol::Perplexity(_) | Protocol::Choices(_) => {
                let problem = format!("`{}` answers nothing", self.protocol.name());
                Err(Error::setting("protocol", problem, "use a protocol that does"))
            }
            Protocol::Classify(_) => {
                let scores = self.scores(&path)?;
                let mut classes: Vec<(String, f64)> = self.labels.iter().cloned().zip(softmax(&scores)).collect();
                classes.sort_by(|one, other| other.1.total_cmp(&one.1));
                say(&Reply::Classes { classes });
                Ok(())
            }
            Protocol::Regress(_) => {
                say(&Reply::Number { number: self.scores(&path)?.first().copied().unwrap_or(f64::NAN) });
                Ok(())
            }
            Protocol::Span(span) => self.find(&path, span),
        }
    }

    /// Continues the prompt, or answers it where the model is an encoder–decoder, and says the text as it grows.
    fn write(&self, path: &Path, generate: &Generate) -> Result<()> {
        let prompt: Vec<i64> = if has_column(path, "target_ids")? {
            let (row, failed) = only(path, read_answered(path)?)?;
            usable(failed.as_deref())?;
            row.text.ids.iter().map(|&id| i64::from(id)).collect()
        } else {
            let row = only(path, read_tokens(path)?)?;
            usable(row.failed.as_deref())?;
            row.ids.iter().take(row.prompt_length).map(|&id| i64::from(id)).collect()
        };
        let prompt = Prompt { name: "the prompt".to_owned(), ids: prompt };
        check(&self.model.network, std::slice::from_ref(&prompt), 1)?;
        let decoding = decoding::of(generate, &self.end_ids, self.seed);
        let strings = StopStrings::new(&self.tokenizer, &generate.stop);
        let said = RefCell::new(String::new());
        // Beams change what they hold: their text is said when it is found. A sample is enough.
        let as_it_grows = matches!(&decoding.search, Search::Tokens { samples: 1, .. });
        let stop = |made: &[i64]| -> Result<bool> {
            if as_it_grows {
                let text = decode(&self.tokenizer, made.iter().copied())?;
                // A token may hold a part of a character alone.
                if !text.ends_with('\u{FFFD}') {
                    go_on(&mut said.borrow_mut(), strings.cut(&text));
                }
            }
            strings.met(made)
        };
        let max_new_tokens = usize::try_from(generate.max_new_tokens).unwrap_or(usize::MAX);
        let ends = Ends { ids: self.end_ids.clone(), max_new_tokens, stop: Some(&stop) };
        let reader = Reader::new(&self.model.network, self.device);
        let answers = together(&reader, &[&prompt], &decoding, &ends, &mut |_| ())?;
        let Some(answer) = answers.into_iter().flatten().next() else { return Ok(()) };
        let whole = decode(&self.tokenizer, answer.tokens.iter().copied())?;
        go_on(&mut said.borrow_mut(), strings.cut(&whole));
        say(&Reply::Ended { tokens: answer.tokens.len(), ended: answer.end.is_some() });
        Ok(())
    }

    /// The scores of a text's classes, or its number.
    fn scores(&self, path: &Path) -> Result<Vec<f64>> {
        let row = only(path, read_text_rows(path)?)?;
        usable(row.failed.as_deref())?;
        let mut scores = class_scores(&self.model, &[Some(&row.text)], 1, self.ids.pad, &mut Unobserved)?;
        Ok(scores.pop().flatten().unwrap_or_default())
    }

    /// Finds the answer in the pair, over all windows of it.
    fn find(&self, path: &Path, span: &Span) -> Result<()> {
        let rows = read_text_rows(path)?;
        let texts: Vec<_> = rows.iter().map(|row| row.failed.is_none().then_some(&row.text)).collect();
        let scores = token_scores(&self.model, &texts, 8, self.ids.pad, &mut Unobserved)?;
        let first = rows.first().ok_or_else(|| nothing(path))?;
        usable(first.failed.as_deref())?;
        let windows: Vec<Window> =
            rows.iter().zip(&scores).filter_map(|(row, scores)| Some(window(row, scores.as_deref()?))).collect();
        let found = best(windows, span.into());
        let place = found.as_ref().map(|found| found.place.clone()).filter(|place| !place.is_empty());
        let text = place.clone().and_then(|place| first.pair.as_deref()?.get(place)).map(str::to_owned);
        say(&Reply::Span {
            text,
            place: place.map(|place| (place.start, place.end)),
            none_is_better_by: found.and_then(|found| found.none_is_better_by),
        });
        Ok(())
    }
}

/// Says what of a text has not been said.
fn go_on(said: &mut String, text: &str) {
    if let Some(new) = text.strip_prefix(said.as_str()).filter(|new| !new.is_empty()) {
        say(&Reply::Text { text: new.to_owned() });
        text.clone_into(said);
    }
}

fn only<T>(path: &Path, rows: Vec<T>) -> Result<T> {
    rows.into_iter().next().ok_or_else(|| nothing(path))
}

fn nothing(path: &Path) -> Error {
    Error::file(path, "holds no row", "the row is too long: type less, or raise the tokenize stage's `max_length`")
}

fn usable(failed: Option<&str>) -> Result<()> {
    match failed {
        None => Ok(()),
        Some(reason) => Err(Error::stopped(reason.to_owned(), None, "type less, or raise `max_length`")),
    }
}
