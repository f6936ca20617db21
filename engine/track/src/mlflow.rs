//! MLflow by its REST interface 2.0: an experiment a pipeline, a run a member, figures by step, parameters, tags, artifacts.
//! Knows MLflow's words and limits, not what a run means.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    http::{Server, Trouble, escaped},
    run::{Kind, Point, Run},
    tracker::{Ended, Tracker},
};

/// The most figures that a server takes at once.
const FIGURES: usize = 1000;
/// The most parameters, and the most tags, that a server takes at once.
const PARAMETERS: usize = 100;
/// The longest name of a parameter, tag or figure.
const NAME: usize = 250;
/// The longest value of a parameter, and of a tag.
const VALUE: usize = 6000;
const TAG_VALUE: usize = 5000;
/// The tag by which a run is found again.
const KEY: &str = "engine.key";
/// The address that stands for the server's own store of artifacts.
const OWN_ARTIFACTS: &str = "mlflow-artifacts:/";

/// A server of MLflow.
#[derive(Debug)]
pub struct Mlflow {
    server: Server,
    experiment: String,
    /// The experiment's number, once it is known.
    experiment_id: Option<String>,
    /// Where the artifacts of runs lie, by run.
    artifacts: BTreeMap<String, String>,
}

impl Mlflow {
    /// The experiment of this name at a server; it is made when the first run begins.
    pub fn new(server: Server, experiment: String) -> Self {
        Self { server, experiment, experiment_id: None, artifacts: BTreeMap::new() }
    }

    fn post(&self, what: &str, body: &Value) -> Result<Value, Trouble> {
        self.server.post(&format!("api/2.0/mlflow/{what}"), body)
    }

    fn experiment_id(&mut self) -> Result<String, Trouble> {
        if let Some(id) = &self.experiment_id {
            return Ok(id.clone());
        }
        let by_name = format!("api/2.0/mlflow/experiments/get-by-name?experiment_name={}", escaped(&self.experiment));
        let found =
            |answer: &Value| answer.pointer("/experiment/experiment_id").and_then(Value::as_str).map(str::to_owned);
        let known = || self.server.send("GET", &by_name, "application/json", Vec::new());
        let id = match known() {
            Ok(answer) => found(&answer),
            Err(Trouble::Refused(_)) => match self.post("experiments/create", &json!({ "name": self.experiment })) {
                Ok(answer) => answer.get("experiment_id").and_then(Value::as_str).map(str::to_owned),
                // Another one made it just now, or it was deleted, which the server says.
                Err(Trouble::Refused(why)) => match known() {
                    Ok(answer) => found(&answer),
                    Err(Trouble::Refused(_)) => return Err(Trouble::Away(why)),
                    Err(away) => return Err(away),
                },
                Err(away) => return Err(away),
            },
            Err(away) => return Err(away),
        };
        let id = id.ok_or_else(|| self.unlike("an experiment"))?;
        self.experiment_id = Some(id.clone());
        Ok(id)
    }

    /// The run with a key, where an earlier one did not get to note its name.
    fn find(&self, experiment: &str, key: &str) -> Result<Option<Value>, Trouble> {
        let filter = format!("tags.`{KEY}` = '{key}'");
        let asked = json!({ "experiment_ids": [experiment], "filter": filter, "max_results": 1 });
        Ok(self.post("runs/search", &asked)?.pointer("/runs/0").cloned())
    }

    /// Notes where a run's artifacts lie, and gives the run's name.
    fn known(&mut self, run: &Value) -> Result<String, Trouble> {
        let told = |key: &str| run.pointer(&format!("/info/{key}")).and_then(Value::as_str).map(str::to_owned);
        let id = told("run_id").ok_or_else(|| self.unlike("a run"))?;
        self.artifacts.insert(id.clone(), told("artifact_uri").unwrap_or_default());
        Ok(id)
    }

    fn unlike(&self, what: &str) -> Trouble {
        Trouble::Away(format!("{} gives no answer like MLflow's to the question for {what}", self.server.address()))
    }

    fn metrics(&self, id: &str, points: &[Value]) -> Result<(), Trouble> {
        for part in points.chunks(FIGURES) {
            self.post("runs/log-batch", &json!({ "run_id": id, "metrics": part }))?;
        }
        Ok(())
    }
}

impl Tracker for Mlflow {
    fn name(&self) -> String {
        format!("MLflow at {}", self.server.address())
    }

    fn place(&self) -> String {
        self.experiment.clone()
    }

