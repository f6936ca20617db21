//! What `engine` hands to the process that does a stage, and what that process answers: one JSON document in, one
//! JSON event a line out. Knows neither how a stage is done nor how processes are started.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::reference::quoted;

/// One stage to be done, whole: nothing else decides what it makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The stage's kind.
    pub kind: String,
    /// The stage and its member, for messages: `tuned[method=dora,seed=0]`.
    pub name: String,
    /// The settings, resolved, defaults filled in.
    pub settings: serde_json::Value,
    /// What other stages left, by role.
    pub inputs: BTreeMap<String, Vec<JobInput>>,
    /// Files of the project, by role, as absolute paths.
    pub files: BTreeMap<String, PathBuf>,
    /// An empty folder for what the stage leaves: the same bytes each time.
    pub result: PathBuf,
    /// An empty folder for what was observed on the way: times, memory, throughput. Never digested.
    pub observed: PathBuf,
    /// A folder that outlives a killed attempt at the same key: checkpoints.
    pub state: PathBuf,
    /// Threads the stage may use.
    pub threads: usize,
    /// The device to compute on.
    pub device: Device,
    /// The revision that the lock pins of what is downloaded, as the stage itself put it; `None` for the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Where the run came from, for a stage that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Where a run came from: what someone needs to do it again. Decides nothing, and is in no key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The command, without what looks like a secret.
    pub command: String,
    /// The engine's version.
    pub engine: String,
    /// The project's commit; nothing where git knows of none.
    pub commit: Option<String>,
    /// Whether files that can decide a result differed from it; nothing where git could not tell.
    pub changed: Option<bool>,
}

/// What one member of a stage left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobInput {
    /// The stage's name.
    pub stage: String,
    /// The stage's kind.
    pub kind: String,
    /// The member: axis to label, in the order of the axes.
    pub coordinates: Vec<(String, String)>,
    /// The part that the reference names, such as a split.
    pub part: Option<String>,
    /// The folder with what it left.
    pub result: PathBuf,
    /// The folder with what was observed while it ran.
    pub observed: PathBuf,
    /// What is read with it: the model that an adapter belongs to.
    pub carried: Option<Box<JobInput>>,
    /// How it was made, for a stage that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
}

/// How a member was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Its settings, defaults filled in.
    pub settings: serde_json::Value,
    /// The `select` stages that choose by what it left.
    pub chosen_by: Vec<String>,
}

impl JobInput {
    /// The member's name: `tuned[method=dora,seed=0]`.
    pub fn name(&self) -> String {
        member_name(&self.stage, &self.coordinates)
    }

    /// A file that it left.
    pub fn file(&self, name: &str) -> PathBuf {
        self.result.join(name)
    }
}

/// The name of a member for people: the stage, then its coordinates in brackets; a reference that means it alone.
pub fn member_name(stage: &str, coordinates: &[(String, String)]) -> String {
    if coordinates.is_empty() {
        return stage.to_owned();
    }
    let entries: Vec<_> = coordinates.iter().map(|(axis, label)| format!("{axis}={}", quoted(label))).collect();
    format!("{stage}[{}]", entries.join(","))
}

/// The device to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// CUDA where there is a device, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device by number.
    Cuda(usize),
}

/// What a stage says while it runs, one JSON object a line on standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// How far it is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
        /// What is counted: `rows`, `steps`, `bytes`.
        unit: String,
        /// Figures of the moment, such as `loss 1.234 · 812 tokens/s`.
        note: String,
    },
    /// Something a person should know though the stage goes on.
    Warning {
        /// The text.
        message: String,
    },
    /// The stage is done; everything is written.
    Finished,
    /// The stage failed.
    Failed(Failure),
}

/// Why a stage failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What is wrong.
    pub message: String,
    /// Where: a file and line, or a split and row.
    pub place: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Job {
    /// The only member of an input that is not gathered.
    pub fn input(&self, role: &str) -> Option<&JobInput> {
        self.inputs.get(role).and_then(|members| members.first())
    }

    /// A project file by role.
    pub fn local_file(&self, role: &str) -> Option<&Path> {
        self.files.get(role).map(PathBuf::as_path)
    }
}
