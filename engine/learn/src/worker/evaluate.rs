//! The `evaluate` stage: a split's rows, the model, a protocol, metrics, and what it leaves. Knows the words of pipeline
//! files; not how text is generated or counted.

mod choices;
mod latency;
mod texts;

use std::cell::Cell;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use data::metrics::{self, Counted, Counter, Figures, TextMetric, TextRow, TokenScore, Uncertainty};
use serde_json::{Map, Value, json};
use spec::files;
use spec::job::{Job, JobInput};
use spec::metric::Metric;
use spec::protocol::{Generate, Perplexity, Protocol};
use spec::stage::{Evaluate, LossOn};
use tch::Device;

use super::memory::Peak;
use super::special_ids::SpecialIds;
use super::{decoding, device, model_source};
use crate::batches::Row;
use crate::error::{Error, Result};
use crate::evaluate::{Answer, Answers, Asking, Windows, answer_scores, scores, windowed_scores};
use crate::models::{Model, Task};
use crate::objectives::AnsweredRow;
use crate::observer::Observer;
use crate::rows::{Texts, TokenRow, has_column, read_texts, read_tokens};
use crate::text_rows::read_answered;
use crate::weights::write_json;

/// Does the job.
pub fn run(job: &Job, stage: &Evaluate, device: Device, observer: &mut dyn Observer) -> Result<()> {
    let started = Instant::now();
    let data =
        job.input("data").ok_or_else(|| Error::setting("data", "the job names no data", "run `engine run` again"))?;
    let split = stage.data.part.as_deref().unwrap_or_default();
    let path = data.file(&files::split(split));
    let ids = SpecialIds::read(data)?;
    let peak = Peak::begin(device);
    let asked = Asked { job, stage, data, path: &path, split, device, kept: Cell::new(0) };
    let (tokens, count) = match &stage.protocol {
        Protocol::Generate(protocol) => asked.generate(protocol, &ids, observer)?,
        Protocol::Perplexity(protocol) => asked.perplexity(protocol, &ids, observer)?,
        Protocol::Choices(_) => choices::choices(&asked, &ids, observer)?,
        Protocol::Classify(_) => texts::classify(&asked, &ids, observer)?,
        Protocol::Regress(_) => texts::regress(&asked, &ids, observer)?,
        Protocol::Span(protocol) => texts::span(&asked, protocol, &ids, observer)?,
    };
    let seconds = started.elapsed().as_secs_f64();
    let measured = json!({
        "seconds": seconds,
        "tokens_per_second": tokens as f64 / seconds,
        "rows_per_second": count as f64 / seconds,
        "peak_memory_bytes": peak.bytes(),
        "device": device::name(device),
        "libtorch": device::libtorch(),
        "threads": job.threads,
        "kept_rows": asked.kept.get(),
    });
    write_json(&job.observed.join(files::MEASURED), &measured)?;
    latency::observe(&asked, &ids, observer)
}

/// A stage's question: which model, which rows.
struct Asked<'a> {
    job: &'a Job,
    stage: &'a Evaluate,
    data: &'a JobInput,
    path: &'a Path,
    split: &'a str,
    device: Device,
    /// Rows that an attempt before this one had answered.
    kept: Cell<usize>,
}

