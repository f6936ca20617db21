//! Tokens that stand beside a `tokenizer.json`, in the files around it: they are joined as transformers does. Knows which of
//! them the tokenizer lacks; what the files say is read elsewhere.

use std::{collections::HashMap, path::Path};

use serde_json::Value;
use spec::files;
use tokenizers::{AddedToken, Tokenizer};

use super::{
    Config,
    added::{Additions, Token},
};
use crate::{Error, tokens::special::json};

/// Joins what the folder's other files name to its tokenizer; whether there was anything. A token that the tokenizer has
/// keeps its id; another one gets the next that is free.
///
/// # Errors
/// When a file is damaged, or a token cannot get the id that is stated.
pub fn join(folder: &Path, tokenizer: &mut Tokenizer) -> Result<bool, Error> {
    let config = Config { folder, values: json(folder, files::TOKENIZER_CONFIG)? };
    let known: HashMap<String, AddedToken> =
        tokenizer.get_added_tokens_decoder().into_values().map(|token| (token.content.clone(), token)).collect();
    let lacking = lacking(Additions::read(&config)?, &config.values, &known);
    if lacking.is_empty() {
        return Ok(false);
    }
    let new: Vec<&Token> = lacking.iter().filter(|token| tokenizer.token_to_id(&token.content).is_none()).collect();
    let broken = |message: String| {
        Error::new(message)
            .in_file(&folder.join(files::TOKENIZER_CONFIG))
            .hint("do the files of the tokenizer belong together? write them anew with transformers' save_pretrained")
    };
    tokenizer
        .add_tokens(lacking.iter().map(added))
        .map_err(|error| broken(format!("its added tokens cannot be joined to the tokenizer: {error}")))?;
    for token in new {
        let id = tokenizer.token_to_id(&token.content);
        if token.id.is_some() && token.id != id {
            return Err(broken(format!(
                "the added token `{}` is said to have the id {}, and the next one that is free is {}",
                token.content.escape_debug(),
                token.id.unwrap_or_default(),
                id.unwrap_or_default()
            )));
        }
    }
    Ok(true)
}

/// The tokens of the files that the tokenizer does not have as they are stated, in the order in which they are joined.
fn lacking(additions: Additions, config: &Value, known: &HashMap<String, AddedToken>) -> Vec<Token> {
    let Additions { numbered, named, others } = additions;
    let own = config.as_object().into_iter().flatten();
    // `image_token` and the like, which only some models have.
    let more = own
        .filter(|(key, _)| key.ends_with("_token") && !super::added::ROLES.contains(&key.as_str()))
        .filter_map(|(_, value)| value.as_str());
    let mut special: Vec<Token> = Vec::new();
    for role in super::added::ROLES {
        special.extend(named.iter().find(|(of, _)| of == role).map(|(_, token)| token.clone()));
    }
    special.extend(more.map(Token::special));
    let mut lacking: Vec<Token> = Vec::new();
    for token in numbered {
        let is_special = token.special || special.iter().any(|named| named.content == token.content);
        if known.get(&token.content) != Some(&added(&token)) {
            lacking.push(Token { special: is_special, ..token });
        }
    }
    for token in special.into_iter().chain(others) {
        let has = |content: &str| known.contains_key(content) || lacking.iter().any(|token| token.content == content);
        if !has(&token.content) {
            lacking.push(token);
        }
    }
    lacking
}

fn added(token: &Token) -> AddedToken {
    AddedToken::from(token.content.clone(), token.special)
        .single_word(token.single_word)
        .lstrip(token.lstrip)
        .rstrip(token.rstrip)
        .normalized(token.normalized)
}
