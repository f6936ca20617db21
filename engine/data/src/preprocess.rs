//! The `preprocess` stage: rows from files, divided into splits, rendered by a template, one Parquet file a split.
//! Knows the order of these steps; each is done elsewhere.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields, SchemaRef},
};
use rayon::prelude::*;
use spec::{
    files,
    job::{Event, Job},
    stage::{Format, Preprocess, RowSource, Split},
};

use crate::{
    Error,
    job::{Events, input, settings},
    join,
    rows::{self, Row, Rows, row_name},
    splits::{self, Selection},
    table::{self, Writer},
    template::{Block, Rendered, Template, folder_of},
};

/// Does a `preprocess` stage.
///
/// # Errors
/// When a file, a row, a split or the template is wrong, or when the result cannot be written.
pub fn run(job: &Job, events: Events<'_>) -> Result<(), Error> {
    let settings: Preprocess = settings(job)?;
    let file = job.local_file("template").ok_or_else(|| Error::new("the job lacks its template").at(&job.name))?;
    let (templates, name) = folder_of(file)?;
    let template = Template::load(&templates, &name)?;
    let mut sources: BTreeMap<&[String], Vec<(&String, &Split)>> = BTreeMap::new();
    for (name, split) in &settings.splits {
        sources.entry(&split.from.0).or_default().push((name, split));
    }
    for (from, splits) in sources {
        let wanting: Vec<String> = splits.iter().map(|(name, _)| format!("`{name}`")).collect();
        let wanting = format!("the split {}", wanting.join(", "));
        let source = source(job, &settings, from, &wanting, events)?;
        if let Some(warning) = &source.warning {
            events(Event::Warning { message: format!("{}: {warning}", from.join(", ")) });
        }
        for (name, split) in splits {
            let selection = splits::select(&settings, name, split, &source)?;
            write(job, name, &template, &source, &selection, events)?;
        }
    }
    Ok(())
}

/// The rows of some names, one after the other: where they are, if nothing is done to them, else in memory.
fn source(job: &Job, settings: &Preprocess, from: &[String], wanting: &str, events: Events<'_>) -> Result<Rows, Error> {
    if let (RowSource::Stage(_), None, true) = (&settings.input, &settings.join, settings.names.is_empty()) {
        let folder = &input(job, "input")?.result;
        let paths: Vec<Vec<PathBuf>> =
            from.iter().map(|name| found(folder, name, wanting)).collect::<Result<_, Error>>()?;
        if let Some(rows) = Rows::in_files(&paths.concat(), settings.format.as_ref())? {
            return Ok(rows);
        }
    }
    read(job, settings, from, wanting, events).map(Rows::new)
}

/// The files that a name means.
fn found(folder: &Path, name: &str, wanting: &str) -> Result<Vec<PathBuf>, Error> {
    rows::find(folder, name)
        .map_err(|error| Error { message: format!("{}, which {wanting} comes from", error.message), ..error })
}

/// The rows of some names, one after the other, with the names of their values and what is joined to them.
fn read(
    job: &Job,
    settings: &Preprocess,
    from: &[String],
    wanting: &str,
    events: Events<'_>,
) -> Result<Vec<Row>, Error> {
    let mut rows = match &settings.input {
        RowSource::Stage(_) => {
            read_files(&input(job, "input")?.result, from, settings.format.as_ref(), wanting, events)?
        }
        RowSource::Rows(rows) => from.iter().filter_map(|name| rows.get(name)).flatten().cloned().collect(),
    };
    join::name_values(&mut rows, &settings.names).map_err(|error| among(error, from))?;
    let Some(join) = &settings.join else { return Ok(rows) };
    let others = read_files(&input(job, "join.with")?.result, &join.from.0, join.format.as_ref(), "the join", events)?;
    let (rows, dropped) = join::join(rows, others, join).map_err(|error| among(error, from))?;
    if dropped > 0 {
        let message = format!("{}: {dropped} rows have no partner to join and were left out", from.join(", "));
        events(Event::Warning { message });
    }
    Ok(rows)
}

