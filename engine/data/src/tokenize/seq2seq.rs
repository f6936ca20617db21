//! Rows of a text and its answer, each with the special tokens of the tokenizer's own template. One Parquet file a split.
//! Knows that an answer must end; not how a model reads it.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int32Array, ListArray, StringArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, SchemaRef},
};
use spec::stage::{MaxLength, OverflowPolicy, Tokenize};
use tokenizers::{TruncationParams, TruncationStrategy};

use super::{Split, batches::Batches};
use crate::{
    Error,
    rows::row_name,
    table,
    tokens::{
        Templated,
        encode::Encoder,
        fit::{Lengths, compared},
        source::{Columns, SourceRow},
        summary::Counts,
    },
};

/// Makes a split's file.
pub(super) fn split(split: Split<'_>, encoder: Encoder<'_>, settings: &Tokenize) -> Result<Counts, Error> {
    let Split { name, target, events, .. } = split;
    let batches = Batches::open(split)?;
    let columns = batches.columns;
    let policy = settings.overflow.of(name);
    let reading = Reading::new(encoder, settings.max_length, &policy, name)?;
    let schema = schema(columns);
    let mut writer = table::Writer::create(target, Arc::clone(&schema))?;
    let mut counts = Counts::default();
    let make = |row: SourceRow| reading.read(&row, name).map(|made| (row, made));
    let write = |made: Vec<(SourceRow, Made)>| {
        let mut written = Vec::new();
        for (row, made) in made {
            match made {
                Made::Dropped(lengths) => {
                    counts.dropped += 1;
                    counts.lose(lengths);
                }
                Made::Read(tokens) => {
                    counts.truncated += usize::from(tokens.cut);
                    counts.completions_cut += usize::from(tokens.answer_cut);
                    counts.add_row(tokens.ids.len() + tokens.answer.len(), tokens.answer.len());
                    written.push((row, tokens));
                }
            }
        }
        writer.write(&table::batch(target, &schema, arrays(&written, columns))?)
    };
    batches.each(make, write)?;
    writer.finish()?;
    counts.check(name, columns.teach(), settings.max_length)?;
    super::warn(name, &counts, events);
    Ok(counts)
}

/// How rows are read.
struct Reading<'a> {
    encoder: Encoder<'a>,
    whole: Templated,
    cutting: Option<Templated>,
    policy: &'a OverflowPolicy,
    limit: MaxLength,
    prompt: usize,
    completion: usize,
}

/// A text and its answer as tokens.
struct Answered {
    ids: Vec<i32>,
    answer: Vec<i32>,
    cut: bool,
    answer_cut: bool,
}

enum Made {
    Dropped(Lengths),
    Read(Answered),
}

impl<'a> Reading<'a> {
    fn new(encoder: Encoder<'a>, limit: MaxLength, policy: &'a OverflowPolicy, split: &str) -> Result<Self, Error> {
        let (prompt, completion) = match limit {
            MaxLength::Row(tokens) => (tokens, tokens),
            MaxLength::Parts { prompt, completion } => (prompt, completion),
        };
        let cutting = match policy {
            OverflowPolicy::Truncate(field) if **field == *"prompt" => {
                let strategy = TruncationStrategy::OnlyFirst;
                let truncation = TruncationParams { max_length: prompt, strategy, ..TruncationParams::default() };
                Some(encoder.vocabulary.templated(Some(truncation))?)
            }
            OverflowPolicy::Truncate(field) => {
                return Err(Error::new(format!("`{field}` is no text that can be cut"))
                    .at(format!("split `{split}`, setting `overflow`"))
                    .hint("with `form: seq2seq`, write `truncate: prompt`"));
            }
            _ => None,
        };
        let whole = encoder.vocabulary.templated(None)?;
        Ok(Self { encoder, whole, cutting, policy, limit, prompt, completion })
    }

