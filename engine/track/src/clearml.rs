//! ClearML by its REST interface: a project a pipeline, a task a member, scalars by step, hyper-parameters, artifacts, and
//! the model that a training kept. Knows ClearML's words, not what a run means.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    http::{Server, Trouble, basic, escaped},
    run::{Kind, Left, Point, Run},
    tracker::{Ended, Tracker},
};

/// The version of the interface; every server since 1.0 speaks it.
const VERSION: &str = "v2.13";
/// The step under which ClearML keeps figures of the whole.
const WHOLE: i64 = -(1 << 31);
/// What parts the fields of an upload.
const BOUNDARY: &str = "----engine-7MA4YWxkTrZu0gW";

/// A server of ClearML.
#[derive(Debug)]
pub struct ClearMl {
    api: Server,
    /// Access key and secret key, where there are some.
    keys: Option<(String, String)>,
    files: Option<Files>,
    project: String,
    project_id: Option<String>,
    is_open: bool,
}

/// A server of files, and whether it may see what opens the API server.
#[derive(Debug)]
pub struct Files {
    /// The server.
    pub server: Server,
    /// Whether it is one that the environment names.
    pub is_trusted: bool,
}

impl ClearMl {
    /// A project of an API server; it is made when the first run begins.
    pub fn new(api: Server, keys: Option<(String, String)>, files: Option<Files>, project: String) -> Self {
        Self { api, keys, files, project, project_id: None, is_open: false }
    }

    /// What the server answers to a question, after the keys were shown.
    fn ask(&mut self, what: &str, body: &Value) -> Result<Value, Trouble> {
        self.ask_in(what, "application/json", body.to_string().into_bytes())
    }

    fn ask_in(&mut self, what: &str, content_type: &str, body: Vec<u8>) -> Result<Value, Trouble> {
        if !self.is_open {
            self.log_in()?;
        }
        let answer = self.api.send("POST", &format!("{VERSION}/{what}"), content_type, body);
        // What opens the server is good for some days: the next question asks for it again.
        self.is_open = !matches!(answer, Err(Trouble::Away(_)));
        Ok(answer?.get("data").cloned().unwrap_or(Value::Null))
    }

    fn log_in(&mut self) -> Result<(), Trouble> {
        if let Some((access, secret)) = &self.keys {
            self.api.opened_by(basic(access, secret));
            let answer = self.api.post(&format!("{VERSION}/auth.login"), &json!({}))?;
            let token =
                answer.pointer("/data/token").and_then(Value::as_str).ok_or_else(|| self.unlike("auth.login"))?;
            self.api.opened_by(format!("Bearer {token}"));
            if let Some(files) = self.files.as_mut().filter(|files| files.is_trusted) {
                files.server.opened_by(format!("Bearer {token}"));
            }
        }
        self.is_open = true;
        Ok(())
    }

    fn unlike(&self, what: &str) -> Trouble {
        Trouble::Away(format!("{} gives no answer like ClearML's to `{what}`", self.api.address()))
    }

    /// The id in the answer to a question that makes something.
    fn made(&mut self, what: &str, body: &Value) -> Result<String, Trouble> {
        let answer = self.ask(what, body)?;
        answer.get("id").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.unlike(what))
    }

    fn project_id(&mut self) -> Result<String, Trouble> {
        if let Some(id) = &self.project_id {
            return Ok(id.clone());
        }
        let pattern: String =
            self.project.chars().map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("\\{c}") }).collect();
        let asked = json!({ "name": format!("^{pattern}$"), "only_fields": ["id", "name"] });
        let found = self.ask("projects.get_all", &asked)?;
        let projects = found.get("projects").and_then(Value::as_array).into_iter().flatten();
        let mut named = projects.filter(|project| project["name"] == self.project.as_str());
        let id = match named.find_map(|project| project.get("id")?.as_str()) {
            Some(id) => id.to_owned(),
            None => {
                let asked = json!({ "name": self.project, "description": "" });
                self.made("projects.create", &asked)?
            }
        };
        self.project_id = Some(id.clone());
        Ok(id)
    }

    fn scalars(&mut self, task: &str, scalars: impl Iterator<Item = (String, i64, f64, f64)>) -> Result<(), Trouble> {
        let line = |(name, step, value, at): (String, i64, f64, f64)| {
            let (metric, variant) = if step == WHOLE { ("Summary", name.as_str()) } else { split(&name) };
            let event = json!({
                "type": "training_stats_scalar", "task": task, "iter": step, "timestamp": millis(at),
                "metric": metric, "variant": variant, "value": value,
            });
            event.to_string()
        };
        let lines: Vec<String> = scalars.map(line).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let answer = self.ask_in("events.add_batch", "application/json-lines", lines.join("\n").into_bytes())?;
        match answer.get("errors").and_then(Value::as_u64) {
            Some(errors) if errors > 0 => Err(Trouble::Refused(format!("{errors} figures were refused"))),
            _ => Ok(()),
        }
    }

    /// Sends files, and gives their addresses by name.
    fn keep(&mut self, task: &str, run: &Run, left: &Left) -> Result<Vec<(String, String)>, Trouble> {
        let Some(files) = &self.files else { return Ok(Vec::new()) };
        let mut kept = Vec::new();
        let mut artifacts = Vec::new();
        for (name, file) in &left.files {
            let path = format!("{}/{task}/artifacts/{name}", self.project);
            let plain: String = path.chars().map(|c| if c.is_control() || c == '"' { '_' } else { c }).collect();
            let address = upload(&files.server, &plain, file)?;
            let size = file.metadata().map_or(0, |file| file.len());
            artifacts.push(json!({
                "key": name, "type": "custom", "mode": "output", "uri": address, "content_size": size,
                "timestamp": left.span.1.max(0.0) as u64, "display_data": [["stage", run.name.as_str()]],
            }));
            kept.push((name.clone(), address));
        }
        if !artifacts.is_empty() {
            let asked = json!({ "task": task, "artifacts": artifacts, "force": true });
            self.ask("tasks.add_or_update_artifacts", &asked)?;
        }
        Ok(kept)
    }

    /// Registers the model that a training kept.
    fn register(&mut self, task: &str, run: &Run, left: &Left, kept: &[(String, String)]) -> Result<(), Trouble> {
        let Some(model) = &left.model else { return Ok(()) };
        let sent = kept.iter().find(|(name, _)| model.file_name().is_some_and(|file| file == name.as_str()));
        let uri = sent.map_or_else(|| format!("file://{}", model.display()), |(_, address)| address.clone());
        let asked = json!({ "uri": [uri], "only_fields": ["id", "task"] });
        let found = self.ask("models.get_all", &asked)?;
        let models = found.get("models").and_then(Value::as_array).into_iter().flatten();
        let id =
            models.filter(|model| model["task"] == task).find_map(|model| Some(model.get("id")?.as_str()?.to_owned()));
        let id = match id {
            Some(id) => id,
            None => {
                let project = self.project_id()?;
                let asked = json!({
                    "uri": uri, "name": run.name, "framework": "PyTorch", "project": project, "task": task,
                    "ready": true, "tags": [run.pipeline.as_str()],
                });
                self.made("models.create", &asked)?
            }
        };
        let asked = json!({ "task": task, "name": run.name, "model": id, "type": "output", "iteration": left.steps });
        self.ask("tasks.add_or_update_model", &asked).map(drop)
    }
}

