//! The history of a training: one JSON line for each step and each validation. Losses stay on the device until they are
//! written, so that no step waits for it. Knows numbers and a file; no model.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::validation::{Figures, Scored};
use crate::error::{Error, Result};

/// A step whose figures may still be on the device.
#[derive(Debug)]
pub struct Step {
    /// Its number, from 1 on.
    pub number: u64,
    /// Epochs seen after it.
    pub epoch: f64,
    /// The learning rate that it used.
    pub learning_rate: f64,
    /// Token ids read.
    pub tokens: u64,
    /// Targets that carried loss.
    pub loss_tokens: u64,
    /// Its rows, as indices.
    pub rows: Vec<usize>,
    /// The mean loss of its targets, one number.
    pub loss: Tensor,
    /// What penalties added to it, one number, where there are some.
    pub penalty: Option<Tensor>,
    /// The norm of all gradients before clipping, one number.
    pub norm: Tensor,
    /// Whether the gradients had overflowed, so that there is no norm and nothing was learned.
    pub skipped: bool,
}

/// A figure that is not finite.
#[derive(Debug)]
pub struct NotFinite {
    /// The step.
    pub step: u64,
    /// What it is.
    pub what: &'static str,
    /// Its value: NaN or infinite.
    pub value: f32,
    /// The step's rows, as indices.
    pub rows: Vec<usize>,
}

/// One line of the history that is a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StepLine {
    step: u64,
    epoch: f64,
    loss: f32,
    /// None where nothing is penalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    penalty: Option<f32>,
    learning_rate: f64,
    /// None of a step that was skipped.
    grad_norm: Option<f32>,
    tokens: u64,
    loss_tokens: u64,
}

/// One line of the history that is a validation.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ValidationLine<'a> {
    step: u64,
    epoch: f64,
    validation_loss: f64,
    /// None where only the loss is computed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metrics: &'a Figures,
}

/// The file, and the steps that are not written yet.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    file: File,
    bytes: u64,
    waiting: Vec<Step>,
    last_loss: Option<f32>,
}

impl History {
    /// Opens the file at `path` and cuts it to its first `bytes`: what a resumed training has done. Fails when it is
    /// shorter.
    pub fn open(path: &Path, bytes: u64) -> Result<Self> {
        let io = |error| Error::io("open", path, error);
        let mut file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length < bytes {
            return Err(Error::file(path, "is shorter than the checkpoint says", "remove it to start over"));
        }
        file.set_len(bytes).map_err(io)?;
        file.seek(SeekFrom::Start(bytes)).map_err(io)?;
        Ok(Self { path: path.to_owned(), file, bytes, waiting: Vec::new(), last_loss: None })
    }

    /// How long the file is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The loss of the newest step that was written.
    pub fn last_loss(&self) -> Option<f32> {
        self.last_loss
    }

    /// Adds a step; its figures are not looked at yet.
    pub fn add(&mut self, step: Step) {
        self.waiting.push(step);
    }

    /// Reads the figures of all waiting steps and writes their lines, as far as they are finite.
    pub fn flush(&mut self) -> Result<Option<NotFinite>> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let read = |figure: fn(&Step) -> &Tensor| -> Result<Vec<f32>> {
            let figures: Vec<&Tensor> = self.waiting.iter().map(figure).collect();
            Ok(Vec::try_from(Tensor::f_stack(&figures, 0)?)?)
        };
        let (losses, norms) = (read(|step| &step.loss)?, read(|step| &step.norm)?);
        let mut text = Vec::new();
        let mut fault = None;
        for ((step, loss), norm) in std::mem::take(&mut self.waiting).into_iter().zip(losses).zip(norms) {
            let Step { number, epoch, penalty, learning_rate, tokens, loss_tokens, rows, skipped, .. } = step;
            let not_finite = [("loss", loss), ("norm of the gradients", norm)].into_iter().find(|f| !f.1.is_finite());
            if let Some((what, value)) = not_finite {
                fault = Some(NotFinite { step: number, what, value, rows });
                break;
            }
            self.last_loss = Some(loss);
            let grad_norm = (!skipped).then_some(norm);
            let penalty = penalty.map(|penalty| Ok::<_, Error>(penalty.f_double_value(&[])? as f32)).transpose()?;
            let line = StepLine { step: number, epoch, loss, penalty, learning_rate, grad_norm, tokens, loss_tokens };
            self.line(&mut text, &line)?;
        }
        self.write(&text)?;
        Ok(fault)
    }

    /// Writes the line of a validation.
    pub fn validation(&mut self, epoch: f64, scored: &Scored) -> Result<()> {
        let mut text = Vec::new();
        let Scored { step, loss, figures } = scored;
        self.line(&mut text, &ValidationLine { step: *step, epoch, validation_loss: *loss, metrics: figures })?;
        self.write(&text)
    }

    /// Brings what was written to the disk, before a checkpoint counts on it.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io("write", &self.path, error))
    }

    /// The mean loss of the steps after `step`, each weighed by its targets.
    pub fn mean_loss_after(&self, step: u64) -> Result<Option<f64>> {
        let file = File::open(&self.path).map_err(|error| Error::io("open", &self.path, error))?;
        let (mut sum, mut targets) = (0.0, 0.0);
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|error| Error::io("read", &self.path, error))?;
            if let Ok(line) = serde_json::from_str::<StepLine>(&line)
                && line.step > step
            {
                sum += f64::from(line.loss) * line.loss_tokens as f64;
                targets += line.loss_tokens as f64;
            }
        }
        Ok((targets > 0.0).then(|| sum / targets))
    }

    /// Copies the file to `path`.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        std::fs::copy(&self.path, path).map(drop).map_err(|error| Error::io("write", path, error))
    }

    fn line(&self, text: &mut Vec<u8>, line: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut *text, line).map_err(|error| Error::io("write", &self.path, error.into()))?;
        text.push(b'\n');
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> Result<()> {
        self.file.write_all(text).map_err(|error| Error::io("write", &self.path, error))?;
        self.bytes += text.len() as u64;
        Ok(())
    }
}