    fn read(&self, row: &SourceRow, split: &str) -> Result<Made, Error> {
        let name = row.number.map_or_else(|| format!("the row `{}`", row.id), |number| row_name(number, &row.id));
        let at = |error: Error| error.at(format!("split `{split}`, {name}"));
        let prompt = row.prompt.as_deref().unwrap_or_default();
        let mut ids = ids(&self.whole, prompt).map_err(at)?;
        let mut answer = match &row.completion {
            Some(text) => ids_of_answer(&self.whole, text, &self.encoder).map_err(at)?,
            None => Vec::new(),
        };
        let lengths = Lengths { prompt: ids.len(), completion: answer.len() };
        let (cut, answer_cut) = (ids.len() > self.prompt, answer.len() > self.completion);
        if cut || answer_cut {
            match (self.policy, &self.cutting) {
                (OverflowPolicy::Drop(_), _) => return Ok(Made::Dropped(lengths)),
                (_, Some(cutting)) => {
                    ids = self::ids(cutting, prompt).map_err(at)?;
                    answer.truncate(self.completion);
                }
                _ => {
                    return Err(at(Error::new(format!("the row is too long: {}", compared(lengths, self.limit)))
                        .hint(format!(
                            "raise `max_length`, or say what becomes of long rows: `overflow: {{{split}: drop}}` for \
                             training, `overflow: {{{split}: {{truncate: prompt}}}}` for rows that are scored"
                        ))));
                }
            }
        }
        Ok(Made::Read(Answered { ids, answer, cut, answer_cut }))
    }
}

fn ids(tokenizer: &Templated, text: &str) -> Result<Vec<i32>, Error> {
    Ok(tokenizer.encode(text)?.get_ids().iter().map(|id| *id as i32).collect())
}

/// An answer must end in a token that ends texts: a model that never learns to end goes on for ever.
fn ids_of_answer(tokenizer: &Templated, text: &str, encoder: &Encoder<'_>) -> Result<Vec<i32>, Error> {
    let answer = ids(tokenizer, text)?;
    let ends = answer.last().is_some_and(|last| encoder.special.eos.iter().any(|id| *id as i32 == *last));
    match ends {
        true => Ok(answer),
        false => Err(Error::new("the tokenizer's template ends no text with an end-of-text token")
            .hint("give the tokenizer of an encoder–decoder, such as a T5's, whose template adds `</s>`")),
    }
}

fn schema(columns: Columns) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let numbers = |name: &str| Field::new(name, table::list_of(DataType::Int32), false);
    let mut fields = vec![
        text("id"),
        numbers("input_ids"),
        numbers("target_ids"),
        Field::new("failed", DataType::Utf8, true),
        text("prompt"),
    ];
    if columns.completion {
        fields.push(text("completion"));
    }
    if columns.references {
        fields.push(Field::new("references", table::list_of(DataType::Utf8), false));
    }
    table::schema(fields)
}

fn arrays(rows: &[(SourceRow, Answered)], columns: Columns) -> Vec<ArrayRef> {
    let item = || Arc::new(Field::new("item", DataType::Int32, false));
    let numbers = |of: fn(&Answered) -> &[i32]| -> ArrayRef {
        let lengths = OffsetBuffer::from_lengths(rows.iter().map(|(_, tokens)| of(tokens).len()));
        let values = Int32Array::from_iter_values(rows.iter().flat_map(|(_, tokens)| of(tokens).iter().copied()));
        Arc::new(ListArray::new(item(), lengths, Arc::new(values), None))
    };
    let text = |of: fn(&SourceRow) -> Option<&str>| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(row, _)| of(row).unwrap_or_default())))
    };
    let mut arrays: Vec<ArrayRef> = vec![
        text(|row| Some(&row.id)),
        numbers(|tokens| &tokens.ids),
        numbers(|tokens| &tokens.answer),
        Arc::new(rows.iter().map(|_| None::<&str>).collect::<StringArray>()),
        text(|row| row.prompt.as_deref()),
    ];
    if columns.completion {
        arrays.push(text(|row| row.completion.as_deref()));
    }
    if columns.references {
        let lists = rows.iter().map(|(row, _)| row.references.as_deref().unwrap_or_default());
        arrays.push(Arc::new(table::texts(lists)));
    }
    arrays
}
