//! A byte-level BPE tokenizer, trained from texts. The same texts give the same file, whatever the number of threads.
//! Knows texts, not rows.

use tokenizers::{
    AddedToken, Tokenizer,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
    processors::template::TemplateProcessing,
};

use crate::Error;

/// Fills up a batch: id 0.
pub const PAD: &str = "<pad>";
/// Begins a text: id 1. The tokenizer adds it by itself.
pub const BOS: &str = "<s>";
/// Ends a text: id 2.
pub const EOS: &str = "</s>";

/// Trains a tokenizer of at most `vocabulary` pieces: the special tokens, the 256 bytes, then pairs that occur at least
/// `min_frequency` times, the most frequent first. After Sennrich et al. 2016, on bytes as GPT-2 does.
///
/// # Errors
/// When the texts hold too little, or the tokenizer refuses a setting.
pub fn train(texts: impl Iterator<Item = String> + Send, vocabulary: usize, min_frequency: u64) -> Result<Tokenizer, Error> {
    let failed = |error: tokenizers::Error| Error::new(format!("the tokenizer could not be trained: {error}"));
    let mut tokenizer = Tokenizer::new(BPE::default());
    let bytes = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(bytes));
    tokenizer.with_decoder(Some(bytes));
    let special = [PAD, BOS, EOS].map(|token| AddedToken::from(token, true)).to_vec();
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocabulary)
        .min_frequency(min_frequency)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special)
        .build()
        .into();
    tokenizer.train::<tokenizers::models::TrainerWrapper, _, _>(&mut trainer, texts).map_err(failed)?;
    let begins = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))
        .map_err(|error| Error::new(error.to_string()))?
        .special_tokens(vec![(BOS, 1)])
        .build()
        .map_err(|error| Error::new(error.to_string()))?;
    tokenizer.with_post_processor(Some(begins));
    Ok(tokenizer)
}
