//! `track`: where runs are shown while they go on and afterwards. Knows the settings of each tracker, not how one is spoken
//! to. They decide nothing that is made and are in no key.

use std::path::{Component, Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use crate::{
    diagnostic::Diagnostic,
    one_of,
    text::{Document, Scope, Side, YamlPath, decode_as, substitute},
};

/// What the address of a server looks like, for the schema; no name or password stands in it.
const ADDRESS: &str = r"^https?://[^@/?#\s]+([/?#]|$)";
/// What a folder of the project looks like.
const WITHIN: &str = r"^(\.?[^./][^/]*|\.\.[^/]+)(/(\.?[^./][^/]*|\.\.[^/]+))*/?$";

one_of! {
    /// A tracker of experiments.
    pub enum Tracker {
        /// Event files that `tensorboard --logdir` shows: losses and figures by step, and each member's settings.
        tensorboard => TensorBoard(TensorBoard),
        /// A server of MLflow, by its REST interface.
        mlflow => Mlflow(Mlflow),
        /// A server of ClearML, by its REST interface. The best model of a training is registered there.
        clearml => ClearMl(ClearMl),
    }
}

/// Event files for TensorBoard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TensorBoard {
    /// The folder of all pipelines, relative to the project's root; each member has one below it.
    #[schemars(regex(pattern = WITHIN))]
    pub folder: String,
}

impl Default for TensorBoard {
    fn default() -> Self {
        Self { folder: "outputs/tensorboard".into() }
    }
}

/// A server of MLflow. `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, open it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mlflow {
    /// The server's address. Without it, what `MLFLOW_TRACKING_URI` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = ADDRESS))]
    pub uri: Option<String>,
    /// The experiment that runs belong to; it is made where it is not there. Without it, what `MLFLOW_EXPERIMENT_NAME` says,
    /// else the pipeline's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
}

/// A server of ClearML. `CLEARML_API_ACCESS_KEY` and `CLEARML_API_SECRET_KEY` open it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClearMl {
    /// The address of its API server. Without it, what `CLEARML_API_HOST` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = ADDRESS))]
    pub api: Option<String>,
    /// The address of its file server. Without it, what `CLEARML_FILES_HOST` says; without that, no file is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = ADDRESS))]
    pub files: Option<String>,
    /// The project that tasks belong to; it is made where it is not there. Without it, the pipeline's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

impl Tracker {
    /// The tracker of this name with nothing set.
    pub fn plain(name: &str) -> Option<Self> {
        decode_as(&Value::from(name)).ok()
    }

    /// What no type can express: the key, what is wrong, and what to do.
    fn faults(&self) -> Vec<(&'static str, String, &'static str)> {
        let address = |key, address: &Option<String>| {
            let (message, hint) = address_fault(address.as_deref()?)?;
            Some((key, message, hint))
        };
        let found = match self {
            Self::TensorBoard(TensorBoard { folder }) => {
                let is_within = Path::new(folder).components().all(|part| matches!(part, Component::Normal(_)));
                let hint = "write a path relative to the project's root and within it, such as `outputs/tensorboard`";
                [
                    (!is_within || folder.is_empty())
                        .then(|| ("folder", format!("`{folder}` is no folder of the project"), hint)),
                    None,
                ]
            }
            Self::Mlflow(mlflow) => [address("uri", &mlflow.uri), None],
            Self::ClearMl(clearml) => [address("api", &clearml.api), address("files", &clearml.files)],
        };
        found.into_iter().flatten().collect()
    }
}

/// What is wrong with the address of a server, and what to do; nothing where it may be asked.
pub fn address_fault(address: &str) -> Option<(String, &'static str)> {
    let Some(rest) = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://")) else {
        let hint = "write the address of a server, such as `http://127.0.0.1:5000`";
        return Some((format!("`{address}` is no address of a server"), hint));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        let hint = "leave them out: name and password are taken from the environment, so that they are in no file";
        return Some(("an address with a name or password".into(), hint));
    }
    (host.is_empty() || host.contains(char::is_whitespace))
        .then(|| (format!("`{address}` names no host"), "write one such as `http://127.0.0.1:5000`"))
}

/// The trackers that a pipeline file names, variables in place.
///
/// # Errors
/// What is no tracker, a setting that does not fit, and a tracker that stands twice.
pub(crate) fn read(document: &Document, vars: Scope<'_>) -> Result<Vec<Tracker>, Vec<Diagnostic>> {
    let base = YamlPath::keys(["track"]);
    let Some(written) = document.get(&base) else { return Ok(Vec::new()) };
    let substituted = substitute(written.clone(), &base, &[vars])
        .map_err(|fault| vec![document.fault(&fault.path, Side::Value, fault.message, fault.hint)])?;
    let (entries, is_list) = match &substituted.value {
        Value::Sequence(list) => (list.as_slice(), true),
        one => (std::slice::from_ref(one), false),
    };
    let (mut trackers, mut faults) = (Vec::<Tracker>::new(), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        let at = if is_list { YamlPath::root().index(index) } else { YamlPath::root() };
        let place = |path: &YamlPath, side: Side| {
            let path = at.join(&path.0);
            let written = match side {
                Side::Key => substituted.key_path(&base, &path),
                Side::Value | Side::Holder => substituted.document_path(&base, &path),
            };
            document.place(&written, side)
        };
        match decode_as::<Tracker>(entry) {
            Ok(tracker) if trackers.iter().any(|known| known.name() == tracker.name()) => faults.push(
                Diagnostic::new(format!("`{}` stands twice", tracker.name()), "keep one of them")
                    .at(place(&YamlPath::root(), Side::Value)),
            ),
            Ok(tracker) => {
                faults.extend(tracker.faults().into_iter().map(|(key, message, hint)| {
                    Diagnostic::new(message, hint).at(place(&YamlPath::keys([tracker.name(), key]), Side::Value))
                }));
                trackers.push(tracker);
            }
            Err(misfit) => {
                faults.push(Diagnostic::new(misfit.message, misfit.hint).at(place(&misfit.path, misfit.side)));
            }
        }
    }
    if faults.is_empty() { Ok(trackers) } else { Err(faults) }
}
