//! What must hold of every tokenizer, whatever its files.

use std::path::Path;

use data::tokens::tokenizer;

/// Reads the tokenizer of a folder; it encodes and decodes some texts.
pub fn all(folder: &Path) {
    match tokenizer(folder) {
        Ok(vocabulary) => {
            for text in ["", "a b", " Hello,\tw\u{f6}rld \u{1f600}\u{200d}!\r\n", "<s>[MASK]</s>"] {
                if let Ok(ids) = vocabulary.ids(text) {
                    assert!(ids.iter().all(|id| (*id as usize) < vocabulary.size()));
                    let _ = vocabulary.decode(&ids);
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
