//! The loop over steps, from the newest good checkpoint to the end. Knows when what is done; the parts know how.

use std::path::Path;
use std::time::Instant;

use tch::Tensor;

use super::checkpoint::Checkpoints;
use super::history::{History, NotFinite, Step};
use super::resume::{self, Position, Times};
use super::settings::{Best, Every, Settings};
use super::snapshots::{Snapshots, Taken};
use super::step::{self, Rule, Weights, not_finite};
use super::validation::{Asks, During, Figures, Scored, loss_of};
use crate::batches;
use crate::clock::{self, Part, PartSeconds};
use crate::error::{Error, Result, some_of};
use crate::models::Model;
use crate::objectives::Examples;
use crate::observer::Observer;
use crate::schedule::Schedule;

/// The most steps whose losses wait to be read.
const WAITING: usize = 64;

/// A training that can be run.
#[derive(Debug)]
pub struct Training<'a> {
    /// The model; its trainable tensors change in place.
    pub model: &'a Model,
    /// What is learned.
    pub examples: &'a dyn Examples,
    /// What has its loss computed on the way.
    pub validation: Option<&'a dyn Examples>,
    /// What the model is asked then.
    pub asks: Option<&'a dyn Asks>,
    /// How.
    pub settings: &'a Settings,
    /// What is kept of the weights as they were on the way.
    pub snapshots: Option<Snapshots<'a>>,
    /// The folder of the checkpoints, the snapshots and the history so far.
    pub state: &'a Path,
}

/// What a training did. The model holds the weights that are to be kept.
#[derive(Debug)]
pub struct Outcome {
    /// Steps done.
    pub steps: u64,
    /// Epochs done, the last perhaps in part.
    pub epochs: f64,
    /// Token ids read.
    pub tokens: u64,
    /// Targets that carried loss.
    pub loss_tokens: u64,
    /// The step whose weights are kept.
    pub kept_step: u64,
    /// The validation of the kept weights.
    pub validation: Option<Scored>,
    /// The step of the best validation.
    pub best_step: Option<u64>,
    /// The mean training loss over the last epoch's length of steps.
    pub training_loss: f64,
    /// Whether patience ended it before its last step.
    pub stopped_early: bool,
    /// Steps whose gradients had overflowed, where the loss is scaled.
    pub skipped_steps: Option<u64>,
    /// The step it went on from, where it did not begin at the start.
    pub resumed_from: Option<u64>,
    /// Seconds of the whole training, of earlier attempts as well.
    pub seconds: f64,
    /// Seconds in steps alone, without validation and checkpoints.
    pub step_seconds: f64,
    /// Where they went, and how long the rest took.
    pub times: Times,
}

impl Training<'_> {
    /// Trains from the newest good checkpoint, or from the start. The history is left at `history`, the snapshots beside it.
    pub fn run(&self, history: &Path, observer: &mut dyn Observer) -> Result<Outcome> {
        let (mut run, resumed_from) = Run::start(self, observer)?;
        if let Some(step) = resumed_from {
            observer.warning(format!("going on from the checkpoint of step {step}"));
        }
        if run.position.step == 0 {
            run.snapshot()?;
        }
        while !run.ended() {
            run.step()?;
            if run.validation_due() {
                run.validate(observer)?;
            }
            if run.snapshot_due() {
                run.snapshot()?;
            }
            let interrupted = observer.interrupted() && !run.ended();
            if interrupted || run.position.step.is_multiple_of(self.settings.checkpoint) {
                run.checkpoint()?;
            }
            run.report(observer)?;
            if interrupted {
                let step = run.position.step;
                let hint = "run again: the training goes on from there";
                return Err(Error::stopped(format!("interrupted; step {step} is saved"), None, hint));
            }
        }
        run.finish(history, resumed_from)
    }
}

