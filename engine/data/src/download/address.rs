//! A file from an address, taken up again where it was cut, and kept only when its SHA-256 is the right one, where one is
//! named. Knows HTTP; does not know what the file is.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use spec::{job::Event, stage::Url};
use ureq::Agent;

use super::transfer::{Cut, SILENCE, Transfer, remove, sha256 as digest};
use crate::{Error, job::Events};

/// Brings the file, and says where it is. What has come so far lies in `state`, which outlives a killed attempt.
pub(super) fn bring(url: &Url, state: &Path, result: &Path, events: Events<'_>) -> Result<PathBuf, Error> {
    fs::create_dir_all(state).map_err(|error| Error::io("write", state, &error))?;
    let part = state.join("download.part");
    let resumed = part.metadata().is_ok_and(|part| part.len() > 0);
    match &url.sha256 {
        Some(sha256) => fetch_exactly(url, sha256, &part, resumed, events)?,
        None => {
            // The beginning may be of an older file at the same address, and no digest would tell.
            if resumed {
                remove(&part)?;
            }
            fetch(url, &part, events)?;
        }
    }
    let target = result.join(file_name(&url.address));
    if fs::rename(&part, &target).is_err() {
        // The two folders are on different file systems.
        fs::copy(&part, &target).map_err(|error| Error::io("write", &target, &error))?;
        remove(&part)?;
    }
    Ok(target)
}

/// Fetches the file that has this digest.
fn fetch_exactly(url: &Url, sha256: &str, part: &Path, resumed: bool, events: Events<'_>) -> Result<(), Error> {
    fetch(url, part, events)?;
    let mut found = digest(part)?;
    if resumed && !found.eq_ignore_ascii_case(sha256) {
        // The beginning may be of an older file at the same address: once more, from nothing.
        remove(part)?;
        fetch(url, part, events)?;
        found = digest(part)?;
    }
    if found.eq_ignore_ascii_case(sha256) {
        return Ok(());
    }
    remove(part)?;
    Err(Error::new(format!("the file is another one: its SHA-256 is {found}, expected {sha256}"))
        .at(&url.address)
        .hint("if you trust the new file, write its digest into the pipeline; nothing was kept"))
}

/// The last part of the address's path, in characters that every file system takes.
fn file_name(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let last = path.split_once('/').map_or("", |(_, path)| path).rsplit('/').next().unwrap_or_default();
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = last.chars().map(|c| if allowed(c) { c } else { '_' }).take(150).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "download".to_owned() } else { name.to_owned() }
}

fn fetch(url: &Url, part: &Path, events: Events<'_>) -> Result<(), Error> {
    let config = Agent::config_builder()
        .https_only(url.address.starts_with("https://"))
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .user_agent(concat!("engine/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = Agent::new_with_config(config);
    let open = |have: u64| {
        let mut request = agent.get(&url.address);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let cut = |error: ureq::Error| Error::new(format!("the download was cut: {error}")).at(&url.address);
        let response = request.call().map_err(|error| Cut::Passing(cut(error)))?;
        match response.status().as_u16() {
            200 | 206 | 416 => Ok(response),
            status => Err(refused(url, status)),
        }
    };
    let progress = |done: u64, total: u64| {
        events(Event::Progress { done, total, unit: "bytes".into(), note: file_name(&url.address) });
    };
    Transfer { address: &url.address, part, size: None, open: &open, progress: &progress }.run(events)
}

fn refused(url: &Url, status: u16) -> Cut {
    let failed = Error::new(format!("the server answered {status}")).at(&url.address);
    match status {
        404 | 410 => Cut::Final(failed.hint("there is no such file: check the address in a browser")),
        401 | 403 => Cut::Final(failed.hint("the file is not public: download it yourself and use `from: {path: …}`")),
        408 | 429 | 500..=599 => Cut::Passing(failed),
        _ => Cut::Final(failed.hint("check the address in a browser")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_the_address() {
        assert_eq!(file_name("https://example.org/a/train-v2.0.json?x=/../y#z"), "train-v2.0.json");
        assert_eq!(file_name("https://example.org/a/..%2F..%2Fetc"), "_2F.._2Fetc");
        assert_eq!(file_name("https://example.org/a/.."), "download");
        assert_eq!(file_name("https://example.org"), "download");
        assert_eq!(file_name("https://example.org/a/.bashrc"), "bashrc");
    }
}
