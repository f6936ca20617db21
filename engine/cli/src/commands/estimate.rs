//! `engine estimate`: what each train stage will need, before it runs.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;
use plan::{
    graph::{Node, NodeId},
    state::Freshness,
};
use serde_json::json;
use spec::{
    adapter::AdapterSource,
    forecast::{Answer, Assumed, Figures, Question, Questions, Shape, Trained},
    job::{Device, Failure, JobInput},
    model::ModelSource,
    stage::{Form, MaxLength, Source, Stage, Tokenize, TokenizerSource},
};

use super::run::device;
use crate::{
    Exit,
    commands::plan::size,
    progress::duration,
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
    match answers(estimate, &project, &meant) {
        Ok(answers) => show(estimate, &answers),
        Err(failure) => {
            render::failure(None, &failure);
            Exit::Failed
        }
    }
}

/// The project beside what is made of it.
struct Surveyed<'a> {
    project: &'a Project,
    session: &'a Session,
    survey: &'a [Freshness],
    /// The pipeline file, as it was named.
    file: &'a Path,
}

/// A forecast of each train stage that is meant, or why there is none.
fn answers(estimate: &Estimate, project: &Project, meant: &[NodeId]) -> Result<Vec<Answer>, Failure> {
    let session = Session::open(project)?;
    let survey = session.state(project).survey();
    let surveyed = Surveyed { project, session: &session, survey: &survey, file: &estimate.pipeline.file };
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
        let asked = Questions { questions, device: estimate.device };
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

impl Surveyed<'_> {
    fn question(&self, node: &Node, cores: usize) -> Result<Question, Failure> {
        let settings = node.settings.settings().map_err(|error| Failure {
            message: format!("a setting has no JSON form: {error}"),
            place: None,
            hint: None,
        })?;
        let cpu = node.execution.resources.cpu.and_then(|cpu| usize::try_from(cpu).ok());
        let (data, assumed) = self.data(node);
        Ok(Question {
            name: node.name(),
            settings,
            model: self.model(node, "model")?,
            adapter: self.adapter(node)?,
            data,
            assumed,
            threads: cpu.unwrap_or(cores).clamp(1, cores),
        })
    }

    fn input(&self, node: &Node, role: &str) -> Option<(NodeId, Option<String>)> {
        let input = node.inputs.iter().find(|input| input.role == role)?;
        Some((*input.members.first()?, input.part.clone()))
    }

    /// The rows that are there, and what they may be at most.
    fn data(&self, node: &Node) -> (Option<JobInput>, Assumed) {
        let mut assumed = Assumed { length: 512, answer: 512, labels: 2, vocabulary: 0 };
        let Some((id, part)) = self.input(node, "data") else { return (None, assumed) };
        let tokens = self.project.graph.node(id);
        if let Stage::Tokenize(tokenize) = tokens.settings.as_ref() {
            assumed = at_most(tokenize);
        }
        let Freshness::Fresh(record) = &self.survey[id.0] else { return (None, assumed) };
        let input = JobInput {
            stage: tokens.stage.clone(),
            kind: tokens.settings.kind().to_owned(),
            coordinates: tokens.labels(),
            part,
            result: self.session.store.tree_folder(record),
            observed: self.session.store.observed_folder(&record.key),
            carried: None,
            made: None,
        };
        (Some(input), assumed)
    }

    /// Where the shape of the model is that stands in this role: in a folder, or in settings.
    fn model(&self, node: &Node, role: &str) -> Result<Shape, Failure> {
        if let Stage::Train(train) = node.settings.as_ref()
            && let ModelSource::Random(_) = &train.model
        {
            let shape = serde_json::to_value(&train.model).unwrap_or_default();
            return Ok(Shape::Random(shape));
        }
        let Some((id, part)) = self.input(node, role) else {
            return Err(Failure {
                message: format!("`{}` names no model", node.name()),
                place: None,
                hint: Some("give `model` a stage, or a shape".into()),
            });
        };
        let producer = self.project.graph.node(id);
        let within = |folder: PathBuf| match &part {
            Some(part) => folder.join(producer.settings.part_path(part)),
            None => folder,
        };
        if let Freshness::Fresh(record) = &self.survey[id.0] {
            let folder = within(self.session.store.tree_folder(record));
            if folder.join(spec::files::MODEL_CONFIG).exists() {
                return Ok(Shape::Folder(folder));
            }
        }
        match producer.settings.as_ref() {
            Stage::Train(_) | Stage::Merge(_) => self.model(producer, "model"),
            Stage::Download(download) => {
                let folder = match (&download.from.0, &part) {
                    (Source::Path(path), _) => Some(within(self.project.root.join(path))),
                    (Source::Parts(parts), Some(part)) => match parts.get(part).map(|part| &part.0) {
                        Some(Source::Path(path)) => Some(self.project.root.join(path)),
                        _ => None,
                    },
                    _ => None,
                };
                match folder.filter(|folder| folder.join(spec::files::MODEL_CONFIG).exists()) {
                    Some(folder) => Ok(Shape::Folder(folder)),
                    None => Err(self.unknown(producer)),
                }
            }
            _ => Err(self.unknown(producer)),
        }
    }

    /// What a member trains, where another stage left or will leave it.
    fn adapter(&self, node: &Node) -> Result<Option<Trained>, Failure> {
        let continues = |node: &Node| match node.settings.as_ref() {
            Stage::Train(train) => matches!(train.adapter, AdapterSource::Stage(_)),
            _ => false,
        };
        if !continues(node) {
            return Ok(None);
        }
        let mut node = node;
        while let Some((id, part)) = self.input(node, "adapter.from") {
            let producer = self.project.graph.node(id);
            if let Freshness::Fresh(record) = &self.survey[id.0] {
                let folder = self.session.store.tree_folder(record);
                return Ok(Some(Trained::Folder(match &part {
                    Some(part) => folder.join(producer.settings.part_path(part)),
                    None => folder,
                })));
            }
            match producer.settings.as_ref() {
                Stage::Train(train) if !continues(producer) => {
                    return Ok(Some(Trained::Settings(serde_json::to_value(&train.adapter).unwrap_or_default())));
                }
                Stage::Train(_) => node = producer,
                _ => return Err(self.unknown(producer)),
            }
        }
        Ok(None)
    }

    /// The model's shape is in what a stage will leave.
    fn unknown(&self, producer: &Node) -> Failure {
        Failure {
            message: format!("the shape of its model is not here: `{}` is not made yet", producer.name()),
            place: None,
            hint: Some(format!("run `engine run {} --until {}` first", self.file.display(), producer.stage)),
        }
    }
}

