//! The members of an `inspect` stage: what each began with, and the weights it had at each step that was kept. Knows the
//! files between stages; no formula.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use spec::files;
use spec::inspection::Matrix;
use spec::job::JobInput;
use tch::{Device, Kind, Tensor};
use tensor_files::WeightFiles;

use crate::adapters;
use crate::error::{Error, Result};
use crate::inspect::{Adapter, Base, Change, Part};
use crate::targets::Role;
use crate::weights::read_tensor;

/// A training that can be looked at.
pub struct Member {
    /// Its name for people.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Axis and label.
    pub coordinates: Vec<(String, String)>,
    /// `lora`, `dora` or `full`.
    pub method: &'static str,
    /// What it began with, by its place among all.
    pub base: usize,
    /// Its weights, by rising steps.
    pub states: Vec<State>,
    /// The step of the weights that it left.
    pub kept_step: u64,
    modules: BTreeSet<String>,
}

/// The weights of a member at a step.
pub struct State {
    /// Optimiser steps done.
    pub step: u64,
    weights: Weights,
}

enum Weights {
    Adapter(Adapter),
    Whole(WeightFiles),
}

impl State {
    fn open(step: u64, folder: &Path) -> Result<Self> {
        let weights = match adapters::is_adapter(folder) {
            true => Weights::Adapter(Adapter::open(folder)?),
            false => Weights::Whole(WeightFiles::open(folder)?),
        };
        Ok(Self { step, weights })
    }

    /// What became of a matrix that was `weight`.
    pub fn change(&self, module: &str, weight: &Tensor) -> Result<Option<Change>> {
        let change = match &self.weights {
            Weights::Adapter(adapter) => adapter.change(module)?,
            Weights::Whole(files) => {
                let name = format!("{module}.weight");
                let Some(file) = files.holder(&name) else { return Ok(None) };
                Some(Change::Whole(read_tensor(file, &name, Device::Cpu, Kind::Double)?))
            }
        };
        match change.as_ref().is_none_or(|change| change.fits(weight)) {
            true => Ok(change),
            false => {
                let problem = format!("`{module}` has another shape than the matrix that it was trained on");
                Err(Error::stopped(problem, None, "run the stages again that left the model and the adapter"))
            }
        }
    }
}

impl Member {
    /// Opens what a train stage left; or says why it cannot be looked at.
    pub fn open(input: &JobInput, bases: &mut Bases) -> Result<std::result::Result<Self, String>> {
        let folder = &input.result;
        let kept_step = kept_step(folder)?;
        let snapshots = snapshots(folder)?;
        let end = State::open(kept_step, folder)?;
        let (method, base, modules) = match &end.weights {
            Weights::Adapter(adapter) => {
                let Some(method) = adapter.method() else { return Ok(Err(no_sum(adapter))) };
                let modules: BTreeSet<String> = adapter.modules().into_iter().collect();
                if modules.is_empty() {
                    return Ok(Err("its adapter has no factors".to_owned()));
                }
                let Some(carried) = &input.carried else {
                    let problem =
                        format!("`{}` left an adapter, and the model that it belongs to is not here", input.name());
                    return Err(Error::file(
                        folder,
                        problem,
                        "run the pipeline again with the stage that left the model",
                    ));
                };
                match bases.of_input(carried)? {
                    Ok(base) => (method, base, modules),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
            Weights::Whole(_) => {
                let Some((_, first)) = snapshots.iter().find(|(step, _)| *step == 0) else {
                    let reason = "full fine-tuning keeps nothing of what it began with; give its stage \
                                  `snapshots`, whose first is that";
                    return Ok(Err(reason.to_owned()));
                };
                let base = bases.whole(first)?;
                ("full", base, bases.inner_modules(base))
            }
        };
        let mut states = vec![end];
        for (step, folder) in snapshots.iter().filter(|(step, _)| *step != kept_step) {
            states.push(State::open(*step, folder)?);
        }
        states.sort_by_key(|state| state.step);
        Ok(Ok(Self {
            name: input.name(),
            stage: input.stage.clone(),
            coordinates: input.coordinates.clone(),
            method,
            base,
            states,
            kept_step,
            modules,
        }))
    }

    /// Whether it changes a matrix.
    pub fn changes(&self, module: &str) -> bool {
        self.modules.contains(module)
    }
}

/// Why an adapter without factors is left out.
fn no_sum(adapter: &Adapter) -> String {
    let names: Vec<_> = adapter
        .parts()
        .iter()
        .filter_map(|part| match part {
            Part::Other(name) => Some(format!("`{name}`")),
            Part::Factors { .. } => None,
        })
        .collect();
    format!("{} adds no matrix to a weight, so there is no ΔW", names.join(" and "))
}

/// The step whose weights a training left.
fn kept_step(folder: &Path) -> Result<u64> {
    let path = folder.join(files::SUMMARY);
    let text = std::fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
    let summary: Option<Value> = serde_json::from_slice(&text).ok();
    summary.and_then(|summary| summary.get("kept_step")?.as_u64()).ok_or_else(|| {
        Error::file(&path, "does not say which step's weights were kept (`kept_step`)", "run the train stage again")
    })
}

/// The folders of a training's snapshots by rising steps.
fn snapshots(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let folder = folder.join(files::SNAPSHOTS);
    let io = |error| Error::io("read", &folder, error);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io)?;
        let step = entry.file_name().to_str().and_then(files::snapshot_step);
        found.extend(step.map(|step| (step, entry.path())));
    }
    found.sort();
    Ok(found)
}