struct Run<'a> {
    training: &'a Training<'a>,
    schedule: Schedule,
    rule: Rule,
    weights: Weights,
    best: Option<Tensor>,
    position: Position,
    history: History,
    checkpoints: Checkpoints,
    taken: Option<Taken<'a>>,
    saved: Option<u64>,
    /// The batches of the epoch that has begun.
    batches: Vec<Vec<usize>>,
    per_epoch: u64,
    waiting: usize,
    started: Instant,
    /// Of this process's steps alone, for the throughput of the moment.
    speed: Speed,
}

#[derive(Debug, Clone, Copy, Default)]
struct Speed {
    steps: u64,
    tokens: u64,
    seconds: f64,
}

impl<'a> Run<'a> {
    fn start(training: &'a Training<'a>, observer: &mut dyn Observer) -> Result<(Self, Option<u64>)> {
        let settings = training.settings;
        let checkpoints = Checkpoints::open(&training.state.join("checkpoints"))?;
        let path = training.state.join("history.jsonl");
        let per_epoch = batches::per_epoch(training.examples.len(), settings.batch);
        let taken =
            training.snapshots.map(|snapshots| Taken::open(snapshots, training.state, per_epoch)).transpose()?;
        let mut weights = Weights::new(training.model)?;
        let mut resumed = None;
        for step in checkpoints.steps()?.into_iter().rev() {
            if taken.as_ref().is_some_and(|taken| !taken.has_all_until(step)) {
                observer.warning(format!("the checkpoint of step {step} cannot be used: a snapshot before it is gone"));
                continue;
            }
            match checkpoints.load::<Position>(step).and_then(|found| resume::restore(&mut weights, found, &path)) {
                Ok(found) => {
                    resumed = Some(found);
                    break;
                }
                Err(error) => observer.warning(format!("the checkpoint of step {step} cannot be used: {error}")),
            }
        }
        let resumed_from = resumed.as_ref().map(|(position, _, _)| position.step);
        let (position, best, history) = match resumed {
            Some(found) => found,
            None => (Position::start(), None, History::open(&path, 0)?),
        };
        if let Some(taken) = &taken {
            taken.forget_after(resumed_from)?;
        }
        let rule = Rule {
            micro: settings.micro,
            normalize: settings.normalize,
            dropout_seed: settings.dropout_seed,
            clip: settings.clip,
            optimizer: settings.optimizer,
        };
        let run = Self {
            training,
            schedule: settings.schedule(settings.steps(per_epoch)),
            rule,
            weights,
            best,
            position,
            history,
            checkpoints,
            taken,
            saved: resumed_from,
            batches: Vec::new(),
            per_epoch,
            waiting: 0,
            started: Instant::now(),
            speed: Speed::default(),
        };
        Ok((run, resumed_from))
    }

    fn out_of_patience(&self) -> bool {
        let since = self.position.validations.since_best;
        self.training.settings.validate.patience.is_some_and(|patience| since >= patience)
    }

    fn ended(&self) -> bool {
        self.position.step >= self.schedule.total || self.out_of_patience()
    }

    /// Epochs done, the last in part.
    fn epochs(&self) -> f64 {
        self.position.epoch as f64 + self.position.batch as f64 / self.per_epoch as f64
    }

    fn step(&mut self) -> Result<()> {
        let started = Instant::now();
        let Training { examples, settings, model, .. } = *self.training;
        if self.batches.is_empty() {
            self.batches = examples.epoch(settings.data_seed, self.position.epoch, settings.batch);
        }
        let batch = self.batches.get(self.position.batch as usize).cloned().unwrap_or_default();
        let learning_rate = settings.learning_rate * self.schedule.factor(self.position.step);
        let mut step = || self.weights.step(model, examples, &batch, &self.rule, learning_rate);
        let done = if clock::is_due(model.device, self.position.step) {
            let choosing = started.elapsed().as_secs_f64();
            let (done, parts) = clock::measured(model.device, Part::Optimizer, step);
            let times = &mut self.position.times;
            times.parts = times.parts.plus(parts).plus(PartSeconds { data: choosing, ..PartSeconds::default() });
            times.steps += 1;
            done?
        } else {
            step()?
        };
        self.position.step += 1;
        self.position.batch += 1;
        if self.position.batch == self.per_epoch {
            self.position.batch = 0;
            self.position.epoch += 1;
            self.batches.clear();
        }
        self.position.tokens += done.tokens;
        self.position.loss_tokens += done.loss_tokens;
        self.history.add(Step {
            number: self.position.step,
            epoch: self.epochs(),
            learning_rate,
            tokens: done.tokens,
            loss_tokens: done.loss_tokens,
            rows: batch,
            loss: done.loss,
            penalty: done.penalty,
            norm: done.norm,
            skipped: done.skipped,
        });
        self.waiting += 1;
        if self.waiting >= WAITING {
            self.read_losses()?;
        }
        let seconds = started.elapsed().as_secs_f64();
        self.position.step_seconds += seconds;
        self.speed.steps += 1;
        self.speed.tokens += done.tokens;
        self.speed.seconds += seconds;
        Ok(())
    }

