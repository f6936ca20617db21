//! Which files of a model's repository are needed: its shape, its tokenizer, and its weights in one format. Knows names and
//! what an index of shards says; asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use spec::files;

use super::listing::Listing;
use crate::Error;

/// How a chat is written for the model, as older tools kept it.
const OLD_CHAT_TEMPLATE: &str = "chat_template.json";
/// Formats of weights, the first that is there; each as one file and as the index of its shards.
const WEIGHTS: [(&str, &str); 2] =
    [(files::MODEL_WEIGHTS, files::MODEL_INDEX), ("pytorch_model.bin", "pytorch_model.bin.index.json")];
/// An adapter's weights, the first that is there.
const ADAPTER_WEIGHTS: [&str; 2] = [files::ADAPTER_WEIGHTS, "adapter_model.bin"];
/// The most bytes that an index of shards may take.
pub(super) const LONGEST_INDEX: u64 = 64 << 20;

/// The files that are needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needed {
    /// Their paths.
    pub files: Vec<String>,
    /// Whether weights are among them.
    pub has_weights: bool,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Chooses the files that are needed; `read` gives the text of an index of shards.
///
/// # Errors
/// A repository that holds nothing of a model, or an index that names what is not there.
pub(super) fn needed(listing: &Listing, read: impl Fn(&str) -> Result<Vec<u8>, Error>) -> Result<Needed, Error> {
    let small = [files::MODEL_CONFIG, files::ADAPTER_CONFIG, OLD_CHAT_TEMPLATE];
    let small = small.into_iter().chain(files::TOKENIZER_FILES).filter(|name| *name != files::SPECIAL_IDS);
    let mut needed: BTreeSet<String> = small.filter(|name| listing.has(name)).map(str::to_owned).collect();
    let mut weights: BTreeSet<String> = BTreeSet::new();
    for (whole, index) in WEIGHTS {
        if listing.has(whole) {
            weights.insert(whole.to_owned());
        } else if listing.has(index) {
            weights.extend(shards(listing, index, &read(index)?)?);
            needed.insert(index.to_owned());
        }
        if !weights.is_empty() {
            break;
        }
    }
    if listing.has(files::ADAPTER_CONFIG) {
        weights.extend(ADAPTER_WEIGHTS.iter().find(|name| listing.has(name)).map(|name| (*name).to_owned()));
    }
    if needed.is_empty() && weights.is_empty() {
        return Err(Error::new("the repository holds no file of a model that is known here").hint(format!(
            "name the files that are wanted with `files`, or the repository that this one was made from; {}",
            listing.there()
        )));
    }
    let has_weights = !weights.is_empty();
    Ok(Needed { files: needed.into_iter().chain(weights).collect(), has_weights })
}

/// The shards that an index names, which must all be there.
fn shards(listing: &Listing, name: &str, text: &[u8]) -> Result<BTreeSet<String>, Error> {
    let index: Index = serde_json::from_slice(text).map_err(|error| {
        Error::new(format!("`{name}` is no index of shards: {error}")).hint("the repository is damaged: tell its owner")
    })?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    match shards.iter().find(|shard| !listing.has(shard)) {
        Some(absent) => {
            Err(Error::new(format!("`{name}` names the shard `{}`, which is not there", absent.escape_debug()))
                .hint("the repository is not complete: name another revision of it, or tell its owner"))
        }
        None if shards.is_empty() => {
            Err(Error::new(format!("`{name}` names no shard")).hint("the repository is damaged: tell its owner"))
        }
        None => Ok(shards),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::listing::Entry, *};

    fn listing(names: &[&str]) -> Listing {
        let entry = Entry { size: 1, id: "0".repeat(40) };
        let files = names.iter().map(|name| ((*name).to_owned(), entry.clone())).collect();
        Listing { commit: "0".repeat(40), files }
    }

    fn chosen(names: &[&str], index: &str) -> Result<Vec<String>, Error> {
        needed(&listing(names), |_| Ok(index.as_bytes().to_vec())).map(|needed| needed.files)
    }

    #[test]
    fn weights_come_in_one_format() {
        let all = [
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "generation_config.json",
            "logo.png",
            "model.gguf",
            "model.safetensors",
            "onnx/model.onnx",
            "original/consolidated.00.pth",
            "pytorch_model.bin",
            "special_ids.json",
            "tf_model.h5",
            "tokenizer.json",
            "tokenizer_config.json",
            "training_args.bin",
            "vocab.txt",
        ];
        let small = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"];
        assert_eq!(chosen(&all, "").unwrap(), [&small[..], &["model.safetensors"]].concat());
        let without: Vec<&str> = all.into_iter().filter(|name| *name != "model.safetensors").collect();
        assert_eq!(chosen(&without, "").unwrap(), [&small[..], &["pytorch_model.bin"]].concat());
    }

    #[test]
    fn shards_are_those_that_the_index_names() {
        let index = r#"{"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "w/2.safetensors", "c": "model-1.safetensors"}}"#;
        let names = [
            "model.safetensors.index.json",
            "model-1.safetensors",
            "w/2.safetensors",
            "model-9.safetensors",
            "config.json",
        ];
        let wanted = ["config.json", "model.safetensors.index.json", "model-1.safetensors", "w/2.safetensors"];
        assert_eq!(chosen(&names, index).unwrap(), wanted);
        let absent = chosen(&names[..2], index).unwrap_err();
        assert!(absent.message.contains("`w/2.safetensors`, which is not there"), "{absent}");
        let escape = chosen(&names, r#"{"weight_map": {"a": "../../../x"}}"#).unwrap_err();
        assert!(escape.message.contains("`../../../x`, which is not there"), "{escape}");
        assert!(chosen(&names, "[").is_err() && chosen(&names, r#"{"weight_map": {}}"#).is_err());
    }

    #[test]
    fn an_adapter_has_files_of_its_own() {
        let names = ["adapter_config.json", "adapter_model.bin", "adapter_model.safetensors", "README.md"];
        assert_eq!(chosen(&names, "").unwrap(), ["adapter_config.json", "adapter_model.safetensors"]);
        let none = chosen(&["model.gguf", "README.md"], "").unwrap_err();
        assert!(none.hint.unwrap().contains("`model.gguf`"));
        assert!(!needed(&listing(&["tokenizer.json", "model.onnx"]), |_| Ok(Vec::new())).unwrap().has_weights);
    }
}