/// What trainings began with, each opened once.
#[derive(Default)]
pub struct Bases(Vec<(Vec<PathBuf>, Base)>);

impl Bases {
    /// The model in a folder.
    fn whole(&mut self, folder: &Path) -> Result<usize> {
        self.add(vec![folder.to_owned()], || Base::whole(folder))
    }

    /// What a stage left, an adapter with all that it stands on; or why that is no base here.
    fn of_input(&mut self, input: &JobInput) -> Result<std::result::Result<usize, String>> {
        let mut folders = Vec::new();
        let mut next = Some(input);
        while let Some(input) = next {
            let folder = match &input.part {
                Some(part) => input.result.join(part),
                None => input.result.clone(),
            };
            let is_adapter = adapters::is_adapter(&folder);
            folders.push(folder);
            next = input.carried.as_deref().filter(|_| is_adapter);
        }
        folders.reverse();
        let Some((first, adapters)) = folders.split_first() else { return Ok(Err("it stands on nothing".to_owned())) };
        let open = || adapters.iter().try_fold(Base::whole(first)?, |base, folder| base.adapted(folder));
        match self.add(folders.clone(), open) {
            Ok(base) => Ok(Ok(base)),
            Err(error @ Error::File { .. }) if !adapters.is_empty() => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }

    fn add(&mut self, folders: Vec<PathBuf>, open: impl FnOnce() -> Result<Base>) -> Result<usize> {
        if let Some(known) = self.0.iter().position(|(other, _)| *other == folders) {
            return Ok(known);
        }
        let base = open()?;
        self.0.push((folders, base));
        Ok(self.0.len() - 1)
    }

    /// A matrix of a base in float64.
    pub fn weight(&self, base: usize, module: &str) -> Result<Option<Tensor>> {
        self.0.get(base).map_or(Ok(None), |(_, base)| base.weight(module))
    }

    /// The linear maps of a base, its head not among them.
    fn inner_modules(&self, base: usize) -> BTreeSet<String> {
        let matrices = self.0.get(base).into_iter().flat_map(|(_, base)| base.matrices().iter());
        let inner = matrices.filter(|matrix| !matches!(matrix.place.role, Role::Head | Role::Embedding));
        inner.map(|matrix| matrix.place.name.clone()).collect()
    }

    /// The matrices that any of the members changes, in the order of the models.
    pub fn matrices_of(&self, members: &[Member]) -> Vec<Matrix> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for (index, (_, base)) in self.0.iter().enumerate() {
            for matrix in base.matrices().iter() {
                let name = &matrix.place.name;
                let is_changed = members.iter().any(|member| member.base == index && member.changes(name));
                if is_changed && seen.insert(name.clone()) {
                    let (module, role) = (name.clone(), matrix.place.role.name().to_owned());
                    found.push(Matrix { module, role, layer: matrix.layer });
                }
            }
        }
        found
    }
}