impl Asked<'_> {
    /// The model for a task, which must know the tokenizer's ids.
    fn model(&self, task: Task, ids: &SpecialIds) -> Result<Model> {
        let numerics = device::numerics(self.stage.precision, self.device);
        let model = model_source::plain(self.job, task, numerics)?;
        let place = model_source::config_place(self.job);
        ids.check_model(model.network.vocabulary(), &place, &[self.path.to_owned()])?;
        Ok(model)
    }

    fn some<T>(&self, rows: Vec<T>) -> Result<Vec<T>> {
        match rows.is_empty() {
            true => {
                let problem = format!("the split `{}` has no row", self.split);
                Err(Error::file(self.path, problem, "score a split that has rows"))
            }
            false => Ok(rows),
        }
    }

    /// Rows that are computed at once.
    fn batch(&self) -> usize {
        usize::try_from(self.stage.batch.size).unwrap_or(usize::MAX)
    }

    /// The prompts as token ids: the text that an encoder–decoder reads, or what a causal language model continues.
    fn prompts(&self, model: &Model) -> Result<Vec<TokenRow>> {
        if !has_column(self.path, "target_ids")? {
            model.network.causal_lm()?;
            return read_tokens(self.path);
        }
        model.network.seq2seq_lm()?;
        let prompt = |(row, failed): (AnsweredRow, Option<String>)| TokenRow {
            id: row.text.id,
            prompt_length: row.text.ids.len(),
            completion: vec![false; row.text.ids.len()],
            ids: row.text.ids,
            failed,
        };
        Ok(read_answered(self.path)?.into_iter().map(prompt).collect())
    }

    /// Continues every prompt and scores the texts. Returns the tokens that were generated, and the rows.
    fn generate(&self, protocol: &Generate, ids: &SpecialIds, observer: &mut dyn Observer) -> Result<(usize, usize)> {
        if !has_column(self.path, "references")? {
            let problem = "has no column `references`, so there is nothing to compare answers with";
            return Err(Error::file(self.path, problem, "add a block `references` to the template"));
        }
        let texts = read_texts(self.path)?;
        let counters = self.text_counters(texts.iter().map(|texts| texts.references.as_slice()))?;
        let model = self.model(Task::LanguageModel, ids)?;
        let all = self.some(self.prompts(&model)?)?;
        let tokenizer = super::tokenizer(self.data)?;
        let mut end_ids = ids.eos.clone();
        end_ids.extend(model_source::end_ids(self.job)?);
        end_ids.sort_unstable();
        end_ids.dedup();
        let decoding = decoding::of(protocol, &end_ids, self.stage.seed.unwrap_or(0));
        let asking = Asking {
            model: &model,
            tokenizer: &tokenizer,
            decoding: &decoding,
            end_ids,
            max_new_tokens: usize::try_from(protocol.max_new_tokens).unwrap_or(usize::MAX),
            stop: &protocol.stop,
            batch: self.batch(),
            device: self.device,
        };
        let Answers { rows: answers, kept } = asking.answers(&all, &self.job.state, observer)?;
        self.kept.set(kept);
        // Each sample of a row is an answer of its own.
        let answers: Vec<(usize, usize, Answer)> = answers
            .into_iter()
            .enumerate()
            .flat_map(|(row, samples)| {
                samples.into_iter().enumerate().map(move |(sample, answer)| (row, sample, answer))
            })
            .collect();
        let references = |row: usize| texts.get(row).map(|texts| texts.references.clone()).unwrap_or_default();
        let compared: Vec<TextRow> =
            answers.iter().map(|(row, _, answer)| TextRow::new(answered(protocol, answer), references(*row))).collect();
        let mut scored = Scored::default();
        for (name, metric) in counters {
            scored.add(name, metric.count(&compared));
        }
        let asked = |(row, sample, answer)| Some((all.get(row)?, texts.get(row)?, sample, answer));
        let lines = answers.iter().filter_map(|(row, sample, answer)| asked((*row, *sample, answer))).zip(&compared);
        self.predictions(lines.enumerate().map(|(index, ((row, texts, sample, answer), compared))| {
            let Texts { prompt, references } = texts;
            let prompt = match prompt {
                Some(prompt) => Ok(prompt.clone()),
                None => decode(&tokenizer, row.ids.iter().take(row.prompt_length).map(|&id| i64::from(id))),
            }?;
            let Answer { text, tokens, ended } = answer;
            let mut line = json!({
                "id": row.id,
                "prompt": prompt,
                "output": text,
                "references": references,
                "failed": row.failed,
                "ended": ended,
                "tokens": tokens,
                "scores": scored.of_row(index),
            });
            if let Some(line) = line.as_object_mut() {
                if protocol.extract.is_some() {
                    line.insert("extracted".to_owned(), json!(compared.prediction));
                }
                if decoding.samples() > 1 {
                    line.insert("sample".to_owned(), json!(sample));
                }
            }
            Ok(line)
        }))?;
        self.metrics(&scored, answers.iter().filter_map(|(row, _, _)| all.get(*row)).map(|row| &row.failed))?;
        Ok((answers.iter().map(|(_, _, answer)| answer.tokens).sum(), all.len()))
    }

    /// Scores every row's own tokens. Returns how many were read, and the rows.
    fn perplexity(
        &self,
        protocol: &Perplexity,
        ids: &SpecialIds,
        observer: &mut dyn Observer,
    ) -> Result<(usize, usize)> {
        let counters = self.counters(|counter| match counter {
            Counter::Tokens(metric) => Some(metric),
            _ => None,
        })?;
        let Own { names, counted, read } = match has_column(self.path, "target_ids")? {
            true => self.own_answers(protocol, ids, observer)?,
            false => self.own_tokens(protocol, ids, observer)?,
        };
        if counted.iter().all(|row| row.tokens == 0) {
            let hint = "check the template's blocks and the tokenize stage's `max_length`, or use `loss_on: all`";
            return Err(Error::file(self.path, "no token of these rows counts", hint));
        }
        let mut scored = Scored::default();
        for (name, metric) in counters {
            scored.add(name, metric.count(&counted));
        }
        let lines = names.iter().enumerate();
        self.predictions(
            lines
                .map(|(index, (id, failed))| Ok(json!({ "id": id, "failed": failed, "scores": scored.of_row(index) }))),
        )?;
        self.metrics(&scored, names.iter().map(|(_, failed)| failed))?;
        Ok((read, names.len()))
    }

    /// What a causal language model makes of the rows' tokens.
    fn own_tokens(&self, protocol: &Perplexity, ids: &SpecialIds, observer: &mut dyn Observer) -> Result<Own> {
        let all = self.some(read_tokens(self.path)?)?;
        let model = self.model(Task::LanguageModel, ids)?;
        let rows: Vec<_> = all
            .iter()
            .map(|row| match row.failed {
                None => super::examples::with_loss(row.clone(), protocol.loss_on),
                Some(_) => None,
            })
            .collect();
        let mut counted = match &protocol.window {
            None => scores(&model, &rows, self.batch(), ids.pad, observer)?,
            Some(window) => {
                let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
                let windows = Windows { length: size(window.length), context: size(window.context) };
                windowed_scores(&model, &rows, windows, self.batch(), ids.pad, observer)?
            }
        };
        let tokenizer = super::tokenizer(self.data)?;
        for (score, row) in counted.iter_mut().zip(&rows) {
            let ids = row.iter().flat_map(|row| row.ids.iter().zip(&row.targets));
            measure(score, &tokenizer, ids.filter(|(_, counts)| **counts).map(|(id, _)| *id))?;
        }
        let names = all.into_iter().map(|row| (row.id, row.failed)).collect();
        Ok(Own { names, counted, read: rows.iter().flatten().map(|row| row.inputs()).sum() })
    }

    /// What an encoder–decoder makes of the rows' answers.
    fn own_answers(&self, protocol: &Perplexity, ids: &SpecialIds, observer: &mut dyn Observer) -> Result<Own> {
        if protocol.loss_on == LossOn::All {
            let hint = "leave `loss_on` out: the completion's tokens count";
            return Err(Error::setting("protocol.perplexity.loss_on", "an encoder–decoder writes no prompt", hint));
        }
        if protocol.window.is_some() {
            let hint = "leave `window` out";
            return Err(Error::setting("protocol.perplexity.window", "an encoder–decoder reads no windows", hint));
        }
        let all = self.some(read_answered(self.path)?)?;
        let model = self.model(Task::LanguageModel, ids)?;
        let names = all.iter().map(|(row, failed)| (row.text.id.clone(), failed.clone())).collect();
        let rows: Vec<_> =
            all.into_iter().map(|(row, failed)| (failed.is_none() && !row.answer.is_empty()).then_some(row)).collect();
        let mut counted = answer_scores(&model, &rows, self.batch(), ids.pad, observer)?;
        let tokenizer = super::tokenizer(self.data)?;
        for (score, row) in counted.iter_mut().zip(&rows) {
            measure(score, &tokenizer, row.iter().flat_map(|row| row.answer.iter().copied()))?;
        }
        Ok(Own { names, counted, read: rows.iter().flatten().map(|row| row.inputs()).sum() })
    }

    /// The metrics by name, as far as the protocol gives what they count.
    fn counters<T>(&self, fits: impl Fn(Counter) -> Option<T>) -> Result<Vec<(String, T)>> {
        let metrics = &self.stage.metrics;
        let names = metrics::names(metrics);
        let counters = metrics.iter().zip(names).enumerate().map(|(index, (metric, name))| {
            let folder = self.job.input(&Metric::input_role(index)).map(|input| input.result.as_path());
            let unreadable = |e: data::Error| Error::stopped(e.message, e.place, e.hint.unwrap_or_default());
            match fits(metrics::counter_from(metric, folder).map_err(unreadable)?) {
                Some(counter) => Ok((name, counter)),
                None => Err(Error::setting(
                    "metrics",
                    format!("`{}` cannot be counted from the protocol `{}`", metric.name(), self.stage.protocol.name()),
                    metric.wants(),
                )),
            }
        });
        counters.collect()
    }

    /// The metrics of texts, which look first whether each row has what they compare with.
    fn text_counters<'r>(
        &self,
        references: impl Iterator<Item = &'r [String]>,
    ) -> Result<Vec<(String, Box<dyn TextMetric>)>> {
        let counters = self.counters(|counter| match counter {
            Counter::Text(metric) => Some(metric),
            _ => None,
        })?;
        let wanting = counters.iter().find(|(_, metric)| metric.wants_references());
        if let (Some((name, _)), Some(row)) = (wanting, { references }.position(<[String]>::is_empty)) {
            let hint = "leave such rows out with `where`, or use `squad_v2`, where none means that there is no answer";
            return Err(Error::file(
                self.path,
                format!("row {} has no reference, and `{name}` needs one", row + 1),
                hint,
            ));
        }
        Ok(counters)
    }

    fn metrics<'r>(&self, scored: &Scored, failures: impl Iterator<Item = &'r Option<String>>) -> Result<()> {
        let failures: Vec<bool> = failures.map(Option::is_some).collect();
        let failed = failures.iter().filter(|failed| **failed).count();
        let metrics = json!({
            "headline": scored.headline,
            "metrics": scored.summaries,
            "uncertainty": scored.uncertainties,
            "signatures": scored.signatures,
            "rows": failures.len(),
            "failed": failed,
        });
        write_json(&self.job.result.join(files::METRICS), &metrics)
    }

    fn predictions(&self, lines: impl Iterator<Item = Result<Value>>) -> Result<()> {
        let path = self.job.result.join(files::PREDICTIONS);
        let io = |error| Error::io("write", &path, error);
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).map_err(io)?);
        for line in lines {
            writeln!(file, "{}", line?).map_err(io)?;
        }
        file.flush().map_err(io)
    }
}

