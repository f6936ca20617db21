//! `engine try`: a person types prompts at a trained model.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use clap::Args;
use data::typed::{Typed, Written};
use plan::{
    graph::{Node, NodeId},
    state::Freshness,
};
use serde_json::{Map, Value, json};
use spec::{
    diagnostic::Diagnostic,
    job::{Device, Failure, Job, JobInput},
    protocol::{Generate, Protocol, Span},
    stage::{Empty, Evaluate, Form, Objective, Overflow, Stage, Tokenize, TokenizerSource},
    trial::Reply,
};

use super::run::device;
use crate::{
    Exit,
    left::{input, left},
    project::{PipelineArgs, Project},
    render,
    session::{Session, members, programs, shown},
};

/// Type prompts at a trained model: a line each on standard input.
#[derive(Debug, Args)]
pub struct Try {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage (or member) that left the model or the adapter.
    #[arg(value_name = "STAGE")]
    stage: String,
    /// A field of the template that stays the same; a line is asked for each of the others.
    #[arg(long, value_name = "NAME=VALUE", value_parser = field)]
    field: Vec<(String, String)>,
    /// Lines are the prompts themselves: the template is not used.
    #[arg(long)]
    raw: bool,
    /// The most tokens of an answer; without it as many as the evaluate stage of this model allows, else 64.
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<u64>,
    /// Processor cores to use; all of them by default.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Where tensors are computed: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: Device,
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "write NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Answers until standard input ends.
pub fn run(asked: &Try) -> Exit {
    let project = match Project::open(&asked.pipeline) {
        Ok(project) => project,
        Err(faults) => {
            render::diagnostics(&faults);
            return Exit::Mistake;
        }
    };
    let meant = match members(&project.graph, &asked.stage) {
        Ok(meant) => meant,
        Err(fault) => {
            render::diagnostics(&[fault]);
            return Exit::Mistake;
        }
    };
    match converse(asked, &project, &meant) {
        Ok(exit) => exit,
        Err(failure) => {
            render::failure(None, &failure);
            Exit::Failed
        }
    }
}

fn converse(asked: &Try, project: &Project, meant: &[NodeId]) -> Result<Exit, Failure> {
    let session = Session::open(project)?;
    let survey = session.state(project).survey();
    let meant = shown(&project.graph, &survey, meant.iter().copied());
    let [id] = meant.as_slice() else {
        let names: Vec<String> = meant.iter().map(|id| project.graph.node(*id).name()).collect();
        render::diagnostics(&[Diagnostic::new(
            format!("`{}` means {} members, and one is asked", asked.stage, names.len()),
            format!("name one of them: {}", names.join(", ")),
        )]);
        return Ok(Exit::Mistake);
    };
    let known = Known { project, session: &session, survey: &survey, file: &asked.pipeline.file };
    let node = project.graph.node(*id);
    if !matches!(node.settings.as_ref(), Stage::Train(_) | Stage::Download(_) | Stage::Merge(_)) {
        return Err(Failure {
            message: format!("`{}` is a stage of kind `{}`: it leaves no model", node.name(), node.settings.kind()),
            place: None,
            hint: Some("name a `train`, `merge` or `download` stage".into()),
        });
    }
    let model = known.left(*id, None)?;
    let way = known.way(*id)?;
    let mut evaluate = way.evaluate;
    if let (Protocol::Generate(generate), Some(most)) = (&mut evaluate.protocol, asked.max_new_tokens) {
        generate.max_new_tokens = most;
    }
    let cores = asked.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into)).max(1);
    let work = tempfile::tempdir().map_err(|error| failed("a folder for what is typed", &error))?;
    let typed = known.typed(asked.raw, &way.tokens, work.path())?;
    let job = Job {
        kind: "evaluate".to_owned(),
        name: node.name(),
        settings: serde_json::to_value(&evaluate).map_err(|error| failed("the settings", &error.into()))?,
        inputs: BTreeMap::from([("model".to_owned(), vec![model]), ("data".to_owned(), vec![way.tokens.left])]),
        files: BTreeMap::new(),
        result: work.path().to_owned(),
        observed: work.path().to_owned(),
        state: work.path().to_owned(),
        threads: cores,
        device: asked.device,
        revision: None,
        origin: None,
    };
    let mut worker = Worker::start(&programs()?.worker()?, &job)?;
    let fields: Map<String, Value> =
        asked.field.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    talk(&typed, &fields, &mut worker)
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure { message: format!("{what}: {error}"), place: None, hint: None }
}

