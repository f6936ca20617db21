//! What a repository holds at a commit: its files with their sizes and digests, as the Hub tells. Believes nothing of it:
//! names that lead elsewhere and digests that are none are refused. Asks nobody.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::{Error, rows::translated};

/// The most files that a repository may hold.
const MOST_FILES: usize = 200_000;

/// The files of a repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    /// The commit.
    pub commit: String,
    /// The files by path.
    pub files: BTreeMap<String, Entry>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Its bytes.
    pub size: u64,
    /// What the cache names its contents by: the SHA-256 of a large file, else git's digest.
    pub id: String,
}

impl Entry {
    /// The SHA-256 of the contents, where the Hub tells it.
    pub(super) fn sha256(&self) -> Option<&str> {
        (self.id.len() == 64).then_some(self.id.as_str())
    }
}

#[derive(Deserialize)]
struct Told {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Reads the Hub's answer. Files that it names in no usable way are left out: nobody asks for them.
    ///
    /// # Errors
    /// An answer that is none, or a list without end.
    pub(super) fn read(answer: &[u8], address: &str) -> Result<Self, Error> {
        let odd = |why: String| {
            Error::new(format!("the Hub answers oddly: {why}"))
                .at(address)
                .hint("check HF_ENDPOINT: another server than the Hub, or an older mirror of it, may stand there")
        };
        let told: Told = serde_json::from_slice(answer).map_err(|error| odd(error.to_string()))?;
        if !is_commit(&told.sha) {
            return Err(odd("it names no commit".to_owned()));
        }
        if told.siblings.len() > MOST_FILES {
            return Err(odd(format!("it lists {} files, and {MOST_FILES} are allowed", told.siblings.len())));
        }
        let files = told.siblings.into_iter().filter_map(|sibling| {
            let (size, id) = match sibling.lfs {
                Some(large) => (large.size, large.sha256.to_ascii_lowercase()),
                None => (sibling.size?, sibling.blob?.to_ascii_lowercase()),
            };
            (is_path(&sibling.rfilename) && is_digest(&id)).then_some((sibling.rfilename, Entry { size, id }))
        });
        Ok(Self { commit: told.sha.to_ascii_lowercase(), files: files.collect() })
    }

    /// Whether it holds a file.
    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Whether everything in it is as [`Listing::read`] would have it.
    pub(super) fn is_sound(&self) -> bool {
        is_commit(&self.commit) && self.files.iter().all(|(path, entry)| is_path(path) && is_digest(&entry.id))
    }

    /// The files that patterns fit, each of which must fit one.
    pub(super) fn fitting(&self, patterns: &[String]) -> Result<Vec<String>, Error> {
        let mut fits = Vec::new();
        for text in patterns {
            let regex = glob(text)?;
            let before = fits.len();
            fits.extend(self.files.keys().filter(|path| regex.is_match(path)).cloned());
            if fits.len() == before {
                return Err(Error::new(format!("no file fits `{}`", text.escape_debug())).hint(self.there()));
            }
        }
        fits.sort();
        fits.dedup();
        Ok(fits)
    }

    /// Some of what is there, for a hint.
    pub(super) fn there(&self) -> String {
        let names: Vec<&str> = self.files.keys().map(String::as_str).take(12).collect();
        let more = self.files.len() - names.len();
        match (names.is_empty(), more) {
            (true, _) => "there is no file".to_owned(),
            (false, 0) => format!("there: {}", spec::one_of::listed(&names)),
            (false, more) => format!("there: {} and {more} more", spec::one_of::listed(&names)),
        }
    }
}

/// A pattern of paths, as data sets write it: besides `*`, `**` and `?` also `[0-9]`.
fn glob(text: &str) -> Result<Regex, Error> {
    let mut regex = String::from("^");
    let mut rest = text.strip_prefix("./").unwrap_or(text);
    let is_class = |class: &str| !class.is_empty() && class.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    while let Some((before, behind)) = rest.split_once('[') {
        regex.push_str(&translated(before));
        rest = match behind.split_once(']').filter(|(class, _)| is_class(class)) {
            Some((class, behind)) => {
                regex.push_str(&format!("[{class}]"));
                behind
            }
            None => {
                regex.push_str("\\[");
                behind
            }
        };
    }
    regex.push_str(&translated(rest));
    regex.push('$');
    Regex::new(&regex)
        .map_err(|_| Error::new(format!("`{}` is no pattern", text.escape_debug())).hint("write it with `*` and `?`"))
}

/// Whether a text is a git commit.
pub(super) fn is_commit(text: &str) -> bool {
    is_digest(text)
}

/// Git's digest, or a SHA-256.
fn is_digest(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a path stays within its folder on every file system, and can be shown.
fn is_path(path: &str) -> bool {
    let is_step = |step: &str| {
        !step.is_empty() && step != "." && step != ".." && step.len() <= 255 && !step.chars().any(char::is_control)
    };
    path.len() <= 1024 && !path.contains('\\') && path.split('/').all(is_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn files_that_lead_elsewhere_are_left_out() {
        let names = [
            "config.json",
            "deep/a.txt",
            "../x",
            "/etc/passwd",
            "a/../b",
            "a//b",
            "a/./b",
            "a\\b",
            "a\u{1b}[2Jb",
            "",
            "..",
        ];
        let siblings: Vec<serde_json::Value> = names
            .iter()
            .map(|name| serde_json::json!({"rfilename": name, "size": 3, "blobId": COMMIT}))
            .chain([
                serde_json::json!({"rfilename": "no_size"}),
                serde_json::json!({"rfilename": "blob", "size": 1, "blobId": "../../x"}),
                serde_json::json!({"rfilename": "large", "size": 134, "blobId": COMMIT,
                    "lfs": {"sha256": "A".repeat(64), "size": 7, "pointerSize": 134}}),
            ])
            .collect();
        let answer = serde_json::json!({"sha": COMMIT, "siblings": siblings, "id": "a/b"});
        let listing = Listing::read(answer.to_string().as_bytes(), "x").unwrap();
        assert_eq!(listing.files.keys().collect::<Vec<_>>(), ["config.json", "deep/a.txt", "large"]);
        assert_eq!(listing.files["large"], Entry { size: 7, id: "a".repeat(64) });
        assert!(listing.files["large"].sha256().is_some() && listing.files["config.json"].sha256().is_none());
        assert!(listing.is_sound());
    }

    #[test]
    fn patterns_are_those_of_data_sets() {
        let fits = |pattern: &str, path: &str| glob(pattern).unwrap().is_match(path);
        assert!(fits("data/train-*", "data/train-00000-of-00001.parquet") && !fits("data/*", "data/a/b"));
        assert!(fits("**/test.csv", "test.csv") && fits("**/test.csv", "a/b/test.csv"));
        assert!(fits("./[0-9][0-9].json", "07.json") && !fits("[0-9].json", "x.json"));
        assert!(fits("a[b", "a[b") && fits("a[.*]", "a[.x]") && !fits("a.b", "axb"));
    }

    #[test]
    fn an_answer_without_a_commit_is_none() {
        for answer in ["", "[]", "{\"siblings\": []}", "{\"sha\": \"../../etc\", \"siblings\": []}"] {
            assert!(Listing::read(answer.as_bytes(), "https://x").unwrap_err().message.contains("oddly"), "{answer}");
        }
    }
}
