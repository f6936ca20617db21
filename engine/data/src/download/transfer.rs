//! The bytes of one file over HTTP, into a file that is taken up again where it was cut. Knows ranges and retries; neither
//! whom it asks nor what the file is.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use spec::job::Event;
use ureq::{Body, http::Response};

use crate::{Error, job::Events};

/// How often a cut connection is taken up again without a byte having come.
pub(super) const ATTEMPTS: u32 = 4;

/// How long nothing may come before the connection counts as cut.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// What ends an attempt.
#[derive(Debug)]
pub(super) enum Cut {
    /// Worth another attempt.
    Passing(Error),
    /// Another attempt would end the same.
    Final(Error),
}

/// One file to be brought.
pub(super) struct Transfer<'a> {
    /// Its address, for messages.
    pub address: &'a str,
    /// Where its bytes go. What is there is its beginning.
    pub part: &'a Path,
    /// Its size, where that is known beforehand. Another one is refused.
    pub size: Option<u64>,
    /// Asks for the file from a byte on; gives an answer of status 200, 206 or 416.
    pub open: &'a dyn Fn(u64) -> Result<Response<Body>, Cut>,
    /// Is told how many bytes are there, and how many there will be; 0 where nobody knows.
    pub progress: &'a dyn Fn(u64, u64),
}

impl Transfer<'_> {
    /// Brings the file; cut connections are taken up again.
    pub(super) fn run(&self, events: Events<'_>) -> Result<(), Error> {
        let length = || self.part.metadata().map_or(0, |part| part.len());
        if self.size.is_some_and(|size| length() > size) {
            remove(self.part)?;
        }
        if self.size.is_some_and(|size| length() == size) {
            File::options()
                .create(true)
                .append(true)
                .open(self.part)
                .map_err(|error| Error::io("write", self.part, &error))?;
            return Ok(());
        }
        let mut left = ATTEMPTS;
        loop {
            let before = length();
            let failed = match self.attempt(before) {
                Ok(()) => return Ok(()),
                Err(Cut::Final(error)) => return Err(error),
                Err(Cut::Passing(error)) => error,
            };
            left = if length() > before { ATTEMPTS } else { left - 1 };
            if left == 0 {
                let hint = "check the network, then run again: the download goes on where it stopped";
                return Err(match failed.hint {
                    Some(_) => failed,
                    None => failed.hint(hint),
                });
            }
            events(Event::Warning { message: format!("{failed}; trying again") });
            std::thread::sleep(pause(ATTEMPTS - left));
        }
    }

    fn attempt(&self, have: u64) -> Result<(), Cut> {
        let cut = |error: String| Error::new(format!("the download was cut: {error}")).at(self.address);
        let disk = |error: &std::io::Error| Cut::Final(Error::io("write", self.part, error));
        let mut response = (self.open)(have)?;
        let start = match response.status().as_u16() {
            200 => 0,
            206 if range_start(&response) == Some(have) => have,
            // What is here is longer than the file, or the answer is of another range: from the beginning.
            _ => {
                fs::remove_file(self.part).or_else(absent_is_fine).map_err(|error| disk(&error))?;
                return Err(Cut::Passing(cut("the server has another file than the one begun".into())));
            }
        };
        let coming = response.body().content_length();
        let total = self.size.or(coming.map(|coming| start.saturating_add(coming))).unwrap_or_default();
        if let (Some(size), Some(coming)) = (self.size, coming)
            && start.saturating_add(coming) != size
        {
            return Err(Cut::Final(self.another_size(start.saturating_add(coming), size)));
        }
        let file = if start == 0 { File::create(self.part) } else { File::options().append(true).open(self.part) };
        let mut file = file.map_err(|error| disk(&error))?;
        let mut reader = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut done = start;
        let mut said = Instant::now();
        loop {
            let read = reader.read(&mut buffer).map_err(|error| Cut::Passing(cut(error.to_string())))?;
            if read == 0 {
                break;
            }
            done += read as u64;
            if let Some(size) = self.size.filter(|size| done > *size) {
                return Err(Cut::Final(self.another_size(done, size)));
            }
            file.write_all(&buffer[..read]).map_err(|error| disk(&error))?;
            if said.elapsed() > Duration::from_millis(200) {
                said = Instant::now();
                (self.progress)(done, total);
            }
        }
        if done < total {
            return Err(Cut::Passing(cut(format!("{done} of {total} bytes came"))));
        }
        (self.progress)(done, done);
        Ok(())
    }

    fn another_size(&self, found: u64, size: u64) -> Error {
        Error::new(format!("the file that comes has {found} bytes or more, and {size} were announced"))
            .at(self.address)
            .hint("nothing was kept; run again, and if it stays so, ask those who run the server")
    }
}

/// How long to wait before the next attempt, after so many in vain.
pub(super) fn pause(failed: u32) -> Duration {
    Duration::from_millis(250) * 2_u32.pow(failed.min(8))
}

/// The first byte of a partial answer: `Content-Range: bytes 100-199/200`.
fn range_start<T>(response: &Response<T>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn absent_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Removes a file that is there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(|error| Error::io("remove", path, &error))
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(super) fn sha256(path: &Path) -> Result<String, Error> {
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