/// The project beside what is made of it.
struct Known<'a> {
    project: &'a Project,
    session: &'a Session,
    survey: &'a [Freshness],
    file: &'a Path,
}

/// How a model is asked.
struct Way {
    evaluate: Evaluate,
    tokens: Tokens,
}

/// A `tokenize` stage, which is made.
struct Tokens {
    id: NodeId,
    split: Option<String>,
    left: JobInput,
}

impl Known<'_> {
    /// What a member left, with the model that it belongs to.
    fn left(&self, id: NodeId, part: Option<String>) -> Result<JobInput, Failure> {
        left(self.project, self.session, self.survey, self.file, (id, part))
    }

    /// As the evaluate stage of this model asks it; else as what it was trained for.
    fn way(&self, model: NodeId) -> Result<Way, Failure> {
        let graph = &self.project.graph;
        let asks = graph.nodes.iter().find_map(|node| match node.settings.as_ref() {
            Stage::Evaluate(evaluate)
                if input(node, "model").is_some_and(|(id, _)| id == model)
                    && !matches!(evaluate.protocol, Protocol::Perplexity(_) | Protocol::Choices(_)) =>
            {
                Some((Evaluate::clone(evaluate), input(node, "data")?))
            }
            _ => None,
        });
        let (evaluate, (tokens, split)) = match asks {
            Some(asks) => asks,
            None => self.as_trained(graph.node(model))?,
        };
        let left = self.left(tokens, None)?;
        Ok(Way { evaluate, tokens: Tokens { id: tokens, split, left } })
    }

    fn as_trained(&self, node: &Node) -> Result<(Evaluate, (NodeId, Option<String>)), Failure> {
        let (Stage::Train(train), Some(data)) = (node.settings.as_ref(), input(node, "data")) else {
            return Err(Failure {
                message: format!("no stage says how `{}` is asked", node.name()),
                place: None,
                hint: Some("add an `evaluate` stage of this model: its data and its protocol are used".into()),
            });
        };
        let protocol = match &train.objective {
            Objective::LanguageModel(_) | Objective::Seq2Seq(_) => Protocol::Generate(Box::new(Generate::greedy(64))),
            Objective::Classify(_) => Protocol::Classify(Empty {}),
            Objective::Regress(_) => Protocol::Regress(Empty {}),
            Objective::Span(_) => Protocol::Span(Span::default()),
        };
        let settings = json!({ "model": node.stage, "data": format!("{}/typed", train.data.stage),
                               "protocol": protocol, "metrics": [], "precision": train.precision });
        let evaluate = serde_json::from_value(settings).map_err(|error| failed("the settings", &error.into()))?;
        Ok((evaluate, data))
    }

    /// How rows are written and tokenized that the model reads.
    fn typed(&self, raw: bool, tokens: &Tokens, work: &Path) -> Result<Typed, Failure> {
        let node = self.project.graph.node(tokens.id);
        let Stage::Tokenize(tokenize) = node.settings.as_ref() else {
            return Err(Failure {
                message: format!("`{}` is no `tokenize` stage", node.name()),
                place: None,
                hint: Some("its rows are made by a program: there is no template to ask by".into()),
            });
        };
        let mut tokenize = Tokenize::clone(tokenize);
        tokenize.overflow = Overflow::Every(tokenize.overflow.of(tokens.split.as_deref().unwrap_or("train")));
        // The stage's own folder holds the tokenizer; only a chat's template is where the tokenizer came from.
        let from = match (&tokenize.tokenizer, input(node, "tokenizer")) {
            (TokenizerSource::Stage(_), Some((id, part))) if tokenize.chat.is_some() => {
                let left = self.left(id, part)?;
                left.part.as_ref().map_or_else(|| left.result.clone(), |part| left.result.join(part))
            }
            _ => tokens.left.result.clone(),
        };
        let template = input(node, "input").and_then(|(id, _)| {
            let rows = self.project.graph.node(id);
            rows.local_paths.iter().find(|path| path.role == "template").map(|path| self.project.root.join(&path.path))
        });
        let written = match (&template, raw, &tokenize.form) {
            (Some(template), false, _) => Written::Template(template),
            (_, _, Form::Text(_)) if pairs(&tokens.left.result, tokens.split.as_deref()) => Written::Pair,
            _ => Written::Prompt,
        };
        Typed::new(written, &tokenize, &from, work).map_err(Failure::from)
    }
}