    /// Waits for the device and writes the losses of the steps so far. One that is not finite ends the training.
    fn read_losses(&mut self) -> Result<()> {
        self.waiting = 0;
        match self.history.flush()? {
            None => Ok(()),
            Some(fault) => Err(self.not_finite(&fault)),
        }
    }

    fn not_finite(&self, fault: &NotFinite) -> Error {
        let ids = fault.rows.iter().filter_map(|&index| self.training.examples.row(index)).map(|row| row.id());
        let saved = match self.saved {
            Some(step) => format!("the last good checkpoint is that of step {step}"),
            None => "there is no checkpoint yet".to_owned(),
        };
        let problem = format!("the {} is not finite: {}", fault.what, fault.value);
        let place = format!("step {}, rows {}", fault.step, some_of(ids));
        let advice = format!("lower `learning_rate`, add a `warmup` or set `clip`; look at these rows; {saved}");
        self.blamed(problem, place, advice)
    }

    /// A figure that is not finite: because of the frozen weights, where these are not, else for what `advice` is against.
    fn blamed(&self, problem: String, place: String, advice: String) -> Error {
        match not_finite(self.training.model.frozen.iter()) {
            Ok(faulty) if !faulty.is_empty() => {
                let list = some_of(faulty.iter().copied());
                let problem = format!("{problem}, and the base model's own weights hold such numbers: {list}");
                Error::stopped(problem, Some(place), step::OTHER_WEIGHTS)
            }
            Ok(_) => Error::stopped(problem, Some(place), advice),
            Err(error) => error,
        }
    }

    fn validation_due(&self) -> bool {
        let Position { step, epoch, batch, .. } = self.position;
        self.training.validation.is_some()
            && (step == self.schedule.total
                || match self.training.settings.validate.every {
                    Every::Steps(steps) => step.is_multiple_of(steps),
                    Every::Epochs(epochs) => batch == 0 && epoch.is_multiple_of(epochs),
                })
    }

    fn validate(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Training { model, settings, validation, asks, .. } = *self.training;
        self.read_losses()?;
        let started = Instant::now();
        let loss = match validation {
            Some(examples) => loss_of(model, examples, settings.normalize, settings.micro)?,
            None => f64::NAN,
        };
        let step = self.position.step;
        if !loss.is_finite() {
            let advice = "lower `learning_rate`, add a `warmup` or set `clip`".to_owned();
            return Err(self.blamed(format!("the validation loss is {loss}"), format!("step {step}"), advice));
        }
        let mut during = During { observer, step, total: self.schedule.total };
        let figures = asks.map_or(Ok(Figures::new()), |asks| asks.figures(model, &mut during))?;
        self.position.times.validation += started.elapsed().as_secs_f64();
        let scored = Scored { step, loss, figures };
        if let (None, Best::Figure { name, .. }) = (settings.validate.best.of(&scored), &settings.validate.best) {
            observer
                .warning(format!("step {step}: `{name}` is no number on these rows, so this state is not the best"));
        }
        self.history.validation(self.epochs(), &scored)?;
        if self.position.validations.add(scored, &settings.validate.best) && settings.validate.keep_best {
            let _guard = tch::no_grad_guard();
            let mut copy = self.weights.flat.values().f_zeros_like()?;
            copy.f_copy_(self.weights.flat.values())?;
            self.best = Some(copy);
        }
        Ok(())
    }

