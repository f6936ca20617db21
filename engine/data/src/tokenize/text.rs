//! Rows that are read whole: the prompt, with the pair behind it, as the tokenizer's own template joins them; long pairs in
//! windows. One Parquet file a split. Knows the tokenizer's template; not which token is which.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int32Array, ListArray, StringArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, SchemaRef},
};
use spec::stage::{MaxLength, OverflowPolicy, Tokenize};
use tokenizers::{Encoding, TruncationParams, TruncationStrategy};

use super::{Split, batches::Batches};
use crate::{
    Error,
    rows::row_name,
    table,
    tokens::{
        Templated, Vocabulary,
        fit::Lengths,
        source::{Columns, SourceRow},
        summary::Counts,
    },
};

/// Makes a split's file.
pub(super) fn split(split: Split<'_>, vocabulary: &Vocabulary, settings: &Tokenize) -> Result<Counts, Error> {
    let Split { name, target, events, .. } = split;
    let batches = Batches::open(split)?;
    let columns = batches.columns;
    let policy = settings.overflow.of(name);
    let limit = match settings.max_length {
        MaxLength::Row(tokens) => tokens,
        MaxLength::Parts { prompt, .. } => prompt,
    };
    let reading = Reading::new(vocabulary, limit, &policy, columns, name)?;
    let schema = schema(columns);
    let mut writer = table::Writer::create(target, Arc::clone(&schema))?;
    let mut counts = Counts::default();
    let make = |row: SourceRow| reading.read(&row, name).map(|made| (row, made));
    let write = |made: Vec<(SourceRow, Made)>| {
        let mut written = Vec::new();
        for (row, made) in made {
            match made {
                Made::Dropped(tokens) => {
                    counts.dropped += 1;
                    counts.lose(Lengths { prompt: tokens, completion: 0 });
                }
                Made::Failed(reason, tokens) => {
                    counts.failed += 1;
                    counts.lose(Lengths { prompt: tokens, completion: 0 });
                    counts.add_row(0, 0);
                    written.push((row, vec![TextTokens { failed: Some(reason), ..TextTokens::default() }]));
                }
                Made::Read(windows, cut) => {
                    counts.truncated += usize::from(cut);
                    for window in &windows {
                        counts.add_row(window.ids.len(), usize::from(row.label.is_some() || window.answer.is_some()));
                    }
                    written.push((row, windows));
                }
            }
        }
        let written: Vec<(&SourceRow, &TextTokens)> =
            written.iter().flat_map(|(row, windows)| windows.iter().map(move |window| (row, window))).collect();
        writer.write(&table::batch(target, &schema, arrays(&written, columns))?)
    };
    batches.each(make, write)?;
    writer.finish()?;
    counts.check(name, false, settings.max_length)?;
    super::warn(name, &counts, events);
    Ok(counts)
}

/// How rows are read.
struct Reading<'a> {
    whole: Templated,
    cutting: Option<Templated>,
    policy: &'a OverflowPolicy,
    limit: usize,
}

/// A text, or a window of it, as tokens.
#[derive(Default)]
struct TextTokens {
    ids: Vec<i32>,
    types: Vec<i32>,
    /// Its number among the row's windows.
    window: i32,
    /// For each token its first byte in the pair and the byte after its last; −1 twice for a token outside it.
    places: Vec<i32>,
    /// The tokens that the first answer begins and ends with; the first token twice where the window holds none. Nothing
    /// where the row says nothing of answers.
    answer: Option<(i32, i32)>,
    failed: Option<String>,
}

enum Made {
    /// Too long; so many tokens.
    Dropped(usize),
    /// Too long for a reason; so many tokens.
    Failed(String, usize),
    /// In windows, and whether a text was cut.
    Read(Vec<TextTokens>, bool),
}

