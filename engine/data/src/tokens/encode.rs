//! A row's turns as ids: one BOS, prompts and completions, an EOS after each completion. Knows where prompt and
//! completion meet; does not know how long a row may be.

use spec::stage::Boundary;

use super::{SpecialIds, Vocabulary, chat::ChatEncoder, source::Turn};
use crate::Error;

/// How rows are encoded.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<'a> {
    /// The tokenizer.
    pub vocabulary: &'a Vocabulary,
    /// What begins and ends.
    pub special: &'a SpecialIds,
    /// Where prompt and completion meet.
    pub boundary: Boundary,
    /// What writes rows as chats, where they are.
    pub chat: Option<&'a ChatEncoder>,
}

/// The ids of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedTurn {
    /// The prompt's; in the first turn with the BOS.
    pub prompt: Vec<u32>,
    /// The completion's with its EOS; `None` where only the prompt is there.
    pub completion: Option<Vec<u32>>,
}

impl Encoder<'_> {
    /// Encodes a row's turns.
    ///
    /// # Errors
    /// When the tokenizer cannot write a text.
    pub fn encode(&self, turns: &[Turn]) -> Result<Vec<EncodedTurn>, Error> {
        if let Some(chat) = self.chat {
            return chat.encode(turns);
        }
        let mut encoded = turns.iter().map(|turn| self.turn(turn)).collect::<Result<Vec<_>, _>>()?;
        if let (Some(first), Some(bos)) = (encoded.first_mut(), self.special.bos) {
            first.prompt.insert(0, bos);
        }
        Ok(encoded)
    }

    fn turn(&self, turn: &Turn) -> Result<EncodedTurn, Error> {
        let Some(completion) = &turn.completion else {
            return Ok(EncodedTurn { prompt: self.vocabulary.ids(&turn.prompt)?, completion: None });
        };
        let (prompt, mut ids) = match self.boundary {
            Boundary::Separate => (self.vocabulary.ids(&turn.prompt)?, self.vocabulary.ids(completion)?),
            Boundary::Joint => {
                let whole = self.vocabulary.encode(&format!("{}{completion}", turn.prompt))?;
                let belongs = |(_, end): &(usize, usize)| *end > turn.prompt.len();
                let meet = whole.places.iter().position(belongs).unwrap_or(whole.ids.len());
                (whole.ids[..meet].to_vec(), whole.ids[meet..].to_vec())
            }
        };
        ids.extend(self.special.eos.first());
        Ok(EncodedTurn { prompt, completion: Some(ids) })
    }

    /// Whether a row's ids would differ had prompt and completion been encoded the other way, apart or as one text. In a
    /// chat they meet where its template says.
    ///
    /// # Errors
    /// When the tokenizer cannot write a text.
    pub fn boundary_matters(&self, texts: &[Turn], turns: &[EncodedTurn]) -> Result<bool, Error> {
        if self.chat.is_some() {
            return Ok(false);
        }
        let mut bos = usize::from(self.special.bos.is_some());
        for (text, turn) in texts.iter().zip(turns) {
            let (Some(completion), Some(ids)) = (&text.completion, &turn.completion) else { continue };
            let other = match self.boundary {
                Boundary::Separate => self.vocabulary.ids(&format!("{}{completion}", text.prompt))?,
                Boundary::Joint => {
                    let mut apart = self.vocabulary.ids(&text.prompt)?;
                    apart.extend(self.vocabulary.ids(completion)?);
                    apart
                }
            };
            // A completion that was cut ends without EOS and before its text does: as far as it goes, it is compared.
            let end = ids.strip_suffix(&self.special.eos[..self.special.eos.len().min(1)]).unwrap_or(ids);
            let own = turn.prompt[bos..].iter().chain(end);
            let length = turn.prompt.len() - bos + end.len();
            let cut = end.len() == ids.len() && !self.special.eos.is_empty();
            if !own.eq(other.iter().take(length)) || (!cut && length != other.len()) {
                return Ok(true);
            }
            bos = 0;
        }
        Ok(false)
    }

    /// Whether a text spells out a special token in a way that the tokenizer does not keep apart from the token itself. In a
    /// chat it is kept apart.
    pub fn spells_special(&self, turns: &[EncodedTurn]) -> bool {
        if self.chat.is_some() {
            return false;
        }
        let special = |id: &u32| self.special.bos == Some(*id) || self.special.eos.contains(id);
        turns.iter().enumerate().any(|(number, turn)| {
            let added = usize::from(number == 0 && self.special.bos.is_some());
            let text =
                turn.completion.iter().flat_map(|ids| &ids[..ids.len() - usize::from(!self.special.eos.is_empty())]);
            turn.prompt[added..].iter().chain(text).any(special)
        })
    }
}
