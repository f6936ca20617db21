//! A row that a person types, made into token ids just as the rows of a split: by the same template and the same
//! tokenizing. What a model is to answer is left empty. Knows a template and a tokenizer; no model.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use spec::{
    files,
    job::{Device, Job, JobInput},
    stage::{Form, Tokenize},
};

use crate::{
    Error, preprocess,
    rows::Row,
    template::{Block, Template, folder_of, template_files},
    tokenize,
    tokens::labels::Labels,
};

/// The split of the typed row.
pub const SPLIT: &str = "typed";

/// The template of a row that is a prompt already.
const RAW: &str = "{% block prompt %}{{ prompt }}{% endblock %}";
/// The same with a text beside it.
const RAW_PAIR: &str = "{% block prompt %}{{ prompt }}{% endblock %}{% block pair %}{{ pair }}{% endblock %}\
                        {% block references %}[]{% endblock %}";

/// How typed rows become token ids.
#[derive(Debug)]
pub struct Typed {
    template: Template,
    path: PathBuf,
    settings: Value,
    tokenizer: PathBuf,
    folder: PathBuf,
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written<'a> {
    /// Columns, for this template, a file below a folder `templates`.
    Template(&'a Path),
    /// The prompt itself, in the column `prompt`.
    Prompt,
    /// The prompt itself, and in the column `pair` what is read beside it.
    Pair,
}

impl Typed {
    /// Rows for `written`, tokenized by the settings of a `tokenize` stage with the tokenizer of the folder `tokenizer`.
    /// `tokens` is what that stage left; `folder` an empty folder for what is made on the way.
    ///
    /// # Errors
    /// When the template cannot be read, or makes rows of several turns.
    pub fn new(
        written: Written<'_>,
        settings: &Tokenize,
        tokenizer: &Path,
        tokens: &Path,
        folder: &Path,
    ) -> Result<Self, Error> {
        let templates = folder.join("templates");
        let labels = labels(tokens)?;
        let text = match written {
            Written::Prompt => RAW.to_owned(),
            Written::Pair => RAW_PAIR.to_owned(),
            Written::Template(path) => {
                let (from, name) = folder_of(path)?;
                for file in template_files(&from, &name)? {
                    let to = templates.join(file.strip_prefix(&from).unwrap_or(&file));
                    let io = |error| Error::io("copy", &file, &error);
                    fs::create_dir_all(to.parent().unwrap_or(&templates)).map_err(io)?;
                    fs::copy(&file, &to).map_err(io)?;
                }
                let whole = Template::load(&from, &name)?;
                without_answers(&name, whole.blocks(), labels.first().map_or("0", String::as_str))?
            }
        };
        // A name that no template of the project has.
        let name = "the typed row.jinja";
        let path = templates.join(name);
        let io = |error| Error::io("write", &path, &error);
        fs::create_dir_all(&templates).map_err(io)?;
        fs::write(&path, text).map_err(io)?;
        let mut settings = settings.clone();
        if let Form::Text(form) = &mut settings.form
            && !labels.is_empty()
        {
            form.labels = Some(labels);
        }
        let settings = serde_json::to_value(&settings).map_err(|error| Error::new(error.to_string()))?;
        let template = Template::load(&templates, name)?;
        Ok(Self { template, path, settings, tokenizer: tokenizer.to_owned(), folder: folder.to_owned() })
    }

    /// The first column that the prompt needs and that `row` lacks.
    pub fn lacks(&self, row: &Row) -> Option<String> {
        self.template.lacks(row)
    }

    /// The ids of a row: a folder as a `tokenize` stage leaves it, with the split [`SPLIT`].
    ///
    /// # Errors
    /// When the row cannot be rendered or tokenized, as it would be with the rows of a split.
    pub fn tokens(&self, row: &Row) -> Result<PathBuf, Error> {
        let (rows, tokens) = (self.empty("rows")?, self.empty("tokens")?);
        let settings = json!({
            "input": { "rows": { SPLIT: [row] } },
            "template": "typed",
            "splits": { SPLIT: { "from": SPLIT } },
        });
        let files = BTreeMap::from([("template".to_owned(), self.path.clone())]);
        preprocess::run(&self.job("preprocess", settings, BTreeMap::new(), files, &rows), &|_| {})?;
        let inputs = BTreeMap::from([
            ("input".to_owned(), vec![input(SPLIT, "preprocess", &rows)]),
            ("tokenizer".to_owned(), vec![input("tokenizer", "tokenize", &self.tokenizer)]),
        ]);
        tokenize::run(&self.job("tokenize", self.settings.clone(), inputs, BTreeMap::new(), &tokens), &|_| {})?;
        Ok(tokens)
    }

