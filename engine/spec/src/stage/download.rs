//! What a `download` stage may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Input, Kind, LocalPath, Program, Read};

/// Brings files into the store: a local file or folder, or a file from https.
///
/// Leaves the files under their own names. An archive that is named as such (`.zip`, `.tar`, `.tar.gz`, `.tgz`) is
/// unpacked: what is in it stands in its place. Entries that lead out of the folder, links, and archives that become far
/// larger than they are, are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// Where the files come from.
    pub from: Source,
}

crate::one_of! {
    /// Where downloaded files come from.
    pub enum Source {
        /// A file or folder, relative to the project's root.
        path => Path(String),
        /// A file at an https address.
        url => Url(Url),
    }
}

/// A file at an https address: `{url: {address: https://…, sha256: …}}`.
///
/// Without `sha256`, what the address held when it was first downloaded is pinned by the lock; other contents are
/// refused until `engine run FILE --update STAGE` moves the pin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Url {
    /// The address, beginning with `https://` (or `http://` on this machine).
    #[schemars(regex(pattern = r"^(https://.|http://(127\.0\.0\.1|localhost|\[::1\])([:/]|$))"))]
    pub address: String,
    /// The SHA-256 of the file, 64 hexadecimal digits. A file with another digest is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{64}$"))]
    pub sha256: Option<String>,
}

impl Kind for Download {
    const VERSION: u32 = 2;
    const PROGRAM: Program = Program::Engine;

    fn inputs(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn local_paths(&self) -> Vec<LocalPath> {
        match &self.from {
            Source::Path(path) => vec![LocalPath { role: "from.path".into(), path: path.clone(), read: Read::Whole }],
            Source::Url(_) => Vec::new(),
        }
    }

    fn moving_source(&self) -> Option<&str> {
        match &self.from {
            Source::Url(Url { address, sha256: None }) => Some(address),
            Source::Url(_) | Source::Path(_) => None,
        }
    }

    fn faults(&self) -> Vec<Fault> {
        let Source::Url(url) = &self.from else { return Vec::new() };
        let mut faults = Vec::new();
        if !is_allowed(&url.address) {
            faults.push(Fault::new(
                "from.url.address",
                format!("`{}` is no https address", url.address),
                "write an address that begins with `https://`",
            ));
        }
        let is_wrong = |digest: &&String| digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(digest) = url.sha256.as_ref().filter(is_wrong) {
            faults.push(Fault::new(
                "from.url.sha256",
                format!("`{digest}` is no SHA-256: it has {} characters", digest.chars().count()),
                "write the 64 hexadecimal digits that `sha256sum FILE` prints",
            ));
        }
        faults
    }
}

/// Plain http is for servers of this machine alone.
fn is_allowed(address: &str) -> bool {
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let ends_host = |rest: &str| rest.is_empty() || rest.starts_with(':') || rest.starts_with('/');
    address.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
        || local.iter().any(|host| address.strip_prefix(host).is_some_and(ends_host))
}