    fn begin(&mut self, run: &Run, known: Option<&str>, at: f64) -> Result<String, Trouble> {
        let experiment = self.experiment_id()?;
        let there = match known {
            Some(id) => {
                let path = format!("api/2.0/mlflow/runs/get?run_id={}", escaped(id));
                self.server.send("GET", &path, "application/json", Vec::new())?.get("run").cloned()
            }
            None => self.find(&experiment, &run.key)?,
        };
        let id = match there {
            Some(there) => {
                let id = self.known(&there)?;
                self.post("runs/update", &json!({ "run_id": id, "status": "RUNNING" }))?;
                id
            }
            None => {
                let tags = [tag(KEY, &run.key)];
                let asked = json!({
                    "experiment_id": experiment, "run_name": run.name, "start_time": millis(at), "tags": tags,
                });
                let made = self.post("runs/create", &asked)?;
                self.known(made.get("run").unwrap_or(&Value::Null))?
            }
        };
        let parameters = run.coordinates.iter().chain(&run.parameters);
        let parameters: BTreeMap<String, String> =
            parameters.map(|(name, value)| (allowed(name), cut(value, VALUE))).collect();
        let parameters: Vec<Value> =
            parameters.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        for part in parameters.chunks(PARAMETERS) {
            self.post("runs/log-batch", &json!({ "run_id": id, "params": part }))?;
        }
        let mut tags = vec![tag("engine.pipeline", &run.pipeline), tag("engine.kind", run.kind.word())];
        tags.extend(run.coordinates.iter().map(|(axis, label)| tag(axis, label)));
        for part in tags.chunks(PARAMETERS) {
            self.post("runs/log-batch", &json!({ "run_id": id, "tags": part }))?;
        }
        Ok(id)
    }

    fn add(&mut self, id: &str, points: &[Point]) -> Result<(), Trouble> {
        let points: Vec<Value> =
            points.iter().map(|point| metric(&point.name, point.value, point.step, point.at)).collect();
        self.metrics(id, &points)
    }

    fn end(&mut self, id: &str, run: &Run, ended: &Ended) -> Result<Vec<String>, Trouble> {
        let mut missing = Vec::new();
        let (status, at) = match ended {
            Ended::Done(left) => {
                let figures: Vec<Value> =
                    left.figures.iter().map(|(name, value)| metric(name, *value, left.steps, left.span.1)).collect();
                self.metrics(id, &figures)?;
                let place = self.artifacts.get(id).cloned().unwrap_or_default();
                match place.strip_prefix(OWN_ARTIFACTS) {
                    Some(place) => {
                        for (name, file) in &left.files {
                            let path = format!("{}/{}", escaped(place.trim_matches('/')), escaped(name));
                            let path = format!("api/2.0/mlflow-artifacts/artifacts/{path}");
                            match self.server.send_file("PUT", &path, "application/octet-stream", ("", file, "")) {
                                Err(Trouble::Refused(why)) => {
                                    missing.push(format!("{} is not kept there: {why}", run.name))
                                }
                                put => drop(put?),
                            }
                        }
                    }
                    None if left.files.is_empty() => {}
                    None => {
                        let scheme = place.split_once(':').map_or("its own disk", |(scheme, _)| scheme);
                        missing.push(format!(
                            "files are not kept there: this server keeps them elsewhere ({scheme}); start it with \
                             `--serve-artifacts`"
                        ));
                    }
                }
                ("FINISHED", left.span.1)
            }
            Ended::Failed(why) => {
                self.post("runs/set-tag", &{
                    let mut asked = tag("engine.failure", why);
                    asked["run_id"] = id.into();
                    asked
                })?;
                ("FAILED", crate::sender::now())
            }
        };
        if run.kind == Kind::Training
            && let Ended::Done(left) = ended
            && let Some(model) = &left.model
        {
            let mut asked = tag("engine.model", &model.display().to_string());
            asked["run_id"] = id.into();
            self.post("runs/set-tag", &asked)?;
        }
        self.post("runs/update", &json!({ "run_id": id, "status": status, "end_time": millis(at) }))?;
        Ok(missing)
    }
}

fn metric(name: &str, value: f64, step: u64, at: f64) -> Value {
    json!({ "key": allowed(name), "value": value, "step": step, "timestamp": millis(at) })
}

fn tag(key: &str, value: &str) -> Value {
    json!({ "key": allowed(key), "value": cut(value, TAG_VALUE) })
}

/// A name with the characters that MLflow takes.
fn allowed(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '_' }).take(NAME).collect()
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

fn millis(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1000.0) as u64
}
