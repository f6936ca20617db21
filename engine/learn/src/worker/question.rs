//! What a training asks on its way: the rows of its validation split, its protocol and its metrics, of the model in hand.
//! Knows the words of pipeline files; how a model is asked is the `evaluate` stage's.

use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};
use spec::files;
use spec::job::{Job, JobInput};
use spec::metric::Metric;
use spec::model::ModelSource;
use spec::protocol::Protocol;
use spec::stage::{EvaluateBatch, KeepBest, Train, Validate};
use tch::Device;

use super::evaluate::{Asked, Whom};
use super::model_source;
use super::special_ids::SpecialIds;
use super::train;
use crate::error::{Error, Result};
use crate::models::Model;
use crate::observer::{Observer, Unobserved};
use crate::train::{Asks, Figures};

/// A question to the model in training.
pub struct Question<'a> {
    job: &'a Job,
    data: &'a JobInput,
    path: PathBuf,
    split: &'a str,
    protocol: &'a Protocol,
    metrics: &'a [Metric],
    rows: Option<u64>,
    batch: u64,
    best: &'a KeepBest,
    ids: &'a SpecialIds,
    /// What ends a text besides the data's ids.
    end_ids: Vec<i64>,
    device: Device,
}

impl fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("split", &self.split).field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl<'a> Question<'a> {
    /// That of a stage, where there is one.
    pub fn new(
        job: &'a Job,
        stage: &'a Train,
        validate: &'a Validate,
        ids: &'a SpecialIds,
        device: Device,
    ) -> Result<Option<Self>> {
        let Some(protocol) = &validate.protocol else { return Ok(None) };
        let data = train::data(job)?;
        // A whole model is left with the data's own end ids; an adapter goes on with those of its model.
        let end_ids = match &stage.model {
            ModelSource::Stage(_) if stage.adapter.is_adapter() => model_source::end_ids(job)?,
            _ => Vec::new(),
        };
        Ok(Some(Self {
            job,
            data,
            path: data.file(&files::split(&validate.on)),
            split: &validate.on,
            protocol,
            metrics: &validate.metrics,
            rows: validate.rows,
            batch: validate.batch.as_ref().map_or(EvaluateBatch::default().size, |batch| batch.size),
            best: validate.best(),
            ids,
            end_ids,
            device,
        }))
    }

    /// Asks of one row, so that rows and metrics that do not go together are found before the training.
    pub fn try_out(&self, model: &Model) -> Result<()> {
        self.headline(model, Some(1), &mut Unobserved).map(drop)
    }

    fn headline(&self, model: &Model, rows: Option<u64>, observer: &mut dyn Observer) -> Result<Map<String, Value>> {
        let asked = Asked {
            job: self.job,
            model: Whom::InHand { model, end_ids: &self.end_ids },
            data: self.data,
            path: &self.path,
            split: self.split,
            rows,
            protocol: self.protocol,
            metrics: self.metrics,
            metrics_at: "validate.metrics",
            batch: self.batch,
            seed: 0,
            device: self.device,
            left: None,
            kept: Cell::new(0),
        };
        Ok(asked.answered(self.ids, observer)?.scored.headline)
    }
}

impl Asks for Question<'_> {
    fn figures(&self, model: &Model, observer: &mut dyn Observer) -> Result<Figures> {
        let headline = self.headline(model, self.rows, observer)?;
        if let KeepBest::Figure(name) = self.best
            && !headline.contains_key(name)
        {
            let names = headline.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let problem = format!("`{name}` is not counted: no row of the split `{}` that is asked has it", self.split);
            return Err(Error::setting("validate.keep.best", problem, format!("use one of `loss`, {names}")));
        }
        Ok(headline.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect())
    }
}