/// Whether the rows have a text beside the prompt.
fn pairs(tokens: &Path, split: Option<&str>) -> bool {
    data::preview::has_pairs(tokens, split.unwrap_or("train"))
}

/// The worker with its model.
struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts it and waits until the model is loaded.
    fn start(path: &Path, job: &Job) -> Result<Self, Failure> {
        let mut command = Command::new(path);
        command.arg("--try").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed("`engine-worker` cannot be started", &error))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(lost)?;
        let mut worker = Self { child, stdin, stdout: BufReader::new(stdout) };
        worker.send(job)?;
        match worker.reply()? {
            Reply::Failed(failure) => Err(failure),
            _ => Ok(worker),
        }
    }

    fn send(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| failed("it cannot be asked", &error.into()))?;
        let stdin = self.stdin.as_mut().ok_or_else(lost)?;
        writeln!(stdin, "{text}").and_then(|()| stdin.flush()).map_err(|_| lost())
    }

    fn reply(&mut self) -> Result<Reply, Failure> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(length) if length > 0 => serde_json::from_str(&line).map_err(|_| lost()),
            _ => Err(lost()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without questions it ends by itself.
        self.stdin.take();
        let _ = self.child.wait();
    }
}

fn lost() -> Failure {
    Failure {
        message: "the worker ended before it answered".into(),
        place: None,
        hint: Some("it may have had too little memory; `engine doctor` looks whether the programs are sound".into()),
    }
}

/// Asks for rows and prints answers until standard input ends.
fn talk(typed: &Typed, fields: &Map<String, Value>, worker: &mut Worker) -> Result<Exit, Failure> {
    let terminal = io::stdin().is_terminal();
    let mut lines = io::stdin().lock().lines();
    let mut exit = Exit::Done;
    loop {
        let mut row = fields.clone();
        row.insert("id".to_owned(), Value::from("typed"));
        let mut read = 0;
        while let Some(name) = typed.lacks(&row) {
            if terminal {
                eprint!("{name}> ");
            }
            match lines.next() {
                Some(Ok(line)) => row.insert(name, Value::from(line)),
                Some(Err(error)) => return Err(failed("standard input", &error)),
                None if read > 0 => {
                    return Err(Failure {
                        message: format!("standard input ended before the field `{name}`"),
                        place: None,
                        hint: Some(format!("give a line for each field, or `--field {name}=…`")),
                    });
                }
                None => return Ok(exit),
            };
            read += 1;
        }
        if let Err(failure) = answer(typed, &row, worker) {
            render::failure(None, &failure);
            exit = Exit::Failed;
        }
        // All fields are given: there is one question.
        if read == 0 {
            return Ok(exit);
        }
    }
}

/// Asks one row and prints the answer as it comes.
fn answer(typed: &Typed, row: &Map<String, Value>, worker: &mut Worker) -> Result<(), Failure> {
    let folder = typed.tokens(row).map_err(Failure::from)?;
    worker.send(&folder)?;
    let mut outcome = Ok(());
    loop {
        let mut out = io::stdout().lock();
        let written = match worker.reply()? {
            Reply::Ready => return outcome,
            Reply::Text { text } => write!(out, "{text}").and_then(|()| out.flush()),
            Reply::Ended { ended, .. } => writeln!(out, "{}", if ended { "" } else { " …" }),
            Reply::Classes { classes } => {
                classes.iter().try_for_each(|(name, probability)| writeln!(out, "{probability:.4}  {name}"))
            }
            Reply::Number { number } => writeln!(out, "{number:.4}"),
            Reply::Span { text: Some(text), place: Some((start, end)), .. } => {
                writeln!(out, "{text}  (bytes {start} to {end})")
            }
            Reply::Span { none_is_better_by, .. } => match none_is_better_by {
                Some(by) => writeln!(out, "no answer, by {by:.2}"),
                None => writeln!(out, "no answer"),
            },
            Reply::Failed(failure) => {
                outcome = Err(failure);
                Ok(())
            }
        };
        written.map_err(|error| failed("standard output", &error))?;
    }
}
