//! What the environment says of trackers: which are on, where they are, and what opens them. Knows names of variables.
//!
//! Names and passwords go to a server that the environment names itself, and to no other: a pipeline file may come from
//! anybody, and must not be able to send a password somewhere.

use std::path::{Path, PathBuf};

use spec::track::{self, address_fault};

use crate::{
    clearml::{ClearMl, Files},
    http::{Server, basic},
    mlflow::Mlflow,
    tensorboard::TensorBoard,
    tracker::Tracker,
};

/// The variable that turns trackers on, by their names, or all of them off.
const TRACK: &str = "ENGINE_TRACK";
const OFF: &str = "off";

/// A tracker that cannot be used: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// A tracker that can be told.
pub struct Ready {
    pub(crate) tracker: Box<dyn Tracker>,
    /// Where it is kept what it has had, if it belongs beside what it writes.
    pub(crate) ledger: Option<PathBuf>,
}

/// The environment.
pub struct Surroundings<'a> {
    /// The value of a variable; empty ones count as unset.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The project's root.
    pub root: &'a Path,
    /// The pipeline, with its variant.
    pub pipeline: &'a str,
}

impl Surroundings<'_> {
    /// The trackers of a pipeline file and of the environment, ready to be told.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn trackers(&self, of_the_file: &[track::Tracker]) -> Result<Vec<Ready>, Unusable> {
        self.wanted(of_the_file)?.iter().map(|tracker| self.ready(tracker)).collect()
    }

    fn wanted(&self, of_the_file: &[track::Tracker]) -> Result<Vec<track::Tracker>, Unusable> {
        let mut all = of_the_file.to_vec();
        let named = self.get(TRACK).unwrap_or_default();
        for name in named.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == OFF {
                return Ok(Vec::new());
            }
            let tracker = track::Tracker::plain(name).ok_or_else(|| Unusable {
                message: format!("{TRACK} names `{name}`, which is no tracker"),
                hint: spec::suggest::did_you_mean(name, track::Tracker::NAMES.iter().copied().chain([OFF])),
            })?;
            if !all.iter().any(|known| known.name() == name) {
                all.push(tracker);
            }
        }
        Ok(all)
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.trim().is_empty())
    }

    fn ready(&self, tracker: &track::Tracker) -> Result<Ready, Unusable> {
        match tracker {
            track::Tracker::TensorBoard(settings) => {
                let folder = self.root.join(&settings.folder);
                let ledger = folder.join(self.pipeline).join(".sent.jsonl");
                let tracker = TensorBoard::new(&folder, &settings.folder, self.pipeline);
                Ok(Ready { tracker: Box::new(tracker), ledger: Some(ledger) })
            }
            track::Tracker::Mlflow(settings) => {
                let (address, is_ours) =
                    self.address("mlflow", "uri", settings.uri.as_deref(), "MLFLOW_TRACKING_URI")?;
                let token = self.get("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}"));
                let password = || {
                    let name = self.get("MLFLOW_TRACKING_USERNAME")?;
                    Some(basic(&name, &self.get("MLFLOW_TRACKING_PASSWORD").unwrap_or_default()))
                };
                let server = Server::new(&address, token.or_else(password).filter(|_| is_ours));
                let experiment = settings.experiment.clone().or_else(|| self.get("MLFLOW_EXPERIMENT_NAME"));
                let experiment = experiment.unwrap_or_else(|| self.pipeline.to_owned());
                Ok(Ready { tracker: Box::new(Mlflow::new(server, experiment)), ledger: None })
            }
            track::Tracker::ClearMl(settings) => {
                let (api, is_ours) = self.address("clearml", "api", settings.api.as_deref(), "CLEARML_API_HOST")?;
                let keys = self.get("CLEARML_API_ACCESS_KEY").zip(self.get("CLEARML_API_SECRET_KEY"));
                let files = settings.files.clone().or_else(|| self.get("CLEARML_FILES_HOST"));
                let files = files.map(|address| self.files(&address)).transpose()?;
                let project = settings.project.clone().unwrap_or_else(|| self.pipeline.to_owned());
                let tracker = ClearMl::new(Server::new(&api, None), keys.filter(|_| is_ours), files, project);
                Ok(Ready { tracker: Box::new(tracker), ledger: None })
            }
        }
    }

    /// A server's address, and whether the environment names it itself.
    fn address(&self, tracker: &str, key: &str, written: Option<&str>, name: &str) -> Result<(String, bool), Unusable> {
        let told = self.get(name);
        let address = written.map(str::to_owned).or_else(|| told.clone()).ok_or_else(|| Unusable {
            message: format!("`{tracker}` has no address"),
            hint: format!("write `track: {{{tracker}: {{{key}: \"http://…\"}}}}`, or set {name}"),
        })?;
        if let Some((message, hint)) = address_fault(&address) {
            return Err(Unusable { message: format!("{name}: {message}"), hint: hint.into() });
        }
        let is_ours = told.is_some_and(|told| origin(&told) == origin(&address));
        Ok((address, is_ours))
    }

    fn files(&self, address: &str) -> Result<Files, Unusable> {
        const NAME: &str = "CLEARML_FILES_HOST";
        if let Some((message, hint)) = address_fault(address) {
            return Err(Unusable { message: format!("{NAME}: {message}"), hint: hint.into() });
        }
        let is_trusted = self.get(NAME).is_some_and(|told| origin(&told) == origin(address));
        Ok(Files { server: Server::new(address, None), is_trusted })
    }
}

/// Scheme, host and port of an address.
fn origin(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}").to_lowercase()
}
