//! `engine doctor`: whether the programs, libtorch, the devices, the way to the Hub and the store are sound.

use std::process::Command;

use clap::Args;
use data::download::{Access, HubAnswer};
use plan::store::Store;

use crate::{Exit, commands::plan::size, session::programs};

/// Look whether the programs, libtorch, devices, the way to the Hub and the store are sound.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The folder that holds `outputs/`; the current one by default.
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: std::path::PathBuf,
}

/// Prints what it finds; fails where something must be mended.
pub fn run(doctor: &Doctor) -> Exit {
    let mut sound = true;
    outln!("engine     {} (build {})", env!("CARGO_PKG_VERSION"), build_id::BUILD_ID);
    match programs().and_then(|programs| programs.worker()) {
        Ok(path) => {
            outln!("worker     {}", path.display());
            match Command::new(&path).arg("--describe").output() {
                Ok(output) => {
                    String::from_utf8_lossy(&output.stdout).lines().for_each(|line| outln!("           {line}"))
                }
                Err(error) => outln!("           cannot be asked: {error}"),
            }
        }
        Err(failure) => {
            sound = false;
            outln!("worker     {}", failure.message);
            outln!("           {}", failure.hint.unwrap_or_default());
        }
    }
    outln!("processor  {} cores", std::thread::available_parallelism().map_or(1, usize::from));
    if let Some((total, available)) = memory() {
        outln!("memory     {} of {} free", size(available), size(total));
    }
    sound &= hub();
    sound &= store(&doctor.folder);
    if sound { Exit::Done } else { Exit::Failed }
}

/// Total and available memory in bytes, as Linux tells.
fn memory() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}

/// Says where the Hub is, whether there is a token, and whether both answer. A machine without a network is sound; a token
/// that is refused, or an environment that means nothing, is to be mended.
fn hub() -> bool {
    let Access { endpoint, cache, token, answer } = match data::download::access() {
        Ok(access) => access,
        Err(error) => {
            outln!("hub        {}", error.message);
            outln!("           {}", error.hint.unwrap_or_default());
            return false;
        }
    };
    let told = match &answer {
        HubAnswer::Offline => "not asked: HF_HUB_OFFLINE is set".to_owned(),
        HubAnswer::Answers | HubAnswer::RefusesToken => "answers".to_owned(),
        HubAnswer::Status(status) => format!("answers {status}: check HF_ENDPOINT"),
        HubAnswer::Silent(why) => format!("does not answer: {why}"),
    };
    outln!("hub        {endpoint} {told}");
    let told = match (token, &answer) {
        (None, _) => "no token: what is gated or private needs one in HF_TOKEN, or saved by `hf auth login`".to_owned(),
        (Some(found), HubAnswer::Answers) => format!("the token in {found} is accepted"),
        (Some(found), HubAnswer::RefusesToken) => {
            format!("the token in {found} is refused: make another at {endpoint}/settings/tokens")
        }
        (Some(found), _) => format!("a token is in {found}; whether it is accepted is not known"),
    };
    outln!("           {told}");
    outln!("           files are kept in {}", cache.display());
    answer != HubAnswer::RefusesToken
}

/// Hashes everything in the store; what is damaged is taken out, so that it is made anew.
fn store(folder: &std::path::Path) -> bool {
    let outputs = folder.join("outputs");
    let store = Store::open(&outputs);
    let keys = match store.keys() {
        Ok(keys) => keys,
        Err(error) => {
            outln!("store      {error}: {}", error.hint());
            return false;
        }
    };
    let (mut bytes, mut damaged) = (0, 0);
    let begun = std::time::Instant::now();
    for (done, key) in keys.iter().enumerate() {
        if begun.elapsed().as_secs() > 1 && done % 100 == 0 {
            eprintln!("           {done} of {} results hashed", keys.len());
        }
        let Ok(Some(record)) = store.record(key) else { continue };
        bytes += record.tree.size();
        let broken = store.verify(&record);
        if broken.is_empty() {
            continue;
        }
        damaged += 1;
        match store.forget_damaged(&record) {
            Ok(true) => outln!("store      {} was damaged and is mended", record.name),
            Ok(false) => {
                outln!("store      {} is damaged and will be made anew: {}", record.name, broken[0].display())
            }
            Err(error) => outln!("store      {} is damaged: {error}", record.name),
        }
    }
    outln!("store      {} results, {}, {damaged} damaged", keys.len(), size(bytes));
    damaged == 0
}
