//! Names of the files that one stage leaves and another reads. Knows names, not contents.

/// The tokenizer in Hugging Face's format.
pub const TOKENIZER: &str = "tokenizer.json";
/// What a tokenizer's folder says of special tokens; may be absent.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Special tokens by role, in older folders; may be absent.
pub const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// The tokens that begin and end texts for this model; may be absent.
pub const GENERATION_CONFIG: &str = "generation_config.json";
/// A model's shape.
pub const MODEL_CONFIG: &str = "config.json";
/// A model's weights in one file.
pub const MODEL_WEIGHTS: &str = "model.safetensors";
/// Which shard holds which tensor.
pub const MODEL_INDEX: &str = "model.safetensors.index.json";
/// An adapter's settings, in PEFT's format.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// An adapter's weights, in PEFT's format.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// A SentencePiece model, in Llama's and Gemma's folders.
pub const TOKENIZER_MODEL: &str = "tokenizer.model";
/// A SentencePiece model, in T5's folders.
pub const SPIECE_MODEL: &str = "spiece.model";
/// A SentencePiece model, in XLM-RoBERTa's folders.
pub const SENTENCEPIECE_MODEL: &str = "sentencepiece.bpe.model";
/// A byte-level vocabulary, beside its merges.
pub const VOCAB_JSON: &str = "vocab.json";
/// The merges of a byte-level vocabulary.
pub const MERGES_TXT: &str = "merges.txt";
/// BERT's vocabulary.
pub const VOCAB_TXT: &str = "vocab.txt";
/// Tokens besides those of the vocabulary, in older folders; may be absent.
pub const ADDED_TOKENS: &str = "added_tokens.json";
/// How a chat is written for the model, where it is a file of its own; may be absent.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// The files that say how text becomes ids; absent ones do not count.
pub const TOKENIZER_FILES: [&str; 13] = [
    TOKENIZER,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS_MAP,
    GENERATION_CONFIG,
    SPECIAL_IDS,
    TOKENIZER_MODEL,
    SPIECE_MODEL,
    SENTENCEPIECE_MODEL,
    VOCAB_JSON,
    MERGES_TXT,
    VOCAB_TXT,
    ADDED_TOKENS,
    CHAT_TEMPLATE,
];
/// The ids of BOS, EOS and padding that a `tokenize` stage used.
pub const SPECIAL_IDS: &str = "special_ids.json";
/// The names of the classes, in the order of their numbers.
pub const LABELS: &str = "labels.json";
/// Counts of a stage, and its headline figures under `headline`.
pub const SUMMARY: &str = "summary.json";
/// An evaluation's scores, its headline figures under `headline`.
pub const METRICS: &str = "metrics.json";
/// An evaluation's rows.
pub const PREDICTIONS: &str = "predictions.jsonl";
/// What a selection chose.
pub const SELECTED: &str = "selected.json";
/// What was found of trained weights.
pub const INSPECTION: &str = "inspection.json";
/// A training run's steps.
pub const HISTORY: &str = "history.jsonl";
/// The folder of a training's snapshots, one folder a step within: [`snapshot`].
pub const SNAPSHOTS: &str = "snapshots";
/// The exact revision that a download brought, as one line; beside what is observed, to be kept by the lock.
pub const REVISION: &str = "revision.txt";
/// Time, memory and throughput, as the stage itself measured them.
pub const MEASURED: &str = "measured.json";

/// How long a model's forward pass takes, beside what is observed.
pub const LATENCY: &str = "latency.json";

/// The file of a split.
pub fn split(name: &str) -> String {
    format!("{name}.parquet")
}

/// The folder of the snapshot that was taken at a step, within that of all.
pub fn snapshot(step: u64) -> String {
    format!("{SNAPSHOT}{step:06}")
}

/// The step of the snapshot whose folder has this name.
pub fn snapshot_step(name: &str) -> Option<u64> {
    let step = name.strip_prefix(SNAPSHOT)?.parse().ok()?;
    (snapshot(step) == name).then_some(step)
}

const SNAPSHOT: &str = "step-";
