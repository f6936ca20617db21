//! A row that a person types, made into token ids just as the rows of a split: by the same template and the same
//! tokenizing. What a model is to answer is left out. Knows a template and a tokenizer; no model.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use spec::{
    files,
    job::{Device, Job},
    stage::Tokenize,
};

use crate::{
    Error, preprocess,
    rows::Row,
    table,
    template::{Block, Template, folder_of, template_files},
    tokenize::Tokenization,
    tokens::tokenizer,
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
    tokenization: Tokenization,
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
    /// Rows for `written`, tokenized by the settings of a `tokenize` stage with the tokenizer of the folder `from`, which is
    /// read here and never again. `folder` is an empty folder for what is made on the way.
    ///
    /// # Errors
    /// When the template or the tokenizer cannot be read, or the template makes rows of several turns.
    pub fn new(written: Written<'_>, settings: &Tokenize, from: &Path, folder: &Path) -> Result<Self, Error> {
        let tokenization = Tokenization::new(settings.clone(), from, tokenizer(from)?)?;
        let templates = folder.join("templates");
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
                without_answers(&name, whole.blocks())?
            }
        };
        // A name that no template of the project has.
        let name = "the typed row.jinja";
        let path = templates.join(name);
        let io = |error| Error::io("write", &path, &error);
        fs::create_dir_all(&templates).map_err(io)?;
        fs::write(&path, text).map_err(io)?;
        let template = Template::load(&templates, name)?;
        Ok(Self { template, path, tokenization, folder: folder.to_owned() })
    }

    /// The first column that the prompt needs and that `row` lacks.
    pub fn lacks(&self, row: &Row) -> Option<String> {
        self.template.lacks(row)
    }

    /// The ids of a row: a folder that holds the split [`SPLIT`] as a `tokenize` stage leaves it.
    ///
    /// # Errors
    /// When the row cannot be rendered or tokenized, as it would be with the rows of a split.
    pub fn tokens(&self, row: &Row) -> Result<PathBuf, Error> {
        let (rows, tokens) = (self.empty("rows")?, self.empty("tokens")?);
        preprocess::run(&self.preprocess(row, &rows), &|_| {})?;
        let (rendered, asked) = (rows.join(files::split(SPLIT)), rows.join("asked.parquet"));
        without_columns(&rendered, &asked, &["completion", "label"])?;
        self.tokenization.split(SPLIT, &asked, &tokens.join(files::split(SPLIT)), &|_| {})?;
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

    fn preprocess(&self, row: &Row, result: &Path) -> Job {
        Job {
            kind: "preprocess".to_owned(),
            name: SPLIT.to_owned(),
            settings: json!({
                "input": { "rows": { SPLIT: [row] } },
                "template": "typed",
                "splits": { SPLIT: { "from": SPLIT } },
            }),
            inputs: BTreeMap::new(),
            files: BTreeMap::from([("template".to_owned(), self.path.clone())]),
            result: result.to_owned(),
            observed: result.to_owned(),
            state: result.to_owned(),
            threads: 1,
            device: Device::Cpu,
            revision: None,
            origin: None,
        }
    }
}

/// Copies rows, but not these columns: an answer that is empty would still be an answer.
fn without_columns(from: &Path, to: &Path, columns: &[&str]) -> Result<(), Error> {
    let mut reader = table::open(from, None)?;
    let mut writer = None;
    while let Some(batch) = table::next(from, &mut reader)? {
        let schema = batch.schema();
        let all = schema.fields().iter().map(|field| field.as_ref().clone()).zip(batch.columns().iter().cloned());
        let (fields, kept) = all.filter(|(field, _)| !columns.contains(&field.name().as_str())).unzip();
        let schema = table::schema(fields);
        let writer = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(table::Writer::create(to, Arc::clone(&schema))?),
        };
        writer.write(&table::batch(to, &schema, kept)?)?;
    }
    writer.map_or(Ok(()), table::Writer::finish)
}

