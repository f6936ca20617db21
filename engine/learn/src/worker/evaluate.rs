//! The `evaluate` stage: a split's rows, the model, a protocol, metrics, and what it leaves; and the question that a training
//! asks on its way in the same manner. Knows the words of pipeline files; not how text is generated or counted.

mod choices;
mod latency;
pub(in crate::worker) mod texts;

use std::cell::Cell;
use std::io::Write;
use std::ops::Deref;
use std::path::Path;
use std::time::Instant;

use data::metrics::{self, Counted, Counter, Figures, TextMetric, TextRow, TokenScore, Uncertainty};
use serde_json::{Map, Value, json};
use spec::files;
use spec::job::{Job, JobInput};
use spec::metric::Metric;
use spec::precision::Precision;
use spec::protocol::{Generate, Perplexity, Protocol};
use spec::stage::{Evaluate, LossOn};
use tch::Device;

use super::memory::Peak;
use super::special_ids::SpecialIds;
use super::{decoding, device, labels, model_source};
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
    let asked = Asked {
        job,
        model: Whom::Named(stage.precision),
        data,
        path: &path,
        split,
        rows: None,
        protocol: &stage.protocol,
        metrics: &stage.metrics,
        metrics_at: "metrics",
        batch: stage.batch.size,
        seed: stage.seed.unwrap_or(0),
        device,
        left: Some(Left { result: &job.result, state: &job.state }),
        kept: Cell::new(0),
    };
    let answered = asked.answered(&ids, observer)?;
    write_json(&job.result.join(files::METRICS), &answered.to_json())?;
    let seconds = started.elapsed().as_secs_f64();
    let measured = json!({
        "seconds": seconds,
        "tokens_per_second": answered.tokens as f64 / seconds,
        "rows_per_second": answered.rows as f64 / seconds,
        "peak_memory_bytes": peak.bytes(),
        "device": device::name(device),
        "libtorch": device::libtorch(),
        "threads": job.threads,
        "kept_rows": asked.kept.get(),
    });
    write_json(&job.observed.join(files::MEASURED), &measured)?;
    latency::observe(&asked, stage, &ids, observer)
}

/// A stage's question: which model, which rows, how it is asked, and what is counted.
pub(super) struct Asked<'a> {
    pub job: &'a Job,
    pub model: Whom<'a>,
    pub data: &'a JobInput,
    /// The split's file, and its name.
    pub path: &'a Path,
    pub split: &'a str,
    /// Only so many rows are asked, the first.
    pub rows: Option<u64>,
    pub protocol: &'a Protocol,
    pub metrics: &'a [Metric],
    /// Where the metrics stand in the stage.
    pub metrics_at: &'a str,
    /// Rows that are computed at once.
    pub batch: u64,
    /// Of what is drawn.
    pub seed: u64,
    pub device: Device,
    /// Where answers are written, if they are.
    pub left: Option<Left<'a>>,
    /// Rows that an attempt before this one had answered.
    pub kept: Cell<usize>,
}

/// Who is asked.
pub(super) enum Whom<'a> {
    /// The model that the job names, computing in this precision.
    Named(Precision),
    /// This one, whose texts end at these ids besides the tokenizer's.
    InHand { model: &'a Model, end_ids: &'a [i64] },
}

/// Where answers are written.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    /// The folder of `predictions.jsonl`.
    pub result: &'a Path,
    /// The folder of what an attempt after this one need not do again.
    pub state: &'a Path,
}

/// What came of a question.
pub(super) struct Answered {
    pub scored: Scored,
    /// Tokens that were generated, or read.
    tokens: usize,
    rows: usize,
    /// Answers that count, several of a row where it was asked several times.
    answers: usize,
    /// Those among them whose row did not fit.
    failed: usize,
}

/// A model that was loaded for the question, or that was there.
enum Held<'a> {
    Loaded(Box<Model>),
    Lent(&'a Model),
}

impl Deref for Held<'_> {
    type Target = Model;

    fn deref(&self) -> &Model {
        match self {
            Self::Loaded(model) => model,
            Self::Lent(model) => model,
        }
    }
}