/// An error of a row, with the names that its row was read under.
fn among(error: Error, from: &[String]) -> Error {
    let place = error.place.clone().unwrap_or_default();
    error.at(format!("`{}`, {place}", from.join(", ")))
}

fn read_files(
    folder: &Path,
    from: &[String],
    format: Option<&Format>,
    wanting: &str,
    events: Events<'_>,
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for name in from {
        for path in found(folder, name, wanting)? {
            rows.extend(rows::read(&path, format, &mut |message| events(Event::Warning { message }))?);
        }
    }
    Ok(rows)
}

fn write(
    job: &Job,
    split: &str,
    template: &Template,
    source: &Rows,
    selection: &Selection,
    events: Events<'_>,
) -> Result<(), Error> {
    let path = job.result.join(files::split(split));
    let schema = schema(template);
    let mut writer = Writer::create(&path, Arc::clone(&schema))?;
    let total = selection.rows.len();
    let render = |positions: Range<usize>| {
        let of_row = |position| {
            template
                .render(selection.row(source, position)?)
                .map_err(|error| at_row(error, split, source, selection, position))
        };
        let rendered: Vec<Result<Rendered, Error>> = positions.clone().into_par_iter().map(of_row).collect();
        Ok((positions, rendered.into_iter().collect::<Result<Vec<_>, _>>()?))
    };
    let mut ending_in_space = 0;
    let mut write = |(positions, rendered): (Range<usize>, Vec<Rendered>)| {
        let done = positions.end as u64;
        ending_in_space +=
            rendered.iter().filter(|row| row.prompt.as_ref().is_some_and(|text| text.ends_with(' '))).count();
        writer.write(&batch(&path, &schema, source, &selection.rows[positions], &rendered)?)?;
        events(Event::Progress { done, total: total as u64, unit: "rows".into(), note: format!("split {split}") });
        Ok::<(), Error>(())
    };
    // While rows are rendered on all threads, those before them are written.
    let mut rendered = None;
    for first in (0..total).step_by(table::CHUNK) {
        let positions = first..(first + table::CHUNK).min(total);
        let (written, next) = rayon::join(|| rendered.map_or(Ok(()), &mut write), || render(positions));
        written?;
        rendered = Some(next?);
    }
    rendered.map_or(Ok(()), &mut write)?;
    if ending_in_space > 0 {
        events(Event::Warning {
            message: format!(
                "split `{split}`: {ending_in_space} of {total} prompts end in a space; most tokenizers join a space to \
                 the word after it, so begin the completion with it instead"
            ),
        });
    }
    writer.finish()
}

/// An error of a template, with the row it happened on.
fn at_row(error: Error, split: &str, source: &Rows, selection: &Selection, position: usize) -> Error {
    let row = selection.rows[position];
    let name = row_name(row, &source.id(row));
    let template = error.place.clone().unwrap_or_else(|| "template".to_owned());
    error.at(format!("{template}, split `{split}`, {name}"))
}

fn pair_fields() -> Fields {
    vec![Field::new("prompt", DataType::Utf8, false), Field::new("completion", DataType::Utf8, false)].into()
}

fn answer_fields() -> Fields {
    vec![Field::new("text", DataType::Utf8, false), Field::new("start", DataType::Int32, false)].into()
}

fn span_fields() -> Fields {
    vec![
        Field::new("field", DataType::Utf8, false),
        Field::new("start", DataType::Int32, false),
        Field::new("end", DataType::Int32, false),
    ]
    .into()
}

/// The columns of a split: `id`, `row`, one for each block, and `spans` where there is a prompt.
fn schema(template: &Template) -> SchemaRef {
    let mut fields = vec![Field::new("id", DataType::Utf8, false), Field::new("row", DataType::Int64, false)];
    for block in template.blocks() {
        let kind = match block {
            Block::Prompt | Block::Pair | Block::Completion | Block::Label => DataType::Utf8,
            Block::References | Block::Choices | Block::Contexts => table::list_of(DataType::Utf8),
            Block::Pairs => table::list_of(DataType::Struct(pair_fields())),
            Block::Answers => table::list_of(DataType::Struct(answer_fields())),
        };
        fields.push(Field::new(block.name(), kind, false));
    }
    if template.blocks().contains(&Block::Prompt) {
        fields.push(Field::new("spans", table::list_of(DataType::Struct(span_fields())), false));
    }
    table::schema(fields)
}

