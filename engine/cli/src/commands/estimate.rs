//! `engine estimate`: what each train stage will need, before it runs.

mod survey;
mod table;

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use clap::Args;
use plan::graph::NodeId;
use serde_json::json;
use spec::{
    diagnostic::Diagnostic,
    forecast::{Answer, Questions},
    job::{Device, Failure},
    stage::Stage,
};
use survey::Surveyed;

use super::run::device;
use crate::{
    Exit,
    project::{PipelineArgs, Project},
    render,
    session::{Session, members, programs, shown},
};

/// Forecast parameters, memory and time of each train stage before it runs.
#[derive(Debug, Args)]
pub struct Estimate {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Only this stage (or member).
    #[arg(value_name = "STAGE")]
    stage: Option<String>,
    /// Processor cores to use; all of them by default.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Where tensors would be computed: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: Device,
    /// The device's speed in TFLOP/s, in place of a measurement: what a device does that is not here.
    #[arg(long, value_name = "TFLOPS", value_parser = speed)]
    speed: Option<f64>,
    /// Rows to train on where they are not made yet: of one `tokenize` stage (or member), or of all.
    #[arg(long, value_name = "[STAGE=]N")]
    rows: Vec<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Prints a table of forecasts.
pub fn run(estimate: &Estimate) -> Exit {
    let project = match Project::open(&estimate.pipeline) {
        Ok(project) => project,
        Err(faults) => {
            render::diagnostics(&faults);
            return Exit::Mistake;
        }
    };
    let meant = match &estimate.stage {
        None => project.graph.ids().collect(),
        Some(stage) => match members(&project.graph, stage) {
            Ok(meant) => meant,
            Err(fault) => {
                render::diagnostics(&[fault]);
                return Exit::Mistake;
            }
        },
    };
    let rows = match rows(estimate, &project) {
        Ok(rows) => rows,
        Err(fault) => {
            render::diagnostics(&[fault]);
            return Exit::Mistake;
        }
    };
    match answers(estimate, &project, &meant, &rows) {
        Ok(answers) => show(estimate, &answers),
        Err(failure) => {
            render::failure(None, &failure);
            Exit::Failed
        }
    }
}

/// A speed in TFLOP/s, in products a second.
fn speed(text: &str) -> Result<f64, String> {
    let tera: f64 = text.parse().map_err(|_| "write a number, such as 100")?;
    match tera > 0.0 && tera.is_finite() {
        true => Ok(tera * 1e12),
        false => Err("must be above 0".into()),
    }
}

/// The rows that the user told, by the `tokenize` stage that will make them.
fn rows(estimate: &Estimate, project: &Project) -> Result<HashMap<NodeId, u64>, Diagnostic> {
    let mut all = HashMap::new();
    for told in &estimate.rows {
        let (stage, number) = told.rsplit_once('=').map_or((None, told.as_str()), |(stage, n)| (Some(stage), n));
        let rows: u64 = number.parse().map_err(|_| {
            Diagnostic::new(
                format!("`--rows {told}`: `{number}` is no number of rows"),
                "write a number, or a `tokenize` stage and a number: `--rows tokens=1000`",
            )
        })?;
        let members = match stage {
            Some(stage) => members(&project.graph, stage)?,
            None => project.graph.ids().collect(),
        };
        let tokenized: Vec<NodeId> = members
            .into_iter()
            .filter(|id| matches!(project.graph.node(*id).settings.as_ref(), Stage::Tokenize(_)))
            .collect();
        if tokenized.is_empty() {
            return Err(Diagnostic::new(
                format!("`--rows {told}` is for no `tokenize` stage"),
                "name the stage that the trainings have under `data`",
            ));
        }
        all.extend(tokenized.into_iter().map(|id| (id, rows)));
    }
    Ok(all)
}

/// A forecast of each train stage that is meant, or why there is none.
fn answers(
    estimate: &Estimate,
    project: &Project,
    meant: &[NodeId],
    rows: &HashMap<NodeId, u64>,
) -> Result<Vec<Answer>, Failure> {
    let session = Session::open(project)?;
    let survey = session.state(project).survey();
    let surveyed = Surveyed { project, session: &session, survey: &survey, file: &estimate.pipeline.file, rows };
    let cores = estimate.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into)).max(1);
    let mut names = Vec::new();
    let (mut questions, mut answers) = (Vec::new(), BTreeMap::new());
    for id in shown(&project.graph, &survey, meant.iter().copied()) {
        let node = project.graph.node(id);
        if !matches!(node.settings.as_ref(), Stage::Train(_)) {
            continue;
        }
        names.push(node.name());
        match surveyed.question(node, cores) {
            Ok(question) => questions.push(question),
            Err(failure) => {
                answers.insert(node.name(), Err(failure));
            }
        }
    }
    if names.is_empty() {
        return Err(Failure {
            message: "no `train` stage is meant".into(),
            place: None,
            hint: Some("`estimate` looks at stages of kind `train`".into()),
        });
    }
    if !questions.is_empty() {
        let asked = Questions { questions, device: estimate.device, products_per_second: estimate.speed };
        answers.extend(ask(&asked)?.into_iter().map(|answer| (answer.name, answer.outcome)));
    }
    let lost = || Failure {
        message: "the worker ended before it answered".into(),
        place: None,
        hint: Some("`engine doctor` looks whether the programs are sound".into()),
    };
    Ok(names
        .into_iter()
        .map(|name| {
            let outcome = answers.remove(&name).unwrap_or_else(|| Err(lost()));
            Answer { name, outcome }
        })
        .collect())
}

/// Asks the worker.
fn ask(questions: &Questions) -> Result<Vec<Answer>, Failure> {
    let worker = programs()?.worker()?;
    let failed = |error: std::io::Error| Failure {
        message: format!("`engine-worker` cannot be asked: {error}"),
        place: Some(worker.display().to_string()),
        hint: Some("`engine doctor` looks whether the programs are sound".into()),
    };
    let text = serde_json::to_vec(questions).map_err(|error| failed(error.into()))?;
    let mut command = Command::new(&worker);
    command.arg("--estimate").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&text).map_err(failed)?;
    }
    let mut answers = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            answers.extend(serde_json::from_str::<Answer>(&line.map_err(failed)?));
        }
    }
    child.wait().map_err(failed)?;
    match answers.first() {
        Some(Answer { name, outcome: Err(failure) }) if name.is_empty() => Err(failure.clone()),
        _ => Ok(answers),
    }
}

fn show(estimate: &Estimate, answers: &[Answer]) -> Exit {
    if estimate.json {
        for Answer { name, outcome } in answers {
            let line = match outcome {
                Ok(figures) => json!({ "member": name, "forecast": figures }),
                Err(failure) => json!({ "member": name, "failure": failure }),
            };
            outln!("{line}");
        }
    } else {
        table::print(answers);
    }
    if answers.iter().any(|answer| answer.outcome.is_ok()) { Exit::Done } else { Exit::Failed }
}