impl Asked<'_> {
    /// Asks the model of the rows by the protocol, and counts the metrics.
    pub fn answered(&self, ids: &SpecialIds, observer: &mut dyn Observer) -> Result<Answered> {
        match self.protocol {
            Protocol::Generate(protocol) => self.generate(protocol, ids, observer),
            Protocol::Perplexity(protocol) => self.perplexity(protocol, ids, observer),
            Protocol::Choices(_) => choices::choices(self, ids, observer),
            Protocol::Classify(_) => texts::classify(self, ids, observer),
            Protocol::Regress(_) => texts::regress(self, ids, observer),
            Protocol::Span(protocol) => texts::span(self, protocol, ids, observer),
        }
    }

    /// The model for a task, which must know the tokenizer's ids.
    fn model(&self, task: Task, ids: &SpecialIds) -> Result<Held<'_>> {
        let precision = match self.model {
            Whom::Named(precision) => precision,
            Whom::InHand { model, .. } => return Ok(Held::Lent(model)),
        };
        let model = model_source::plain(self.job, task, device::numerics(precision, self.device))?;
        let place = model_source::config_place(self.job);
        ids.check_model(model.network.vocabulary(), &place, &[self.path.to_owned()])?;
        Ok(Held::Loaded(Box::new(model)))
    }

    /// The classes must be those that the model was trained with. One in hand is trained with them.
    fn check_labels(&self, labels: &[String]) -> Result<()> {
        match self.model {
            Whom::Named(_) => labels::check_model(self.job, labels),
            Whom::InHand { .. } => Ok(()),
        }
    }

    /// The ids that end a text.
    fn end_ids(&self, ids: &SpecialIds) -> Result<Vec<i64>> {
        let mut end_ids = ids.eos.clone();
        match self.model {
            Whom::Named(_) => end_ids.extend(model_source::end_ids(self.job)?),
            Whom::InHand { end_ids: own, .. } => end_ids.extend(own),
        }
        end_ids.sort_unstable();
        end_ids.dedup();
        Ok(end_ids)
    }

    /// The rows that are asked.
    fn some<T>(&self, rows: Vec<T>) -> Result<Vec<T>> {
        self.some_from(rows, |_| true)
    }

    /// The rows that are asked, where several in turn may belong to one: `begins` is true of the first of them.
    fn some_from<T>(&self, mut rows: Vec<T>, begins: impl Fn(&T) -> bool) -> Result<Vec<T>> {
        if let Some(most) = self.rows.and_then(|most| usize::try_from(most).ok()) {
            let next = rows.iter().enumerate().filter(|(_, row)| begins(row)).nth(most).map(|(at, _)| at);
            rows.truncate(next.unwrap_or(rows.len()));
        }
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
        usize::try_from(self.batch).unwrap_or(usize::MAX)
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

    /// Continues every prompt and scores the texts.
    fn generate(&self, protocol: &Generate, ids: &SpecialIds, observer: &mut dyn Observer) -> Result<Answered> {
        if !has_column(self.path, "references")? {
            let problem = "has no column `references`, so there is nothing to compare answers with";
            return Err(Error::file(self.path, problem, "add a block `references` to the template"));
        }
        let texts = self.some(read_texts(self.path)?)?;
        let counters = self.text_counters(texts.iter().map(|texts| texts.references.as_slice()))?;
        let model = self.model(Task::LanguageModel, ids)?;
        let all = self.some(self.prompts(&model)?)?;
        let tokenizer = super::tokenizer(self.data)?;
        let end_ids = self.end_ids(ids)?;
        let decoding = decoding::of(protocol, &end_ids, self.seed);
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
        let Answers { rows: answers, kept } = asking.answers(&all, self.left.map(|left| left.state), observer)?;
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
            let mut counted = metric.count(&compared);
            if decoding.samples() > 1 {
                // Samples of a row are not independent: errors and intervals over them would be too small.
                counted.uncertainty.clear();
            }
            scored.add(name, counted);
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
        let tokens = answers.iter().map(|(_, _, answer)| answer.tokens).sum();
        let failures = answers.iter().filter_map(|(row, _, _)| all.get(*row)).map(|row| &row.failed);
        Ok(Answered { rows: all.len(), ..Answered::new(scored, tokens, failures) })
    }

    /// Scores every row's own tokens.
    fn perplexity(&self, protocol: &Perplexity, ids: &SpecialIds, observer: &mut dyn Observer) -> Result<Answered> {
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
        Ok(Answered::new(scored, read, names.iter().map(|(_, failed)| failed)))
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
            None => scores(&model, &rows, self.batch(), observer)?,
            Some(window) => {
                let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
                let windows = Windows { length: size(window.length), context: size(window.context) };
                windowed_scores(&model, &rows, windows, self.batch(), observer)?
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
        let names = metrics::names(self.metrics);
        let counters = self.metrics.iter().zip(names).enumerate().map(|(index, (metric, name))| {
            let role = Metric::input_role(self.metrics_at, index);
            let folder = self.job.input(&role).map(|input| input.result.as_path());
            let unreadable = |e: data::Error| Error::stopped(e.message, e.place, e.hint.unwrap_or_default());
            match fits(metrics::counter_from(metric, folder).map_err(unreadable)?) {
                Some(counter) => Ok((name, counter)),
                None => Err(Error::setting(
                    self.metrics_at,
                    format!("`{}` cannot be counted from the protocol `{}`", metric.name(), self.protocol.name()),
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

    /// Writes the rows' answers, where they are wanted.
    fn predictions(&self, lines: impl Iterator<Item = Result<Value>>) -> Result<()> {
        let Some(Left { result, .. }) = self.left else { return Ok(()) };
        let path = result.join(files::PREDICTIONS);
        let io = |error| Error::io("write", &path, error);
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).map_err(io)?);
        for line in lines {
            writeln!(file, "{}", line?).map_err(io)?;
        }
        file.flush().map_err(io)
    }
}

impl Answered {
    /// One answer to each row, which failed if there is a reason.
    fn new<'r>(scored: Scored, tokens: usize, failures: impl Iterator<Item = &'r Option<String>>) -> Self {
        let failures: Vec<bool> = failures.map(Option::is_some).collect();
        let failed = failures.iter().filter(|failed| **failed).count();
        Self { scored, tokens, rows: failures.len(), answers: failures.len(), failed }
    }

    /// What `metrics.json` says.
    fn to_json(&self) -> Value {
        let Scored { headline, summaries, uncertainties, signatures, .. } = &self.scored;
        json!({
            "headline": headline,
            "metrics": summaries,
            "uncertainty": uncertainties,
            "signatures": signatures,
            "rows": self.answers,
            "failed": self.failed,
        })
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
pub(super) struct Scored {
    /// The figures that a person looks at, by `metric.figure`.
    pub headline: Map<String, Value>,
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