impl<'a> Reading<'a> {
    fn new(
        vocabulary: &Vocabulary,
        limit: usize,
        policy: &'a OverflowPolicy,
        columns: Columns,
        split: &str,
    ) -> Result<Self, Error> {
        let cut = |strategy, stride| {
            let truncation = TruncationParams { max_length: limit, strategy, stride, ..TruncationParams::default() };
            vocabulary.templated(Some(truncation)).map(Some)
        };
        let without_pair = |what: &str| {
            Err(Error::new(format!("{what}, and the rows have no block `pair`"))
                .at(format!("split `{split}`, setting `overflow`"))
                .hint("add a block `pair` to the template, or use `truncate: prompt`"))
        };
        let cutting = match policy {
            OverflowPolicy::Fail(_) | OverflowPolicy::Drop(_) => None,
            OverflowPolicy::Truncate(field) => match &**field {
                "prompt" => cut(TruncationStrategy::OnlyFirst, 0)?,
                "pair" if columns.pair => cut(TruncationStrategy::OnlySecond, 0)?,
                "pair" => return without_pair("the pair is to be cut"),
                other => {
                    return Err(Error::new(format!("`{other}` is no text that can be cut"))
                        .at(format!("split `{split}`, setting `overflow`"))
                        .hint("with `form: text`, write `truncate: prompt` or `truncate: pair`"));
                }
            },
            OverflowPolicy::Windows(_) if !columns.pair => return without_pair("the pair is to be read in windows"),
            OverflowPolicy::Windows(windows) => cut(TruncationStrategy::OnlySecond, windows.stride)?,
        };
        Ok(Self { whole: vocabulary.templated(None)?, cutting, policy, limit })
    }

    fn read(&self, row: &SourceRow, split: &str) -> Result<Made, Error> {
        let name = row.number.map_or_else(|| format!("the row `{}`", row.id), |number| row_name(number, &row.id));
        let at = |error: Error| error.at(format!("split `{split}`, {name}"));
        let whole = encoded(&self.whole, row).map_err(at)?;
        let tokens = whole.get_ids().len();
        let answer = answer(row).map_err(at)?;
        if tokens <= self.limit {
            return Ok(Made::Read(vec![tokens_of(&whole, 0, &answer)], false));
        }
        let length = format!("{tokens} tokens, `max_length` allows {}", self.limit);
        let Some(cutting) = &self.cutting else {
            return match self.policy {
                OverflowPolicy::Drop(_) => Ok(Made::Dropped(tokens)),
                _ => Err(at(Error::new(format!("the row is too long: {length}")).hint(format!(
                    "raise `max_length`, or say what becomes of long rows: `overflow: {{{split}: {{truncate: prompt}}}}`, \
                     `pair`, or `windows` where an answer is looked for"
                )))),
            };
        };
        match encoded(cutting, row) {
            Ok(first) => {
                let windows = matches!(self.policy, OverflowPolicy::Windows(_));
                let rest = first.get_overflowing().iter().filter(|_| windows);
                let made = [&first].into_iter().chain(rest).zip(0..);
                Ok(Made::Read(made.map(|(window, number)| tokens_of(window, number, &answer)).collect(), !windows))
            }
            Err(_) => Ok(Made::Failed(format!("too long even when it is cut: {length}"), tokens)),
        }
    }
}

fn encoded(tokenizer: &Templated, row: &SourceRow) -> Result<Encoding, Error> {
    let prompt = row.prompt.as_deref().unwrap_or_default();
    match row.pair.as_deref() {
        Some(pair) => tokenizer.encode((prompt, pair)),
        None => tokenizer.encode(prompt),
    }
}

/// Where the first answer of a row stands in its pair, in bytes; an empty range where the row says that there is none.
fn answer(row: &SourceRow) -> Result<Option<std::ops::Range<usize>>, Error> {
    let (Some(answers), Some(pair)) = (&row.answers, &row.pair) else { return Ok(None) };
    let Some(first) = answers.first() else { return Ok(Some(0..0)) };
    let start = pair.char_indices().nth(first.start as usize).map_or(pair.len(), |(byte, _)| byte);
    match pair.get(start..).is_some_and(|rest| !first.text.is_empty() && rest.starts_with(&first.text)) {
        true => Ok(Some(start..start + first.text.len())),
        false => Err(Error::new(format!(
            "the answer `{}` does not stand in the pair at character {}",
            first.text, first.start
        ))
        .hint("let `start` count characters from zero in exactly the text of the block `pair`")),
    }
}

fn tokens_of(encoding: &Encoding, window: i32, answer: &Option<std::ops::Range<usize>>) -> TextTokens {
    let inside: Vec<Option<(usize, usize)>> = encoding
        .get_sequence_ids()
        .into_iter()
        .zip(encoding.get_offsets())
        .map(|(sequence, place)| (sequence == Some(1)).then_some(*place))
        .collect();
    let number = |byte: usize| i32::try_from(byte).unwrap_or(i32::MAX);
    TextTokens {
        ids: encoding.get_ids().iter().map(|id| *id as i32).collect(),
        types: encoding.get_type_ids().iter().map(|part| *part as i32).collect(),
        window,
        places: inside
            .iter()
            .flat_map(|place| place.map_or([-1, -1], |(start, end)| [start, end].map(number)))
            .collect(),
        answer: answer.as_ref().map(|answer| tokens_of_answer(&inside, answer)),
        failed: None,
    }
}

