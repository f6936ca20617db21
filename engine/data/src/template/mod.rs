//! How a row becomes texts by a minijinja template: one text for each block. Knows rows and templates; does not know
//! splits, files of rows or tokens.

mod files;
pub mod filter;
mod place;
pub(crate) mod values;

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::Arc,
};

use minijinja::{Environment, OutputSpanKind, UndefinedBehavior, Value, syntax::SyntaxConfig};

use crate::{Error, rows::Row};
pub use files::{folder_of, template_files};
pub use spec::block::Block;

/// Where a column stands in the prompt, verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The column.
    pub field: String,
    /// The first byte of it in the prompt.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// An answer that stands in the pair.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// Its first character's number in the pair.
    pub start: u32,
}

/// What a row became. A block that the template lacks is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rendered {
    /// See [`Block::Prompt`].
    pub prompt: Option<String>,
    /// See [`Block::Pair`].
    pub pair: Option<String>,
    /// See [`Block::Completion`].
    pub completion: Option<String>,
    /// See [`Block::References`].
    pub references: Option<Vec<String>>,
    /// See [`Block::Choices`].
    pub choices: Option<Vec<String>>,
    /// See [`Block::Contexts`].
    pub contexts: Option<Vec<String>>,
    /// See [`Block::Label`].
    pub label: Option<String>,
    /// See [`Block::Pairs`].
    pub pairs: Option<Vec<(String, String)>>,
    /// See [`Block::Answers`].
    pub answers: Option<Vec<Answer>>,
    /// The text columns that stand in the prompt exactly once and unchanged.
    pub spans: Vec<Span>,
}

/// What a row may cost to render: an instruction, or 64 bytes of text, is one. A template that runs on ends here.
const FUEL: u64 = 20_000_000;

/// A template, ready to render rows.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    name: String,
    blocks: BTreeSet<Block>,
}

impl Template {
    /// Reads the template `name` of a templates folder, and what it includes, extends and imports; nothing else can be
    /// read while rows are rendered.
    ///
    /// # Errors
    /// When a file is missing or is no template, and for blocks that are not known.
    pub fn load(folder: &Path, name: &str) -> Result<Self, Error> {
        let sources = files::sources(folder, name)?;
        let mut environment = Environment::new();
        strict(&mut environment);
        environment.set_formatter(no_null);
        environment.set_fuel(Some(FUEL));
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.map_err(|error| place::error(&error, None))?);
        for source in &sources {
            environment
                .add_template_owned(source.name.clone(), source.text.clone())
                .map_err(|error| place::error(&error, None))?;
        }
        let blocks = known_blocks(name, &sources)?;
        Ok(Self { environment, name: name.to_owned(), blocks })
    }

    /// The blocks that the template defines.
    pub fn blocks(&self) -> &BTreeSet<Block> {
        &self.blocks
    }

    /// The first column that rendering needs and that `row` lacks.
    pub fn lacks(&self, row: &Row) -> Option<String> {
        let asked = Arc::new(values::Asked::new(row.clone()));
        let template = self.environment.get_template(&self.name).ok()?;
        let error = template.render(Value::from_dyn_object(Arc::clone(&asked))).err()?;
        (error.kind() == minijinja::ErrorKind::UndefinedError).then(|| asked.missing()).flatten()
    }

    /// Renders a row. White space of `prompt` and `completion` is kept exactly.
    ///
    /// # Errors
    /// When the row lacks a column that the template wants, when an expression fails, when a block that is to be JSON is
    /// not, or when text stands outside all blocks; with the template's file and line.
    pub fn render(&self, row: Row) -> Result<Rendered, Error> {
        let columns = Arc::new(values::Columns(row));
        let row = &columns.0;
        let context = Value::from_dyn_object(Arc::clone(&columns));
        let failed = |error: minijinja::Error| place::error(&error, Some(row));
        let template = self.environment.get_template(&self.name).map_err(failed)?;
        let (whole, spans) = template.render_with_spans(context.clone()).map_err(failed)?;
        let mut captured = template.render_captured(context).map_err(failed)?;
        let mut rendered = Rendered::default();
        let mut inside = 0;
        for block in &self.blocks {
            let text = captured.with_state_mut(|state| state.render_block(block.name())).map_err(failed)?;
            inside += solid(&text);
            let wrong = |message| self.wrong_json(*block, &text, message);
            match block {
                Block::Prompt => rendered.prompt = Some(text),
                Block::Pair => rendered.pair = Some(text),
                Block::Answers => rendered.answers = Some(serde_json::from_str(&text).map_err(wrong)?),
                Block::Completion => rendered.completion = Some(text),
                Block::Label => rendered.label = Some(text.trim().to_owned()),
                Block::References => rendered.references = Some(serde_json::from_str(&text).map_err(wrong)?),
                Block::Choices => rendered.choices = Some(serde_json::from_str(&text).map_err(wrong)?),
                Block::Contexts => rendered.contexts = Some(serde_json::from_str(&text).map_err(wrong)?),
                Block::Pairs => rendered.pairs = Some(serde_json::from_str(&text).map_err(wrong)?),
            }
        }
        if solid(&whole) > inside {
            return Err(Error::new("the template has text outside its blocks, which is lost")
                .at(format!("templates/{}", self.name))
                .hint("put it into a block: `{% block prompt %}…{% endblock %}`"));
        }
        if let Some(prompt) = rendered.prompt.as_ref().filter(|prompt| !prompt.is_empty())
            && let Some(start) = whole.find(prompt.as_str())
        {
            let source = |name: &str| self.environment.get_template(name).map(|t| t.source().to_owned()).ok();
            rendered.spans = columns_of(row, &whole, start..start + prompt.len(), &spans, source);
        }
        Ok(rendered)
    }

    fn wrong_json(&self, block: Block, text: &str, error: serde_json::Error) -> Error {
        let (shape, example) = match block {
            Block::Pairs => ("a JSON list of [prompt, completion]", "{{ list_of_pairs|tojson }}"),
            Block::Answers => ("a JSON list of {text, start}", "{{ [{'text': answer, 'start': place}]|tojson }}"),
            _ => ("a JSON list of texts", "{{ answers|tojson }}"),
        };
        let mut begins: String = text.trim().chars().take(60).collect();
        if begins.len() < text.trim().len() {
            begins.push('…');
        }
        Error::new(format!("the block `{}` is not {shape}: {error}; it begins `{begins}`", block.name()))
            .at(format!("templates/{}", self.name))
            .hint(format!("write `{{% block {} %}}{example}{{% endblock %}}`", block.name()))
    }
}