/// A template that writes what `name` writes, but nothing of what is to be answered.
fn without_answers(name: &str, blocks: &BTreeSet<Block>) -> Result<String, Error> {
    let mut text = format!("{{% extends {} %}}", json!(name));
    for block in blocks {
        let empty = match block {
            Block::Prompt | Block::Pair => continue,
            Block::Completion => "",
            Block::References | Block::Choices | Block::Contexts | Block::Answers => "[]",
            Block::Label => "0",
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
    use crate::tokens::{bpe, read};
    use serde_json::Value;

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
    fn only_what_the_prompt_needs_is_asked_for_and_read() {
        let (folder, path) = project();
        let settings: Tokenize = serde_json::from_value(json!({
            "input": "rows", "tokenizer": "tokens", "max_length": 64, "eos": "none",
        }))
        .unwrap();
        let work = folder.path().join("work");
        let trained = bpe::train(&["SKY is in France".to_owned()], 270, 1).unwrap();
        fs::write(folder.path().join(files::TOKENIZER), trained.to_string(false).unwrap()).unwrap();
        let typed = Typed::new(Written::Template(&path), &settings, folder.path(), &work).unwrap();
        // It is read once.
        fs::remove_file(folder.path().join(files::TOKENIZER)).unwrap();
        let row = |json: Value| json.as_object().unwrap().clone();
        assert_eq!(typed.lacks(&row(json!({}))).as_deref(), Some("thing"));
        assert_eq!(typed.lacks(&row(json!({ "thing": "sky" }))).as_deref(), Some("place"));
        assert_eq!(typed.lacks(&row(json!({ "thing": "sky", "place": "" }))), None);
        for thing in ["sky", "sea"] {
            let tokens = typed.tokens(&row(json!({ "id": "typed", "thing": thing, "place": "" }))).unwrap();
            let rows = read(&tokens.join(files::split(SPLIT))).unwrap();
            let ids: Vec<u32> = rows[0].input_ids.iter().map(|id| *id as u32).collect();
            assert_eq!(trained.decode(&ids, true).unwrap(), format!("{} is", thing.to_uppercase()));
            assert_eq!((rows.len(), rows[0].prompt_length), (1, ids.len()));
        }
        fs::write(folder.path().join(files::TOKENIZER), trained.to_string(false).unwrap()).unwrap();
        let raw = Typed::new(Written::Prompt, &settings, folder.path(), &folder.path().join("raw")).unwrap();
        assert_eq!(raw.lacks(&row(json!({}))).as_deref(), Some("prompt"));
    }

    /// The values are those of `tests/golden/chats.py`.
    #[test]
    fn a_prompt_in_a_chat_has_the_ids_of_transformers() {
        for name in ["headers", "turns", "thinking", "brackets", "lines", "macros"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chats").join(name);
            let golden: Value = serde_json::from_slice(&fs::read(from.join("golden.json")).unwrap()).unwrap();
            let mut compared = 0;
            for case in golden["cases"].as_array().unwrap() {
                let messages = case["messages"].as_array().unwrap();
                let system = messages.iter().find(|message| message["role"] == "system");
                let [asked] = &messages[usize::from(system.is_some())..] else { continue };
                let settings: Tokenize = serde_json::from_value(json!({
                    "input": "rows", "tokenizer": "tokens", "max_length": 500,
                    "chat": { "system": system.map(|message| &message["content"]) },
                }))
                .unwrap();
                let work = tempfile::tempdir().unwrap();
                let typed = Typed::new(Written::Prompt, &settings, &from, work.path()).unwrap();
                let row = json!({ "id": "typed", "prompt": asked["content"] });
                let rows = read(&typed.tokens(row.as_object().unwrap()).unwrap().join(files::split(SPLIT))).unwrap();
                assert_eq!(json!(rows[0].input_ids), case["ids"], "{name}: {asked}");
                assert_eq!(rows[0].prompt_length, rows[0].input_ids.len());
                compared += 1;
            }
            assert!(compared > 0, "{name}");
        }
    }

    #[test]
    fn a_template_of_several_turns_is_refused() {
        let blocks = BTreeSet::from([Block::Pairs]);
        let error = without_answers("chat.jinja", &blocks).unwrap_err();
        assert!(error.to_string().contains("several prompts"), "{error}");
    }
}
