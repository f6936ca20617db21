//! What becomes of a row that is longer than it may be: the stage fails, the row is dropped, or a field of its prompt is
//! cut. Knows lengths and limits; does not know files.

use spec::stage::{MaxLength, OverflowPolicy};

use super::{
    encode::{EncodedTurn, Encoder},
    source::{SourceRow, Turn},
};
use crate::{Error, rows::row_name};

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitted {
    /// It is within the limit.
    Kept(Kept),
    /// It is left out.
    Dropped,
    /// It cannot be used; the reason.
    Failed(String),
}

/// A row within the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its ids.
    pub turns: Vec<EncodedTurn>,
    /// Its turns as texts, the first prompt cut as its ids are.
    pub texts: Vec<Turn>,
    /// How many bytes of the prompt were cut.
    pub cut: usize,
    /// Whether its completion was cut, and so ends without EOS.
    pub completion_cut: bool,
}

/// Tokens of a row: prompts with BOS, and completions with EOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Of all prompts.
    pub prompt: usize,
    /// Of all completions.
    pub completion: usize,
}

impl Lengths {
    /// The lengths of a row.
    pub fn of(turns: &[EncodedTurn]) -> Self {
        Self {
            prompt: turns.iter().map(|turn| turn.prompt.len()).sum(),
            completion: turns.iter().filter_map(|turn| turn.completion.as_ref()).map(Vec::len).sum(),
        }
    }

    /// All tokens.
    pub fn whole(self) -> usize {
        self.prompt + self.completion
    }

    fn fit(self, limit: MaxLength) -> bool {
        match limit {
            MaxLength::Row(tokens) => self.whole() <= tokens,
            MaxLength::Parts { prompt, completion } => self.prompt <= prompt && self.completion <= completion,
        }
    }

    /// How many tokens of the prompt are too many.
    fn excess(self, limit: MaxLength) -> usize {
        match limit {
            MaxLength::Row(tokens) => self.whole().saturating_sub(tokens),
            MaxLength::Parts { prompt, .. } => self.prompt.saturating_sub(prompt),
        }
    }
}

/// A row's lengths against its limit, for messages.
pub(crate) fn compared(lengths: Lengths, limit: MaxLength) -> String {
    let Lengths { prompt, completion } = lengths;
    match limit {
        MaxLength::Row(tokens) => {
            format!(
                "{} tokens ({prompt} of the prompt, {completion} of the completion), `max_length` allows {tokens}",
                lengths.whole()
            )
        }
        MaxLength::Parts { prompt: most, completion: most_completion } => format!(
            "{prompt} tokens of the prompt and {completion} of the completion, `max_length` allows {most} and \
             {most_completion}"
        ),
    }
}

/// Encodes a row and makes it fit.
///
/// # Errors
/// When the row is too long and the policy is to fail; when the tokenizer cannot write a text.
pub fn fit(
    row: &SourceRow,
    encoder: Encoder<'_>,
    limit: MaxLength,
    policy: &OverflowPolicy,
    split: &str,
) -> Result<Fitted, Error> {
    let name = row.number.map_or_else(|| format!("the row `{}`", row.id), |number| row_name(number, &row.id));
    let at = |error: Error| error.at(format!("split `{split}`, {name}"));
    let turns = encoder.encode(&row.turns).map_err(at)?;
    let lengths = Lengths::of(&turns);
    if lengths.fit(limit) {
        return Ok(Fitted::Kept(Kept { turns, texts: row.turns.clone(), cut: 0, completion_cut: false }));
    }
    match policy {
        OverflowPolicy::Fail(_) => Err(at(Error::new(format!("the row is too long: {}", compared(lengths, limit)))
            .hint(format!(
                "raise `max_length`, or say what becomes of long rows: `overflow: {{{split}: drop}}` for training, \
                 `overflow: {{{split}: {{truncate: FIELD}}}}` for rows that are scored"
            )))),
        OverflowPolicy::Drop(_) => Ok(Fitted::Dropped),
        OverflowPolicy::Truncate(field) => truncate(row, turns, encoder, limit, field).map_err(at),
        OverflowPolicy::Windows(_) => {
            Err(at(Error::new("`windows` are parts of a pair that is read whole").hint("use `form: text`")))
        }
    }
}

/// Cuts the completion to its own maximum, then the field's end, token by token, until the row fits. The row is encoded
/// anew after each cut, since a cut may join or part tokens.
fn truncate(
    row: &SourceRow,
    mut turns: Vec<EncodedTurn>,
    encoder: Encoder<'_>,
    limit: MaxLength,
    field: &str,
) -> Result<Fitted, Error> {
    let mut completion_cut = cut_completion(&mut turns, limit);
    let lengths = Lengths::of(&turns);
    if let MaxLength::Parts { completion, .. } = limit
        && lengths.completion > completion
    {
        return Ok(Fitted::Failed(format!("its completions are too long: {}", compared(lengths, limit))));
    }
    if lengths.fit(limit) {
        return Ok(Fitted::Kept(Kept { turns, texts: row.turns.clone(), cut: 0, completion_cut }));
    }
    let Some(span) = row.spans.iter().find(|span| span.field == field) else {
        return Ok(Fitted::Failed(format!(
            "too long, and the field `{field}` does not stand in its prompt once and unchanged: {}",
            compared(lengths, limit)
        )));
    };
    let mut texts = row.turns.clone();
    let whole = row.turns[0].prompt.clone();
    let inside = |start: &usize| (span.start..span.end).contains(start) && whole.is_char_boundary(*start);
    let mut places: Vec<usize> =
        encoder.vocabulary.encode(&whole)?.places.into_iter().map(|(start, _)| start).filter(inside).collect();
    places.push(span.start);
    places.sort_unstable();
    places.dedup();
    let mut kept = places.len();
    let mut excess = lengths.excess(limit);
    while kept > 0 {
        kept = kept.saturating_sub(excess.max(1));
        let end = places[kept];
        texts[0].prompt = format!("{}{}", &whole[..end], &whole[span.end..]);
        let mut turns = encoder.encode(&texts)?;
        completion_cut = cut_completion(&mut turns, limit);
        let lengths = Lengths::of(&turns);
        if lengths.fit(limit) {
            return Ok(Fitted::Kept(Kept { turns, texts, cut: span.end - end, completion_cut }));
        }
        // The first step takes away as many tokens as are too many; after it, one at a time.
        excess = 1;
        if kept == 0 {
            return Ok(Fitted::Failed(format!(
                "too long even without its field `{field}`: {}",
                compared(lengths, limit)
            )));
        }
    }
    Ok(Fitted::Failed(format!("too long, and its field `{field}` is empty: {}", compared(lengths, limit))))
}

/// Cuts the only completion of a row to its own maximum; says whether it did.
fn cut_completion(turns: &mut [EncodedTurn], limit: MaxLength) -> bool {
    let MaxLength::Parts { completion: most, .. } = limit else { return false };
    match turns {
        [EncodedTurn { completion: Some(completion), .. }] if completion.len() > most => {
            completion.truncate(most);
            true
        }
        _ => false,
    }
}