/// What the rows of a `tokenize` stage may be at most.
fn at_most(tokenize: &Tokenize) -> Assumed {
    let answers = matches!(tokenize.form, Form::Seq2Seq(_));
    let (length, answer) = match tokenize.max_length {
        MaxLength::Row(length) => (length, length),
        MaxLength::Parts { prompt, completion } if answers => (prompt, completion),
        MaxLength::Parts { prompt, completion } => (prompt + completion, completion),
    };
    let labels = match &tokenize.form {
        Form::Text(form) => form.labels.as_ref().map_or(2, Vec::len),
        _ => 2,
    };
    let vocabulary = match &tokenize.tokenizer {
        TokenizerSource::Bpe(training) => training.vocabulary,
        TokenizerSource::Stage(_) => 32_000,
    };
    Assumed { length: length as u64, answer: answer as u64, labels: labels as u64, vocabulary: vocabulary as u64 }
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
        table(answers);
    }
    if answers.iter().any(|answer| answer.outcome.is_ok()) { Exit::Done } else { Exit::Failed }
}

const HEAD: [&str; 8] = ["trains", "of", "weights", "gradients", "optimiser", "activations", "total", "time"];

fn table(answers: &[Answer]) {
    let known: Vec<(&str, &Figures)> =
        answers.iter().filter_map(|answer| Some((answer.name.as_str(), answer.outcome.as_ref().ok()?))).collect();
    let mut lines: Vec<(String, Vec<String>)> = vec![(String::new(), HEAD.map(str::to_owned).to_vec())];
    for (name, figures) in &known {
        let total = figures.weights + figures.peak;
        let beside = figures.activations + figures.runtime;
        let mut cells = vec![count(figures.trainable_parameters), count(figures.total_parameters)];
        cells.extend([figures.weights, figures.gradients, figures.optimizer, beside, total].map(size));
        cells.push(match figures.steps {
            Some(steps) => duration(steps as f64 * figures.step_seconds),
            None => format!("{} a step", duration(figures.step_seconds)),
        });
        lines.push(((*name).to_owned(), cells));
    }
    let first = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|at| {
            lines.iter().filter_map(|(_, cells)| cells.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for (name, cells) in lines.iter().filter(|_| !known.is_empty()) {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        outln!("{}", format!("{name:<first$}  {}", cells.join("  ")).trim_end());
    }
    for (name, figures) in &known {
        if let Some(chosen) = &figures.chosen_size {
            outln!("{name}: {chosen}.");
        }
    }
    for line in basis(&known) {
        outln!("{line}");
    }
    for answer in answers {
        if let Err(failure) = &answer.outcome {
            render::failure(Some(&answer.name), failure);
        }
    }
}

/// What the forecasts are made of, a line each.
fn basis(known: &[(&str, &Figures)]) -> Vec<String> {
    let Some((_, first)) = known.first() else { return Vec::new() };
    let mut lines = vec![format!(
        "Memory on {} at most, in one process; `activations` with what a step computes with.",
        first.device
    )];
    let of = |rows_known: bool| {
        let some: Vec<u64> = known.iter().filter(|(_, f)| f.rows_known == rows_known).map(|(_, f)| f.longest).collect();
        Some((*some.iter().min()?, *some.iter().max()?))
    };
    let tokens =
        |(least, most): (u64, u64)| if least == most { format!("{most}") } else { format!("{least} to {most}") };
    lines.extend(
        of(true).map(|range| format!("Rows as they were tokenized: the longest have {} tokens.", tokens(range))),
    );
    lines.extend(
        of(false).map(|range| {
            format!("Rows that are not made yet are taken to have {} tokens, `max_length`.", tokens(range))
        }),
    );
    let speeds = known.iter().map(|(_, figures)| figures.products_per_second / 1e9);
    let (slowest, fastest) =
        speeds.fold((f64::INFINITY, 0.0_f64), |(least, most), speed| (least.min(speed), most.max(speed)));
    let speed = match fastest / slowest < 1.05 {
        true => format!("{fastest:.0}"),
        false => format!("{slowest:.0} to {fastest:.0}"),
    };
    lines.push(format!(
        "Time of the steps alone: products of matrices at {speed} GFLOP/s, measured just now with this model's sizes."
    ));
    lines
}

/// A number of parameters for people.
fn count(parameters: u64) -> String {
    match parameters as f64 {
        n if n >= 1e9 => format!("{:.2} G", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        _ => parameters.to_string(),
    }
}
