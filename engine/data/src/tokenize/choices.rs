//! Rows of a prompt and the answers to choose from: a text for each choice, encoded as one, as lm-evaluation-harness does
//! (`TemplateLM._encode_pair`). One Parquet file a split. Knows where the choice begins; not how a model scores it.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int32Array, ListArray, StringArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, SchemaRef},
};
use spec::stage::{MaxLength, OverflowPolicy, Tokenize};

use super::{Split, batches::Batches};
use crate::{
    Error,
    rows::row_name,
    table,
    tokens::{
        encode::Encoder,
        fit::{Lengths, compared},
        source::SourceRow,
        summary::Counts,
    },
};

/// Makes a split's file.
pub(super) fn split(
    split: Split<'_>,
    encoder: Encoder<'_>,
    settings: &Tokenize,
    delimiter: &str,
) -> Result<Counts, Error> {
    let Split { name, target, events, .. } = split;
    let batches = Batches::open(split)?;
    if !batches.columns.choices {
        return Err(Error::new("the rows have no choices")
            .at(format!("split `{name}`, setting `form`"))
            .hint("add a block `choices` to the template: `{% block choices %}{{ answers|tojson }}{% endblock %}`"));
    }
    let policy = settings.overflow.of(name);
    if let OverflowPolicy::Truncate(field) = &policy
        && **field != *"prompt"
    {
        return Err(Error::new(format!("`{field}` is no text that can be cut"))
            .at(format!("split `{name}`, setting `overflow`"))
            .hint("with `form: choices`, write `truncate: prompt`: its first tokens are left out"));
    }
    let reading = Reading { encoder, delimiter, policy: &policy, limit: settings.max_length };
    let schema = schema();
    let mut writer = table::Writer::create(target, Arc::clone(&schema))?;
    let mut counts = Counts::default();
    let make = |row: SourceRow| reading.read(&row, name).map(|made| (row, made));
    let write = |made: Vec<(SourceRow, Made)>| {
        let mut written = Vec::new();
        for (row, made) in &made {
            match made {
                Made::Dropped(lengths) => {
                    counts.dropped += 1;
                    counts.lose(*lengths);
                }
                Made::Read { choices, right, cut, failed } => {
                    counts.truncated += usize::from(*cut);
                    counts.failed += usize::from(failed.is_some());
                    for (number, choice) in (0..).zip(choices) {
                        counts.add_row(choice.ids.len(), choice.ids.len() - choice.prompt);
                        written.push(Written { row, number, choice, right: *right, failed: failed.as_deref() });
                    }
                }
            }
        }
        writer.write(&table::batch(target, &schema, arrays(&written))?)
    };
    batches.each(make, write)?;
    writer.finish()?;
    counts.check(name, false, settings.max_length)?;
    super::warn(name, &counts, events);
    Ok(counts)
}

/// How rows are read.
struct Reading<'a> {
    encoder: Encoder<'a>,
    delimiter: &'a str,
    policy: &'a OverflowPolicy,
    limit: MaxLength,
}

/// A choice behind its prompt.
struct Choice {
    text: String,
    ids: Vec<u32>,
    /// How many of the ids are the prompt's.
    prompt: usize,
}

enum Made {
    /// Too long.
    Dropped(Lengths),
    /// The number of the right one, whether a prompt was cut, and why nothing can be scored.
    Read { choices: Vec<Choice>, right: Option<usize>, cut: bool, failed: Option<String> },
}

impl Reading<'_> {
    fn read(&self, row: &SourceRow, split: &str) -> Result<Made, Error> {
        let name = row.number.map_or_else(|| format!("the row `{}`", row.id), |number| row_name(number, &row.id));
        let at = |error: Error| error.at(format!("split `{split}`, {name}"));
        let right = right(row).map_err(at)?;
        let mut choices = self.choices(row).map_err(at)?;
        let MaxLength::Row(limit) = self.limit else {
            return Err(at(
                Error::new("`max_length` has two numbers").hint("give one: a prompt and its choice together")
            ));
        };
        let Some(longest) = choices.iter().filter(|choice| choice.ids.len() > limit).max_by_key(|one| one.ids.len())
        else {
            return Ok(Made::Read { choices, right, cut: false, failed: None });
        };
        let lengths = Lengths { prompt: longest.prompt, completion: longest.ids.len() - longest.prompt };
        match self.policy {
            OverflowPolicy::Drop(_) => Ok(Made::Dropped(lengths)),
            OverflowPolicy::Truncate(_) => {
                let begins = usize::from(self.encoder.special.bos.is_some());
                for choice in &mut choices {
                    let excess = choice.ids.len().saturating_sub(limit);
                    if choice.prompt < begins + excess + usize::from(begins == 0) {
                        let failed = Some(format!("a choice is too long: {}", compared(lengths, self.limit)));
                        let nothing = |choice: Choice| Choice { ids: Vec::new(), prompt: 0, ..choice };
                        let choices = choices.into_iter().map(nothing).collect();
                        return Ok(Made::Read { choices, right, cut: false, failed });
                    }
                    choice.ids.drain(begins..begins + excess);
                    choice.prompt -= excess;
                }
                Ok(Made::Read { choices, right, cut: true, failed: None })
            }
            _ => Err(at(Error::new(format!("the row is too long: {}", compared(lengths, self.limit))).hint(format!(
                "raise `max_length`, or say what becomes of long rows: `overflow: {{{split}: {{truncate: prompt}}}}`, or \
                 `drop`"
            )))),
        }
    }

    fn choices(&self, row: &SourceRow) -> Result<Vec<Choice>, Error> {
        if row.choices.is_empty() {
            return Err(Error::new("the row has no choice").hint("leave such rows out: `where: choices`"));
        }
        if let Some(contexts) = &row.contexts
            && contexts.len() != row.choices.len()
        {
            let problem = format!("the row has {} choices and {} contexts", row.choices.len(), contexts.len());
            return Err(Error::new(problem).hint("let the block `contexts` be a list of as many texts as `choices`"));
        }
        let prompt = row.prompt.as_deref().unwrap_or_default();
        let contexts = row.contexts.as_deref().unwrap_or_default();
        let choice = |(number, text): (usize, &String)| {
            let context = format!("{prompt}{}", contexts.get(number).map(String::as_str).unwrap_or_default());
            self.choice(&context, text)
        };
        row.choices.iter().enumerate().map(choice).collect()
    }

    fn choice(&self, prompt: &str, text: &str) -> Result<Choice, Error> {
        let vocabulary = self.encoder.vocabulary;
        let (before, behind) = parted(prompt, self.delimiter, text);
        let mut ids = vocabulary.ids(&format!("{before}{behind}"))?;
        let mut length = vocabulary.ids(before)?.len();
        if ids.len() <= length {
            return Err(Error::new(format!("the choice `{text}` adds no token to the prompt"))
                .hint("give each choice some text; an empty one cannot be scored"));
        }
        if let Some(bos) = self.encoder.special.bos {
            ids.insert(0, bos);
            length += 1;
        }
        if length == 0 {
            return Err(Error::new("nothing stands before a choice, so its first token cannot be scored")
                .hint("give the row a prompt, or `tokenize` a `bos`"));
        }
        Ok(Choice { text: text.to_owned(), ids, prompt: length })
    }
}