/// What a model makes of rows' own tokens.
struct Own {
    /// Each row's id, and why it failed.
    names: Vec<(String, Option<String>)>,
    counted: Vec<TokenScore>,
    /// How many tokens were read.
    read: usize,
}

/// What all metrics say of all rows.
#[derive(Default)]
struct Scored {
    headline: Map<String, Value>,
    summaries: Map<String, Value>,
    uncertainties: Map<String, Value>,
    signatures: Map<String, Value>,
    rows: Vec<(String, Vec<Figures>)>,
}

impl Scored {
    fn add(&mut self, name: String, counted: Counted) {
        let Counted { rows, summary, uncertainty, signature, headline: keys } = counted;
        let headline = metrics::headline(&name, keys, &summary);
        for key in keys {
            let key = format!("{name}.{key}");
            if let Some(value) = headline.get(&key) {
                self.headline.insert(key, json!(value));
            }
        }
        let of_figure = |(figure, uncertainty): (String, Uncertainty)| match uncertainty {
            Uncertainty::StandardError(error) => (figure, json!({ "standard_error": error })),
            Uncertainty::Interval { low, high } => (figure, json!({ "low": low, "high": high })),
        };
        self.summaries.insert(name.clone(), json!(summary));
        self.uncertainties.insert(name.clone(), uncertainty.into_iter().map(of_figure).collect::<Map<_, _>>().into());
        self.signatures.insert(name.clone(), json!(signature));
        self.rows.push((name, rows));
    }

    fn of_row(&self, index: usize) -> Value {
        self.rows.iter().map(|(name, rows)| (name.clone(), json!(rows.get(index)))).collect::<Map<_, _>>().into()
    }
}

/// What metrics compare of an answer: all of it, or what is taken out of it.
fn answered(protocol: &Generate, answer: &Answer) -> Option<String> {
    match &protocol.extract {
        Some(rule) => data::extract::extract(answer.text.as_deref()?, rule),
        None => answer.text.clone(),
    }
}

/// Counts the words and the bytes of the text whose tokens count.
fn measure(score: &mut TokenScore, tokenizer: &tokenizers::Tokenizer, ids: impl Iterator<Item = i32>) -> Result<()> {
    let text = decode(tokenizer, ids.map(i64::from))?;
    if !text.is_empty() {
        (score.words, score.bytes) = (metrics::pieces(&text), text.len() as u64);
    }
    Ok(())
}

fn decode(tokenizer: &tokenizers::Tokenizer, ids: impl Iterator<Item = i64>) -> Result<String> {
    crate::evaluate::decode(tokenizer, ids)
}
