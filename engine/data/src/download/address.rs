//! A file from an address, taken up again where it was cut, and kept only when its SHA-256 is the right one, where one is
//! named. Knows HTTP; does not know what the file is.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use spec::{job::Event, stage::Url};
use ureq::{Agent, http::Response};

use crate::{Error, job::Events};

/// How often a cut connection is taken up again without a byte having come.
const ATTEMPTS: u32 = 4;

/// How long nothing may come before the connection counts as cut.
const SILENCE: Duration = Duration::from_secs(60);

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

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(|error| Error::io("remove", path, &error))
}

fn digest(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(|error| Error::io("read", path, &error))? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
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

/// What ends an attempt.
enum Cut {
    /// Worth another attempt.
    Passing(Error),
    /// Another attempt would end the same.
    Final(Error),
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
    let length = || part.metadata().map_or(0, |part| part.len());
    let mut left = ATTEMPTS;
    loop {
        let before = length();
        let failed = match attempt(&agent, url, part, before, events) {
            Ok(()) => return Ok(()),
            Err(Cut::Final(error)) => return Err(error),
            Err(Cut::Passing(error)) => error,
        };
        left = if length() > before { ATTEMPTS } else { left - 1 };
        if left == 0 {
            return Err(failed.hint("check the network, then run again: the download goes on where it stopped"));
        }
        events(Event::Warning { message: format!("{failed}; trying again") });
        std::thread::sleep(Duration::from_millis(250) * 2_u32.pow(ATTEMPTS - left));
    }
}

fn attempt(agent: &Agent, url: &Url, part: &Path, have: u64, events: Events<'_>) -> Result<(), Cut> {
    let passing = |error: String| Cut::Passing(Error::new(format!("the download was cut: {error}")).at(&url.address));
    let disk = |error: &std::io::Error| Cut::Final(Error::io("write", part, error));
    let mut request = agent.get(&url.address);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|error| passing(error.to_string()))?;
    let start = match response.status().as_u16() {
        200 => 0,
        206 if range_start(&response) == Some(have) => have,
        // What is here is longer than the file, or the answer is of another range: from the beginning.
        206 | 416 => {
            fs::remove_file(part).map_err(|error| disk(&error))?;
            return Err(passing("the server has another file than the one begun".into()));
        }
        status => return Err(refused(url, status)),
    };
    let coming = response.body().content_length();
    let total = coming.map_or(0, |coming| start + coming);
    let file = if start == 0 { File::create(part) } else { File::options().append(true).open(part) };
    let mut file = file.map_err(|error| disk(&error))?;
    let mut reader = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut done = start;
    let mut said = Instant::now();
    loop {
        let read = reader.read(&mut buffer).map_err(|error| passing(error.to_string()))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(|error| disk(&error))?;
        done += read as u64;
        if said.elapsed() > Duration::from_millis(200) {
            said = Instant::now();
            events(Event::Progress { done, total, unit: "bytes".into(), note: file_name(&url.address) });
        }
    }
    if total > 0 && done < total {
        return Err(passing(format!("{done} of {total} bytes came")));
    }
    events(Event::Progress { done, total: done, unit: "bytes".into(), note: file_name(&url.address) });
    Ok(())
}

/// The first byte of a partial answer: `Content-Range: bytes 100-199/200`.
fn range_start<T>(response: &Response<T>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
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