/// What is undefined is an error that names it; text is written as it is.
fn strict(environment: &mut Environment<'_>) {
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_debug(true);
}

/// A null would become the word `None`, in a prompt or as a class.
fn no_null(
    out: &mut minijinja::Output<'_>,
    state: &mut minijinja::State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    if value.is_none() {
        let message =
            "this is null, which is no text; write `{{ column or \"\" }}`, or leave such rows out with `where`";
        return Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message));
    }
    minijinja::escape_formatter(out, state, value)
}

/// How many characters are no white space.
fn solid(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

/// The columns that an expression of their bare name (`{{ context }}`) writes into a part of the output, once and
/// verbatim.
fn columns_of(
    row: &Row,
    whole: &str,
    part: std::ops::Range<usize>,
    spans: &[minijinja::OutputSpan],
    source: impl Fn(&str) -> Option<String>,
) -> Vec<Span> {
    let mut found: Vec<Span> = Vec::new();
    let mut repeated = HashSet::new();
    let mut texts: Vec<(&str, String)> = Vec::new();
    for span in spans.iter().filter(|span| span.kind() == OutputSpanKind::Expression) {
        let output = span.output_range();
        if output.start < part.start || output.end > part.end {
            continue;
        }
        if !texts.iter().any(|(name, _)| *name == span.name()) {
            let Some(text) = source(span.name()) else { continue };
            texts.push((span.name(), text));
        }
        let text = texts.iter().find(|(name, _)| *name == span.name()).map(|(_, text)| text.as_str());
        let Some(expression) = text.and_then(|text| text.get(span.source_range())) else { continue };
        let name = expression.trim();
        if row.get(name).and_then(|value| value.as_str()) != Some(&whole[output.clone()]) {
            continue;
        }
        if found.iter().any(|other| other.field == name) {
            repeated.insert(name.to_owned());
        } else {
            found.push(Span { field: name.to_owned(), start: output.start - part.start, end: output.end - part.start });
        }
    }
    found.retain(|span| !repeated.contains(&span.field));
    found
}

/// The blocks that a template of a templates folder defines, with those of the files that it reads.
///
/// # Errors
/// When a file is missing, and for blocks that are not known or do not go together.
pub fn blocks(folder: &Path, name: &str) -> Result<BTreeSet<Block>, Error> {
    known_blocks(name, &files::sources(folder, name)?)
}

fn known_blocks(name: &str, sources: &[files::Source]) -> Result<BTreeSet<Block>, Error> {
    let names = Block::ALL.map(Block::name);
    let mut blocks = BTreeSet::new();
    for source in sources {
        for (word, line) in &source.blocks {
            let Some(block) = Block::ALL.into_iter().find(|block| block.name() == word) else {
                return Err(Error::new(format!("`{word}` is no block of a template"))
                    .at(format!("templates/{}:{line}", source.name))
                    .hint(spec::suggest::did_you_mean(word, names)));
            };
            blocks.insert(block);
        }
    }
    if !blocks.contains(&Block::Prompt) && !blocks.contains(&Block::Pairs) {
        return Err(Error::new("the template defines neither a block `prompt` nor a block `pairs`")
            .at(format!("templates/{name}"))
            .hint("write `{% block prompt %}…{% endblock %}`"));
    }
    let belonging = [
        (Block::Pair, Block::Prompt),
        (Block::Answers, Block::Pair),
        (Block::Choices, Block::Prompt),
        (Block::Contexts, Block::Choices),
    ];
    for (block, needed) in belonging {
        if blocks.contains(&block) && !blocks.contains(&needed) {
            return Err(Error::new(format!(
                "the template defines a block `{}` and no block `{}`, which it belongs to",
                block.name(),
                needed.name()
            ))
            .at(format!("templates/{name}"))
            .hint(format!("write `{{% block {} %}}…{{% endblock %}}`", needed.name())));
        }
    }
    if blocks.contains(&Block::Completion) && blocks.contains(&Block::Pairs) {
        return Err(Error::new("the template defines both `completion` and `pairs`")
            .at(format!("templates/{name}"))
            .hint("keep one: a prompt may stand before pairs, each pair brings its own completion"));
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests;
