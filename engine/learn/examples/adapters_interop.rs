//! The Rust half of `tests/peft/adapters_interop.py`: saves bottleneck adapters and outputs for adapter-hub's library to
//! read, and reads those that it saved.
//!
//! `adapters_interop save DIR TASK` reads `DIR/model` and writes, for each style, `DIR/<style>/adapter` and
//! `DIR/<style>/outputs.safetensors`. `adapters_interop check DIR TASK` reads `DIR/model` and, of every folder in `DIR` that
//! has an `adapter`, compares with its `outputs.safetensors`. A task is `language_model`, `classes` (three) or `answers`.

use std::path::Path;
use std::process::ExitCode;

use learn::adapters::{Bottleneck, First, Norms, Size, Style};
use learn::layers::Activation;
use learn::models::Task;
use learn::sublayers::Role;
use learn::{Error, Result};

mod interop;

fn main() -> ExitCode {
    interop::run(save, check)
}

fn styles() -> [(&'static str, Bottleneck); 3] {
    let houlsby = Bottleneck {
        style: Style::Houlsby,
        size: Size::Units(5),
        activation: Activation::Silu,
        scale: 1.0,
        dropout: 0.1,
        norms: Norms { before: true, after: true },
        first: First::Houlsby,
        sublayers: vec![Role::Attention, Role::Mlp],
        leave_out: Vec::new(),
        output_head: false,
    };
    let pfeiffer = Bottleneck {
        style: Style::Pfeiffer,
        size: Size::Reduction(2.5),
        activation: Activation::GeluTanh,
        norms: Norms { before: false, after: true },
        sublayers: vec![Role::Mlp],
        leave_out: vec![0],
        ..houlsby.clone()
    };
    let parallel = Bottleneck {
        style: Style::Parallel,
        size: Size::Reduction(2.0),
        activation: Activation::Relu,
        scale: 4.0,
        norms: Norms::default(),
        first: First::Zero,
        leave_out: Vec::new(),
        ..pfeiffer.clone()
    };
    [("houlsby", houlsby), ("pfeiffer", pfeiffer), ("parallel", parallel)]
}

fn save(folder: &Path, task: Task) -> Result<()> {
    for (name, method) in styles() {
        let _ = interop::save(&folder.join("model"), &folder.join(name), &method.checked()?, task)?;
    }
    Ok(())
}

fn check(folder: &Path, task: Task) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io("read", folder, error))?;
    let mut places: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    places.retain(|place| place.join("adapter").exists());
    places.sort();
    if places.is_empty() {
        return Err(Error::file(folder, "holds no adapter to check", "see tests/peft/adapters_interop.py"));
    }
    places.iter().try_for_each(|place| interop::check(&folder.join("model"), place, task, "adapter-hub's library"))
}
