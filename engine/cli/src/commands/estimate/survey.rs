//! What is asked of each training: its settings, the shape of its model, and the rows that are there or may be. Knows
//! neither how the worker is asked nor how answers are shown.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use plan::{
    graph::{Node, NodeId},
    state::Freshness,
};
use spec::{
    adapter::AdapterSource,
    forecast::{Assumed, Question, Shape, Trained},
    job::{Failure, JobInput},
    model::ModelSource,
    stage::{Form, MaxLength, Source, Stage, Tokenize, TokenizerSource},
};

use crate::{project::Project, session::Session};

/// The project beside what is made of it.
pub struct Surveyed<'a> {
    pub project: &'a Project,
    pub session: &'a Session,
    pub survey: &'a [Freshness],
    /// The pipeline file, as it was named.
    pub file: &'a Path,
    /// Rows to train on of `tokenize` stages that are not made yet, as far as they were told.
    pub rows: &'a HashMap<NodeId, u64>,
}

impl Surveyed<'_> {
    /// The question for a `train` stage.
    pub fn question(&self, node: &Node, cores: usize) -> Result<Question, Failure> {
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
        let mut assumed = Assumed { length: 512, answer: 512, labels: 2, vocabulary: 0, rows: None };
        let Some((id, part)) = self.input(node, "data") else { return (None, assumed) };
        let tokens = self.project.graph.node(id);
        if let Stage::Tokenize(tokenize) = tokens.settings.as_ref() {
            assumed = at_most(tokenize);
        }
        assumed.rows = self.rows.get(&id).copied();
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
    Assumed {
        length: length as u64,
        answer: answer as u64,
        labels: labels as u64,
        vocabulary: vocabulary as u64,
        rows: None,
    }
}
