//! Models, methods, weights, PEFT's files and generation against golden values and against broken input.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod activations;
mod beside;
mod beside_files;
mod checkpoints;
mod decoders;
mod encoders;
mod fixtures;
mod fused;
mod generated;
mod generation;
mod golden;
mod inspection;
mod latency;
mod lora_family;
mod low_rank;
mod merging;
mod methods;
mod mutations;
mod numerics;
mod peft_files;
mod prefixes;
mod prompts;
mod properties;
mod reading;
mod sampling;
mod seq2seq;
mod shared_prefix;
mod slices;
mod torch_files;
mod vectors;
