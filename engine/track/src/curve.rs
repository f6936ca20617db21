//! The figures of a run by step, from a file that may still grow, be cut, or be moved. Knows JSON lines, no tracker.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::run::{self, Point};

/// A file of figures, and how far it was read.
#[derive(Debug, Clone)]
pub struct Curve {
    path: PathBuf,
    /// Where the first line that was not read begins.
    bytes: u64,
    /// The lines before it.
    seen: u64,
    /// The lines that are passed over: they were sent before.
    sent: u64,
}

impl Curve {
    /// The figures in a file, which need not be there yet, without those of its first `sent` lines.
    pub fn new(path: &Path, sent: u64) -> Self {
        Self { path: path.to_owned(), bytes: 0, seen: 0, sent }
    }

    /// Passes over this many lines, at least.
    pub fn pass_over(&mut self, sent: u64) {
        self.sent = self.sent.max(sent);
    }

    /// The lines that were given out by now, those passed over included.
    pub fn sent(&self) -> u64 {
        self.sent.max(self.seen)
    }

    /// The figures of at most `most` whole lines that follow; `at` says when a step was. None for now where there is no file
    /// or nothing new.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn more(&mut self, most: usize, at: &dyn Fn(u64) -> f64) -> io::Result<Vec<Point>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // A training that goes on from a checkpoint cuts its history there, and writes the same lines again.
        if file.metadata()?.len() < self.bytes {
            (self.sent, self.bytes, self.seen) = (self.sent(), 0, 0);
        }
        file.seek(SeekFrom::Start(self.bytes))?;
        let mut reader = BufReader::new(file);
        let (mut points, mut lines, mut line) = (Vec::new(), 0, Vec::new());
        while lines < most {
            line.clear();
            let bytes = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            self.bytes += bytes as u64;
            self.seen += 1;
            if self.seen > self.sent {
                points.extend(figures(&line, at));
                lines += 1;
            }
        }
        Ok(points)
    }
}

/// The figures of one line. What is no object with a step has none.
fn figures(line: &[u8], at: &dyn Fn(u64) -> f64) -> Vec<Point> {
    let Ok(value) = serde_json::from_slice::<Value>(line) else { return Vec::new() };
    let Some(step) = value.get("step").and_then(Value::as_u64) else { return Vec::new() };
    let numbers = run::numbers(&value).into_iter().filter(|(name, _)| name != "step");
    numbers.map(|(name, value)| Point { name, step, value, at: at(step) }).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn steps(points: &[Point]) -> Vec<u64> {
        points.iter().map(|point| point.step).collect()
    }

    #[test]
    fn a_file_is_followed_while_it_grows_and_after_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut curve = Curve::new(&path, 1);
        let mut more = |most| curve.more(most, &|step| step as f64).unwrap();
        assert_eq!(more(9), []);
        std::fs::write(&path, "{\"step\":1,\"loss\":4.0}\n{\"step\":2,\"loss\":3.0}\n{\"step\":3,\"lo").unwrap();
        let expected = Point { name: "loss".into(), step: 2, value: 3.0, at: 2.0 };
        assert_eq!(more(9), [expected], "the first line was sent, the third is not whole");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        write!(file, "ss\":2.0}}\n{{\"step\":4,\"metrics\":{{\"f1\":1}}}}\nnone\n{{\"step\":5,\"loss\":1}}\n").unwrap();
        assert_eq!(steps(&more(2)), [3, 4]);
        assert_eq!(steps(&more(9)), [5]);
        // Cut to its second line, as a resumed training does; then it grows by what was there, and more.
        std::fs::write(&path, "{\"step\":1,\"loss\":4.0}\n{\"step\":2,\"loss\":3.0}\n").unwrap();
        assert_eq!(more(9), []);
        write!(
            std::fs::OpenOptions::new().append(true).open(&path).unwrap(),
            "{{\"step\":3}}\n{{\"step\":4}}\nnone\n{{\"step\":5,\"loss\":1}}\n{{\"step\":6,\"loss\":1}}\n"
        )
        .unwrap();
        assert_eq!(steps(&more(9)), [6]);
        assert_eq!(curve.sent(), 7);
    }
}