    fn snapshot_due(&self) -> bool {
        self.taken.as_ref().is_some_and(|taken| self.ended() || taken.is_due(self.position.step))
    }

    /// Keeps the weights as they are now, where that is asked for.
    fn snapshot(&mut self) -> Result<()> {
        if self.taken.is_none() {
            return Ok(());
        }
        self.read_losses()?;
        let started = Instant::now();
        if let Some(taken) = &self.taken {
            taken.take(self.position.step, self.training.model)?;
        }
        self.position.times.checkpoints += started.elapsed().as_secs_f64();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.read_losses()?;
        let started = Instant::now();
        self.history.sync()?;
        self.position.history_bytes = self.history.bytes();
        let mut now = self.position.clone();
        now.seconds = self.seconds();
        now.loss_scale.clone_from(&self.weights.loss_scale);
        let tensors = resume::tensors(&self.weights, self.best.as_ref())?;
        self.checkpoints.save(self.position.step, &now, &tensors)?;
        self.saved = Some(self.position.step);
        self.position.times.checkpoints += started.elapsed().as_secs_f64();
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.position.seconds + self.started.elapsed().as_secs_f64()
    }

    fn report(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if !observer.due() {
            return Ok(());
        }
        self.read_losses()?;
        let (done, total) = (self.position.step, self.schedule.total);
        let Speed { steps, tokens, seconds } = self.speed;
        let loss = self.history.last_loss().unwrap_or(f32::NAN);
        let left = (seconds / steps.max(1) as f64 * (total - done) as f64).round() as u64;
        let throughput = tokens as f64 / seconds.max(1e-9);
        let figure = self.figure().unwrap_or_default();
        observer.progress(done, total, "steps", &|| {
            format!("loss {loss:.4}{figure} · {throughput:.0} tokens/s · {}:{:02} left", left / 60, left % 60)
        });
        Ok(())
    }

    /// The newest validation's figure that decides, or the first there is.
    fn figure(&self) -> Option<String> {
        let figures = &self.position.validations.last.as_ref()?.figures;
        let (name, value) = match &self.training.settings.validate.best {
            Best::Figure { name, .. } => figures.get_key_value(name)?,
            Best::Loss => figures.first_key_value()?,
        };
        Some(format!(" · {name} {value:.4}"))
    }

    fn finish(mut self, history: &Path, resumed_from: Option<u64>) -> Result<Outcome> {
        self.read_losses()?;
        let Position { step, tokens, loss_tokens, step_seconds, times, .. } = self.position;
        let validations = std::mem::take(&mut self.position.validations);
        let best_step = validations.best.as_ref().map(|best| best.step);
        let stopped_early = step < self.schedule.total;
        let mut kept = validations.last;
        if let Some(best) = &self.best {
            let _guard = tch::no_grad_guard();
            self.weights.flat.values().shallow_clone().f_copy_(best)?;
            kept = validations.best;
        }
        self.history.copy_to(history)?;
        if let (Some(taken), Some(result)) = (&self.taken, history.parent()) {
            taken.leave_in(result)?;
        }
        let window = self.per_epoch.min(step);
        Ok(Outcome {
            steps: step,
            epochs: self.epochs(),
            tokens,
            loss_tokens,
            kept_step: if self.best.is_some() { kept.as_ref().map_or(step, |kept| kept.step) } else { step },
            validation: kept,
            best_step,
            training_loss: self.history.mean_loss_after(step - window)?.unwrap_or(f64::NAN),
            stopped_early,
            skipped_steps: self.weights.loss_scale.as_ref().map(|scale| scale.skipped),
            resumed_from,
            seconds: self.seconds(),
            step_seconds,
            times,
        })
    }
}