impl Tracker for ClearMl {
    fn name(&self) -> String {
        format!("ClearML at {}", self.api.address())
    }

    fn place(&self) -> String {
        self.project.clone()
    }

    fn begin(&mut self, run: &Run, known: Option<&str>, _at: f64) -> Result<String, Trouble> {
        let project = self.project_id()?;
        let key = format!("engine.key:{}", run.key);
        let id = match known {
            Some(id) => id.to_owned(),
            None => {
                let asked =
                    json!({ "project": [project], "tags": [key], "only_fields": ["id"], "page": 0, "page_size": 1 });
                let found = self.ask("tasks.get_all", &asked)?;
                match found.pointer("/tasks/0/id").and_then(Value::as_str) {
                    Some(id) => id.to_owned(),
                    None => {
                        let mut tags = vec![key];
                        tags.extend(run.coordinates.iter().map(|(axis, label)| format!("{axis}:{label}")));
                        let asked = json!({
                            "name": run.name, "type": kind(run.kind), "project": project, "tags": tags,
                            "comment": format!("{} of {}", run.kind.word(), run.pipeline),
                            "hyperparams": {
                                "axes": section("axes", &run.coordinates),
                                "settings": section("settings", &run.parameters),
                            },
                        });
                        self.made("tasks.create", &asked)?
                    }
                }
            }
        };
        self.ask(
            "tasks.started",
            &json!({ "task": id, "force": true, "status_reason": "begun", "status_message": "" }),
        )?;
        Ok(id)
    }

    fn add(&mut self, id: &str, points: &[Point]) -> Result<(), Trouble> {
        let step = |step: u64| i64::try_from(step).unwrap_or(i64::MAX);
        self.scalars(id, points.iter().map(|point| (point.name.clone(), step(point.step), point.value, point.at)))
    }

    fn end(&mut self, id: &str, run: &Run, ended: &Ended) -> Result<Vec<String>, Trouble> {
        let left = match ended {
            Ended::Done(left) => left,
            Ended::Failed(why) => {
                let asked = json!({ "task": id, "force": true, "status_reason": "failed", "status_message": why });
                return self.ask("tasks.failed", &asked).map(|_| Vec::new());
            }
        };
        let at = left.span.1;
        self.scalars(id, left.figures.iter().map(|(name, value)| (name.clone(), WHOLE, *value, at)))?;
        let kept = self.keep(id, run, left)?;
        if run.kind == Kind::Training {
            self.register(id, run, left, &kept)?;
        }
        let asked = json!({ "task": id, "force": true, "status_reason": "done", "status_message": "" });
        self.ask("tasks.completed", &asked)?;
        let is_missing = self.files.is_none() && !left.files.is_empty();
        let hint = "files are not kept there: `files`, or CLEARML_FILES_HOST, names no file server";
        Ok(is_missing.then(|| hint.to_owned()).into_iter().collect())
    }
}

/// Names and values as one section of hyper-parameters.
fn section(section: &str, values: &[(String, String)]) -> Value {
    let value =
        |(name, value): &(String, String)| (name.clone(), json!({ "section": section, "name": name, "value": value }));
    Value::Object(values.iter().map(value).collect())
}

/// The title and the line of a figure: `metrics.f1` is `f1` of `metrics`.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((name, name))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Training => "training",
        Kind::Evaluation => "testing",
        Kind::Report => "data_processing",
    }
}

fn millis(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1000.0) as u64
}

/// Sends a file and gives its address.
fn upload(files: &Server, path: &str, file: &Path) -> Result<String, Trouble> {
    let before = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{path}\"; filename=\"{path}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let after = format!("\r\n--{BOUNDARY}--\r\n");
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    files.send_file("POST", "", &content_type, (&before, file, &after))?;
    Ok(format!("{}/{}", files.address(), escaped(path)))
}
