//! The protocol `generate`: each row's prompt is continued, and the new tokens become text. Knows no metric.

use std::path::Path;

use data::library::guarded;
use spec::files;
use tch::Device;
use tokenizers::Tokenizer;

use super::kept::Kept;
use super::stop::StopStrings;
use crate::error::{Error, Result};
use crate::generate::{Continuation, Decoding, Ends, Prompt, Reader, batches, check, together};
use crate::models::Model;
use crate::observer::Observer;
use crate::rows::TokenRow;

/// What a model answered to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text, without special tokens; none for a row that failed before it was asked.
    pub text: Option<String>,
    /// How many tokens were generated.
    pub tokens: usize,
    /// Whether the model ended it by itself.
    pub ended: bool,
}

/// What a model answered to all rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// For each row, in their order, as many answers as the decoding has samples.
    pub rows: Vec<Vec<Answer>>,
    /// Rows that an attempt before this one had answered.
    pub kept: usize,
}

/// How rows are continued.
pub struct Asking<'a> {
    /// The model.
    pub model: &'a Model,
    /// What makes text of ids.
    pub tokenizer: &'a Tokenizer,
    /// How tokens are chosen.
    pub decoding: &'a Decoding,
    /// Ids that end a text.
    pub end_ids: Vec<i64>,
    /// The most new tokens.
    pub max_new_tokens: usize,
    /// Strings that end a text and are no part of it.
    pub stop: &'a [String],
    /// Rows that are continued together.
    pub batch: usize,
    /// Where the model is.
    pub device: Device,
}

impl Asking<'_> {
    /// Continues the prompts of `rows`. A row with a failure is not asked. What is done is written into the folder `state`,
    /// if there is one, and not done again.
    pub fn answers(&self, rows: &[TokenRow], state: Option<&Path>, observer: &mut dyn Observer) -> Result<Answers> {
        let asked: Vec<&TokenRow> = rows.iter().filter(|row| row.failed.is_none()).collect();
        if let Some(row) = asked.iter().find(|row| row.prompt_length == 0) {
            let hint = "give the template a prompt, or the tokenizer a BOS token";
            return Err(Error::stopped(format!("row `{}` has no prompt to continue", row.id), None, hint));
        }
        let prompt = |row: &&TokenRow| Prompt {
            name: format!("row `{}`", row.id),
            ids: row.ids.iter().take(row.prompt_length).map(|&id| i64::from(id)).collect(),
        };
        let prompts: Vec<Prompt> = asked.iter().map(prompt).collect();
        check(&self.model.network, &prompts, self.batch)?;
        let (texts, kept) = self.texts(&prompts, state, observer)?;
        let mut texts = texts.into_iter();
        let stop = StopStrings::new(self.tokenizer, self.stop);
        let rows: Result<Vec<Vec<Answer>>> = rows
            .iter()
            .map(|row| match row.failed.is_none().then(|| texts.next()).flatten() {
                None => Ok(vec![Answer { text: None, tokens: 0, ended: false }; self.decoding.samples()]),
                Some(texts) => texts.into_iter().map(|text| self.answer(&text, &stop)).collect(),
            })
            .collect();
        Ok(Answers { rows: rows?, kept })
    }

    fn answer(&self, made: &Continuation, stop: &StopStrings<'_>) -> Result<Answer> {
        let text = decode(self.tokenizer, made.tokens.iter().copied())?;
        Ok(Answer { text: Some(stop.cut(&text).to_owned()), tokens: made.tokens.len(), ended: made.end.is_some() })
    }

    /// The texts of each prompt, and of how many prompts they were there already.
    fn texts(
        &self,
        prompts: &[Prompt],
        state: Option<&Path>,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<Vec<Continuation>>, usize)> {
        let stop = StopStrings::new(self.tokenizer, self.stop);
        let met = |tokens: &[i64]| stop.met(tokens);
        let ends = Ends {
            ids: self.end_ids.clone(),
            max_new_tokens: self.max_new_tokens,
            stop: (!self.stop.is_empty()).then_some(&met),
        };
        let ids = prompts.iter().map(|prompt| prompt.ids.as_slice());
        let reader = Reader::new(&self.model.network, self.device).of_all(ids);
        let mut kept = state.map(Kept::open).transpose()?;
        let mut results = vec![Vec::new(); prompts.len()];
        let samples = self.decoding.samples().max(1);
        let (mut texts, mut tokens, mut there, of) = (0, 0, 0, prompts.len() as u64);
        for batch in batches(prompts, self.batch) {
            let asked: Vec<&Prompt> = batch.iter().filter_map(|&at| prompts.get(at)).collect();
            let made = match kept.as_mut().and_then(|kept| kept.take(&asked)) {
                Some(made) => {
                    there += made.len();
                    texts += made.iter().map(Vec::len).sum::<usize>();
                    tokens += made.iter().flatten().map(|text| text.tokens.len()).sum::<usize>();
                    made
                }
                None => {
                    let made = together(&reader, &asked, self.decoding, &ends, &mut |new| {
                        texts += new.texts;
                        tokens += new.tokens;
                        observer.progress((texts / samples) as u64, of, "rows", &|| format!("{tokens} tokens"));
                    })?;
                    if let Some(kept) = &mut kept {
                        kept.add(&asked, &made)?;
                    }
                    made
                }
            };
            for (at, texts) in batch.into_iter().zip(made) {
                if let Some(result) = results.get_mut(at) {
                    *result = texts;
                }
            }
        }
        Ok((results, there))
    }
}

/// The text of token ids, without special tokens.
pub fn decode(tokenizer: &Tokenizer, ids: impl Iterator<Item = i64>) -> Result<String> {
    let ids: Vec<u32> = ids.filter_map(|id| u32::try_from(id).ok()).collect();
    let failed = |error: String| {
        Error::stopped(format!("token ids cannot be decoded: {error}"), None, "check the tokenizer's decoder")
    };
    // Its rules come from others: a library that gives up ends this stage, not the program.
    let text = guarded(Path::new(files::TOKENIZER), || tokenizer.decode(&ids, true)).map_err(|e| failed(e.message))?;
    text.map_err(|error| failed(error.to_string()))
}
