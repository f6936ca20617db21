//! What generation asks of whoever scores tokens: to read prompts, and to let texts grow from them. Knows no model.

use tch::Tensor;

use crate::error::Result;

/// Scores tokens.
pub trait Writer {
    /// Reads prompts, none of them empty. Gives a text for each, and the scores `[prompts, vocabulary]` of its first new
    /// token.
    fn begin<'a>(&'a self, prompts: &[&[i64]]) -> Result<(Box<dyn Growing + 'a>, Tensor)>;

    /// What a text holds before its first new token: the prompt, or what a decoder begins with.
    fn before(&self, prompt: &[i64]) -> Vec<i64>;
}

/// Texts that grow token by token.
pub trait Growing {
    /// The scores `[texts, vocabulary]` of the next token of each text, after one more of each, `[texts]`.
    fn next(&mut self, newest: &Tensor) -> Result<Tensor>;

    /// Keeps the texts `[kept]`, indices, in that order; one may be kept several times.
    fn keep(&mut self, texts: &Tensor) -> Result<()>;

    /// Puts the texts `[texts]`, indices, into the places of others of the same prompt: what was read before the first new
    /// token stays where it is.
    fn reorder(&mut self, texts: &Tensor) -> Result<()>;
}