fn batch(
    path: &Path,
    schema: &SchemaRef,
    source: &Rows,
    numbers: &[usize],
    rendered: &[Rendered],
) -> Result<RecordBatch, Error> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for field in schema.fields() {
        columns.push(match field.name().as_str() {
            "id" => Arc::new(StringArray::from_iter_values(numbers.iter().map(|row| source.id(*row)))),
            "row" => Arc::new(Int64Array::from_iter_values(numbers.iter().map(|row| *row as i64))),
            "prompt" => text(rendered, |row| row.prompt.as_deref()),
            "pair" => text(rendered, |row| row.pair.as_deref()),
            "answers" => Arc::new(answers(rendered)),
            "completion" => text(rendered, |row| row.completion.as_deref()),
            "label" => text(rendered, |row| row.label.as_deref()),
            "references" => {
                Arc::new(table::texts(rendered.iter().map(|row| row.references.as_deref().unwrap_or_default())))
            }
            "choices" => Arc::new(table::texts(rendered.iter().map(|row| row.choices.as_deref().unwrap_or_default()))),
            "contexts" => {
                Arc::new(table::texts(rendered.iter().map(|row| row.contexts.as_deref().unwrap_or_default())))
            }
            "pairs" => Arc::new(pairs(rendered)),
            _ => Arc::new(spans(rendered)),
        });
    }
    table::batch(path, schema, columns)
}

fn text(rendered: &[Rendered], of: impl Fn(&Rendered) -> Option<&str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rendered.iter().map(|row| of(row).unwrap_or_default())))
}

fn list(fields: Fields, columns: Vec<ArrayRef>, lengths: impl Iterator<Item = usize>) -> ListArray {
    let item = Arc::new(Field::new("item", DataType::Struct(fields.clone()), false));
    ListArray::new(item, OffsetBuffer::from_lengths(lengths), Arc::new(StructArray::new(fields, columns, None)), None)
}

fn pairs(rendered: &[Rendered]) -> ListArray {
    let of = |row: &Rendered| row.pairs.clone().unwrap_or_default();
    let all: Vec<(String, String)> = rendered.iter().flat_map(of).collect();
    let prompts = StringArray::from_iter_values(all.iter().map(|(prompt, _)| prompt));
    let completions = StringArray::from_iter_values(all.iter().map(|(_, completion)| completion));
    let lengths = rendered.iter().map(|row| row.pairs.as_ref().map_or(0, Vec::len));
    list(pair_fields(), vec![Arc::new(prompts), Arc::new(completions)], lengths)
}

fn answers(rendered: &[Rendered]) -> ListArray {
    let all = || rendered.iter().flat_map(|row| row.answers.iter().flatten());
    let texts = StringArray::from_iter_values(all().map(|answer| &answer.text));
    let starts = Int32Array::from_iter_values(all().map(|answer| i32::try_from(answer.start).unwrap_or(i32::MAX)));
    let lengths = rendered.iter().map(|row| row.answers.as_ref().map_or(0, Vec::len));
    list(answer_fields(), vec![Arc::new(texts), Arc::new(starts)], lengths)
}

fn spans(rendered: &[Rendered]) -> ListArray {
    let all = || rendered.iter().flat_map(|row| &row.spans);
    let fields = StringArray::from_iter_values(all().map(|span| &span.field));
    let starts = Int32Array::from_iter_values(all().map(|span| span.start as i32));
    let ends = Int32Array::from_iter_values(all().map(|span| span.end as i32));
    list(
        span_fields(),
        vec![Arc::new(fields), Arc::new(starts), Arc::new(ends)],
        rendered.iter().map(|row| row.spans.len()),
    )
}