/// The first and the last token of an answer; the first token of the text twice where the answer is empty or not wholly
/// in the window.
fn tokens_of_answer(inside: &[Option<(usize, usize)>], answer: &std::ops::Range<usize>) -> (i32, i32) {
    let places = || inside.iter().zip(0..).filter_map(|(place, token)| Some((place.as_ref()?, token)));
    let begins = places().next().is_some_and(|((start, _), _)| *start <= answer.start);
    let ends = places().last().is_some_and(|((_, end), _)| *end >= answer.end);
    let first = places().find(|((_, end), _)| *end > answer.start);
    let last = places().filter(|((start, _), _)| *start < answer.end).last();
    match (first, last) {
        (Some((_, first)), Some((_, last))) if begins && ends && first <= last && !answer.is_empty() => (first, last),
        _ => (0, 0),
    }
}

/// Whether answers may be looked for in the rows.
fn has_answers(columns: Columns) -> bool {
    columns.pair && (columns.answers || columns.references)
}

fn schema(columns: Columns) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let numbers = |name: &str| Field::new(name, table::list_of(DataType::Int32), false);
    let mut fields = vec![
        text("id"),
        numbers("input_ids"),
        numbers("token_type_ids"),
        Field::new("failed", DataType::Utf8, true),
        text("prompt"),
    ];
    if columns.pair {
        fields.push(text("pair"));
    }
    if columns.label {
        fields.push(text("label"));
    }
    if columns.references {
        fields.push(Field::new("references", table::list_of(DataType::Utf8), false));
    }
    if has_answers(columns) {
        fields.push(Field::new("window", DataType::Int32, false));
        fields.push(numbers("places"));
    }
    if columns.answers {
        fields.push(Field::new("answer_start", DataType::Int32, true));
        fields.push(Field::new("answer_end", DataType::Int32, true));
    }
    table::schema(fields)
}

fn arrays(rows: &[(&SourceRow, &TextTokens)], columns: Columns) -> Vec<ArrayRef> {
    let item = || Arc::new(Field::new("item", DataType::Int32, false));
    let numbers = |of: fn(&TextTokens) -> &[i32]| -> ArrayRef {
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
        numbers(|tokens| &tokens.types),
        Arc::new(rows.iter().map(|(_, tokens)| tokens.failed.as_deref()).collect::<StringArray>()),
        text(|row| row.prompt.as_deref()),
    ];
    if columns.pair {
        arrays.push(text(|row| row.pair.as_deref()));
    }
    if columns.label {
        arrays.push(text(|row| row.label.as_deref()));
    }
    if columns.references {
        let lists = rows.iter().map(|(row, _)| row.references.as_deref().unwrap_or_default());
        arrays.push(Arc::new(table::texts(lists)));
    }
    if has_answers(columns) {
        arrays.push(Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, tokens)| tokens.window))));
        arrays.push(numbers(|tokens| &tokens.places));
    }
    if columns.answers {
        let token = |of: fn((i32, i32)) -> i32| -> ArrayRef {
            Arc::new(rows.iter().map(|(_, tokens)| tokens.answer.map(of)).collect::<Int32Array>())
        };
        arrays.push(token(|answer| answer.0));
        arrays.push(token(|answer| answer.1));
    }
    arrays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_tokens_that_touch_it_and_nothing_where_a_part_is_outside() {
        // A question, a separator, then the pair's tokens.
        let inside = [None, None, Some((4, 7)), Some((7, 9)), Some((10, 14)), None];
        assert_eq!(tokens_of_answer(&inside, &(4..9)), (2, 3));
        assert_eq!(tokens_of_answer(&inside, &(8..11)), (3, 4), "tokens that hold a part of it");
        assert_eq!(tokens_of_answer(&inside, &(10..14)), (4, 4));
        assert_eq!(tokens_of_answer(&inside, &(2..7)), (0, 0), "it begins before the window");
        assert_eq!(tokens_of_answer(&inside, &(10..15)), (0, 0), "it ends behind the window");
        assert_eq!(tokens_of_answer(&inside, &(0..0)), (0, 0));
    }
}
