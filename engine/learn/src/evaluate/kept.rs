//! What was generated, written down batch by batch, so that an evaluation that is killed goes on where it was. Knows
//! batches and ids; no model and no text.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::generate::{Continuation, Prompt};

/// The file with the batches that are done.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    file: File,
    done: Vec<Line>,
}

/// A batch, a line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// A digest of its prompts, in order.
    prompts: String,
    /// For each prompt its texts.
    texts: Vec<Vec<Continuation>>,
}

impl Kept {
    /// Opens the file `answers.jsonl` of a folder. A line that was torn, and what follows it, is cut off.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("answers.jsonl");
        let io = |error| Error::io("open", &path, error);
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(io)?;
        let (mut done, mut whole) = (Vec::new(), 0);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(io)? > 0 {
            let Some(Ok(batch)) = line.ends_with(b"\n").then(|| serde_json::from_slice::<Line>(&line)) else { break };
            whole += line.len() as u64;
            done.push(batch);
            line.clear();
        }
        file.set_len(whole).map_err(io)?;
        Ok(Self { path, file, done })
    }

    /// What was generated for these prompts together, if they are done.
    pub fn take(&mut self, prompts: &[&Prompt]) -> Option<Vec<Vec<Continuation>>> {
        let digest = digest(prompts);
        let at = self.done.iter().position(|line| line.prompts == digest && line.texts.len() == prompts.len())?;
        Some(self.done.swap_remove(at).texts)
    }

    /// Writes down what was generated for these prompts together.
    pub fn add(&mut self, prompts: &[&Prompt], texts: &[Vec<Continuation>]) -> Result<()> {
        let line = Line { prompts: digest(prompts), texts: texts.to_vec() };
        let mut line = serde_json::to_vec(&line).map_err(|error| Error::io("write", &self.path, error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| Error::io("write", &self.path, error))
    }
}

fn digest(prompts: &[&Prompt]) -> String {
    let mut hasher = blake3::Hasher::new();
    for prompt in prompts {
        hasher.update(&(prompt.name.len() as u64).to_le_bytes()).update(prompt.name.as_bytes());
        hasher.update(&(prompt.ids.len() as u64).to_le_bytes());
        for id in &prompt.ids {
            hasher.update(&id.to_le_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_batches_are_taken_and_a_torn_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let prompt = |name: &str, ids: &[i64]| Prompt { name: name.to_owned(), ids: ids.to_vec() };
        let text = |tokens: &[i64], end| vec![Continuation { tokens: tokens.to_vec(), end }];
        let (one, two, three) = (prompt("one", &[1, 2]), prompt("two", &[3]), prompt("three", &[3]));
        let mut kept = Kept::open(folder.path()).unwrap();
        assert_eq!(kept.take(&[&one, &two]), None);
        kept.add(&[&one, &two], &[text(&[5], Some(0)), text(&[], None)]).unwrap();
        kept.add(&[&three], &[text(&[7, 8], None)]).unwrap();
        drop(kept);
        let path = folder.path().join("answers.jsonl");
        let length = std::fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
        let mut kept = Kept::open(folder.path()).unwrap();
        assert_eq!(kept.take(&[&three]), None);
        kept.add(&[&three], &[text(&[7, 8], None)]).unwrap();
        let mut kept = Kept::open(folder.path()).unwrap();
        assert_eq!(kept.take(&[&two, &one]), None);
        assert_eq!(kept.take(&[&two]), None);
        assert_eq!(kept.take(&[&one, &two]), Some(vec![text(&[5], Some(0)), text(&[], None)]));
        assert_eq!(kept.take(&[&three]), Some(vec![text(&[7, 8], None)]));
    }
}