    fn empty(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.folder.join(name);
        let io = |error| Error::io("make", &folder, &error);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(io)?;
        }
        fs::create_dir_all(&folder).map_err(io)?;
        Ok(folder)
    }

    fn job(
        &self,
        kind: &str,
        settings: Value,
        inputs: BTreeMap<String, Vec<JobInput>>,
        files: BTreeMap<String, PathBuf>,
        result: &Path,
    ) -> Job {
        Job {
            kind: kind.to_owned(),
            name: SPLIT.to_owned(),
            settings,
            inputs,
            files,
            result: result.to_owned(),
            observed: result.to_owned(),
            state: result.to_owned(),
            threads: 1,
            device: Device::Cpu,
            revision: None,
        }
    }
}

fn input(stage: &str, kind: &str, result: &Path) -> JobInput {
    JobInput {
        stage: stage.to_owned(),
        kind: kind.to_owned(),
        coordinates: Vec::new(),
        part: None,
        result: result.to_owned(),
        observed: result.to_owned(),
        carried: None,
    }
}

/// The names of the classes that a `tokenize` stage found; none where it has no classes.
fn labels(tokens: &Path) -> Result<Vec<String>, Error> {
    let path = tokens.join(files::LABELS);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
    let labels: Labels = serde_json::from_slice(&text).map_err(|error| Error::new(error.to_string()).in_file(&path))?;
    Ok(labels.labels)
}

/// A template that writes what `name` writes, but nothing of what is to be answered.
fn without_answers(name: &str, blocks: &BTreeSet<Block>, label: &str) -> Result<String, Error> {
    let mut text = format!("{{% extends {} %}}", json!(name));
    for block in blocks {
        let empty = match block {
            Block::Prompt | Block::Pair => continue,
            Block::Completion => String::new(),
            Block::References | Block::Choices | Block::Answers => "[]".to_owned(),
            Block::Label => format!("{{{{ {} }}}}", json!(label)),
            Block::Pairs => {
                return Err(Error::new("its template writes several prompts and completions in one row")
                    .at(format!("templates/{name}"))
                    .hint("type the prompt itself, with `--raw`"));
            }
        };
        text.push_str(&format!("{{% block {} %}}{empty}{{% endblock %}}", block.name()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let templates = folder.path().join("templates");
        fs::create_dir_all(&templates).unwrap();
        fs::write(templates.join("words.jinja"), "{% macro loud(word) %}{{ word|upper }}{% endmacro %}").unwrap();
        let text = "{% from 'words.jinja' import loud %}{% block prompt %}{{ loud(thing) }} is{% if place %} in {{ place }}\
                    {% endif %}{% endblock %}{% block completion %} {{ colour }}{% endblock %}\
                    {% block references %}{{ [colour]|tojson }}{% endblock %}";
        fs::write(templates.join("ask.jinja"), text).unwrap();
        let path = templates.join("ask.jinja");
        (folder, path)
    }

    #[test]
    fn only_what_the_prompt_needs_is_asked_for() {
        let (folder, path) = project();
        let settings: Tokenize = serde_json::from_value(json!({
            "input": "rows", "tokenizer": "tokens", "max_length": 64,
        }))
        .unwrap();
        let work = folder.path().join("work");
        let typed = Typed::new(Written::Template(&path), &settings, &work, &work, &work).unwrap();
        let row = |json: Value| json.as_object().unwrap().clone();
        assert_eq!(typed.lacks(&row(json!({}))).as_deref(), Some("thing"));
        assert_eq!(typed.lacks(&row(json!({ "thing": "sky" }))).as_deref(), Some("place"));
        assert_eq!(typed.lacks(&row(json!({ "thing": "sky", "place": "" }))), None);
        let raw = Typed::new(Written::Prompt, &settings, &work, &work, &work).unwrap();
        assert_eq!(raw.lacks(&row(json!({}))).as_deref(), Some("prompt"));
    }

    #[test]
    fn a_template_of_several_turns_is_refused() {
        let blocks = BTreeSet::from([Block::Pairs]);
        let error = without_answers("chat.jinja", &blocks, "0").unwrap_err();
        assert!(error.to_string().contains("several prompts"), "{error}");
    }
}