/// The part of a text that is given and the part that is scored: white space at the end of the prompt belongs to what
/// follows, since tokens begin with it.
fn parted<'a>(prompt: &'a str, delimiter: &str, choice: &str) -> (&'a str, String) {
    let before = prompt.trim_end_matches(is_space);
    (before, format!("{}{delimiter}{choice}", &prompt[before.len()..]))
}

/// What Python calls white space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The number of the right choice, where the row says.
fn right(row: &SourceRow) -> Result<Option<usize>, Error> {
    let Some(label) = &row.label else { return Ok(None) };
    let number = label.parse().ok().filter(|number: &usize| *number < row.choices.len());
    number.map(Some).ok_or_else(|| {
        Error::new(format!("the label `{label}` is no number of one of the {} choices", row.choices.len()))
            .hint("let the block `label` be the right choice's number, from 0")
    })
}

/// A choice as a row of the file.
struct Written<'a> {
    row: &'a SourceRow,
    number: i32,
    choice: &'a Choice,
    right: Option<usize>,
    failed: Option<&'a str>,
}

fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    table::schema(vec![
        text("id"),
        Field::new("choice", DataType::Int32, false),
        Field::new("input_ids", table::list_of(DataType::Int32), false),
        Field::new("prompt_length", DataType::Int32, false),
        Field::new("right", DataType::Int32, true),
        Field::new("failed", DataType::Utf8, true),
        text("prompt"),
        text("text"),
    ])
}

fn arrays(rows: &[Written<'_>]) -> Vec<ArrayRef> {
    let number = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(|row| row.choice.ids.len()));
    let ids = Int32Array::from_iter_values(rows.iter().flat_map(|row| row.choice.ids.iter().map(|id| *id as i32)));
    let item = Arc::new(Field::new("item", DataType::Int32, false));
    vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.row.id))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.number))),
        Arc::new(ListArray::new(item, lengths, Arc::new(ids), None)),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| number(row.choice.prompt)))),
        Arc::new(rows.iter().map(|row| row.right.map(number)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.failed).collect::<StringArray>()),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.row.prompt.as_deref().unwrap_or_default()))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.choice.text))),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::{rows::Row, template::Template};

    /// What the harness asks for the documents of its tasks, and what it asks after white space has moved.
    #[test]
    fn the_templates_ask_what_the_harness_asks() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let cases: Value =
            serde_json::from_str(&std::fs::read_to_string(root.join("tests/vectors/lm_eval.json")).unwrap()).unwrap();
        let cases = cases["prompts"].as_array().unwrap();
        assert_eq!(cases.len(), 27);
        for case in cases {
            let task = case["task"].as_str().unwrap();
            let name = if task.starts_with("arc") { "arc" } else { task };
            let template = Template::load(&root.join("templates"), &format!("lm_eval/{name}.jinja")).unwrap();
            let document: Row = serde_json::from_value(case["doc"].clone()).unwrap();
            let rendered = template.render(document).unwrap();
            let (prompt, choices) = (rendered.prompt.unwrap(), rendered.choices.unwrap());
            let expected = &case["expected"];
            let requests = expected["requests"].as_array().unwrap();
            assert_eq!(choices.len(), requests.len(), "{case}");
            for (number, (choice, request)) in choices.iter().zip(requests).enumerate() {
                let context = rendered.contexts.as_ref().map(|contexts| contexts[number].as_str()).unwrap_or_default();
                let given = format!("{prompt}{context}");
                assert_eq!((given.as_str(), format!(" {choice}").as_str()), texts(request, ""), "{case}");
                let (before, behind) = parted(&given, " ", choice);
                assert_eq!((before, behind.as_str()), texts(request, "_after_shift"), "{case}");
            }
            assert_eq!(rendered.label.unwrap(), expected["gold"].to_string(), "{case}");
            if task != "winogrande" {
                assert_eq!(Value::from(choices), expected["choices"], "lengths are counted of these");
            }
        }
    }

    fn texts<'a>(request: &'a Value, which: &str) -> (&'a str, &'a str) {
        let text = |name: &str| request[format!("{name}{which}")].as_str().unwrap();
        (text("context"), text("continuation"))
    }
}
