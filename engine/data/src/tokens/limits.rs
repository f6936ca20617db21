//! What a tokenizer's files may ask for. Those of others can name a piece so long that the library's tree of pieces
//! overflows the stack, or rewritings that make a short text endless: neither could be told as an error any more. Knows the
//! form of `tokenizer.json`; no token.

use base64::{Engine, prelude::BASE64_STANDARD as STANDARD};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::Error;

/// The longest text in the file. Pieces of published tokenizers have some hundred bytes at most.
const LONGEST: usize = 4096;

/// How many times longer rewriting may make a text. Published tokenizers stay below a hundred.
const GROWTH: f64 = 1e4;

/// The one text that is long: a table, which is no piece.
const TABLE: &[u8] = b"precompiled_charsmap";

const HINT: &str = "no tokenizer of a model is like that: take the file from a source you trust";

/// Refuses a `tokenizer.json` with a text that is too long for a piece, before the library reads it.
///
/// # Errors
/// When there is one.
pub(super) fn check_file(json: &[u8]) -> Result<(), Error> {
    let mut before: &[u8] = &[];
    let mut rest = json;
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        rest = &rest[start + 1..];
        let Some(length) = length_of_text(rest) else { return Ok(()) };
        let text = &rest[..length];
        if length > LONGEST && before != TABLE {
            return Err(too_long(length));
        }
        before = text;
        rest = &rest[length + 1..];
    }
    Ok(())
}

/// Refuses a piece that is too long.
///
/// # Errors
/// When one is.
pub(super) fn check_pieces<'a>(mut pieces: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    pieces.find(|piece| piece.len() > LONGEST).map_or(Ok(()), |piece| Err(too_long(piece.len())))
}

fn too_long(length: usize) -> Error {
    Error::new(format!("it holds a piece of {length} bytes, and pieces of up to {LONGEST} are read")).hint(HINT)
}

/// How many bytes stand before the quote that ends a text; nothing where none does.
fn length_of_text(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match rest.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Refuses a tokenizer that could make a text so many times longer that memory ends.
///
/// # Errors
/// When its steps do.
pub(super) fn check_growth(tokenizer: &Tokenizer) -> Result<(), Error> {
    let value = |step: serde_json::Result<Value>| step.map_err(|error| Error::new(error.to_string()));
    let before = [
        value(serde_json::to_value(tokenizer.get_normalizer()))?,
        value(serde_json::to_value(tokenizer.get_pre_tokenizer()))?,
    ];
    let after = value(serde_json::to_value(tokenizer.get_decoder()))?;
    for most in [before.iter().map(growth).product::<f64>(), growth(&after)] {
        if most > GROWTH {
            let problem = format!("its rewriting of texts can make them {most:.0} times longer");
            return Err(Error::new(problem).hint(HINT));
        }
    }
    Ok(())
}

/// How many times longer a step may make a text, in bytes, at most.
fn growth(step: &Value) -> f64 {
    let length = |key: &str| step.get(key).and_then(Value::as_str).map_or(0.0, |text| text.len() as f64);
    match step.get("type").and_then(Value::as_str).unwrap_or_default() {
        "Sequence" => ["normalizers", "pretokenizers", "decoders"]
            .into_iter()
            .filter_map(|key| step.get(key)?.as_array())
            .flatten()
            .map(growth)
            .product(),
        "Replace" => match step.get("pattern").and_then(|pattern| pattern.get("String")?.as_str()) {
            Some(pattern) if !pattern.is_empty() => (length("content") / pattern.len() as f64).max(1.0),
            // What may match nothing at all is found between any two letters.
            _ => length("content") + 1.0,
        },
        "Precompiled" => step.get("precompiled_charsmap").and_then(Value::as_str).map_or(1.0, growth_of_table),
        "Prepend" => length("prepend") + 1.0,
        "BertNormalizer" | "Metaspace" => 3.0,
        "ByteLevel" => 2.0,
        _ => 1.0,
    }
}

/// The longest text that a SentencePiece table puts in the place of a byte: behind its trie, each ended by a zero.
fn growth_of_table(table: &str) -> f64 {
    let bytes = STANDARD.decode(table).unwrap_or_default();
    let Some((length, rest)) = bytes.split_at_checked(4) else { return 1.0 };
    let trie = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let texts = rest.get(trie..).unwrap_or_default();
    texts.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or_default().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_texts_that_no_piece_is_are_too_long() {
        let text = |length: usize| "a".repeat(length);
        assert!(check_file(format!(r#"{{"a\"": "{}", "b": ["\\", 1]}}"#, text(LONGEST)).as_bytes()).is_ok());
        assert!(check_file(format!(r#"{{"precompiled_charsmap": "{}"}}"#, text(LONGEST + 1)).as_bytes()).is_ok());
        let error = check_file(format!(r#"{{"vocab": {{"\\\"{}": 1}}}}"#, text(LONGEST)).as_bytes()).unwrap_err();
        assert!(error.message.contains("a piece of 4100 bytes"), "{error}");
        assert!(check_file(b"{\"cut").is_ok() && check_file(b"{\"cut\\").is_ok(), "the library tells what is cut");
        assert!(check_pieces([text(LONGEST)].iter()).is_ok() && check_pieces([text(LONGEST + 1)].iter()).is_err());
    }

    #[test]
    fn steps_multiply() {
        let replace =
            |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
        assert_eq!(growth(&replace(json!({ "String": " " }), "▁")), 3.0);
        assert_eq!(growth(&replace(json!({ "String": "abc" }), "a")), 1.0);
        assert_eq!(growth(&replace(json!({ "Regex": "x*" }), "ab")), 3.0);
        let twice = replace(json!({ "String": "a" }), "aa");
        let many = json!({ "type": "Sequence", "normalizers": vec![twice; 14] });
        assert_eq!(growth(&many), 16384.0);
        assert_eq!(growth(&json!(null)), 1.0);
        let table = STANDARD.encode(b"\x04\0\0\0trieab\0cdefg\0");
        assert_eq!(growth(&json!({ "type": "Precompiled", "precompiled_charsmap": table })), 5.0);
    }
}
