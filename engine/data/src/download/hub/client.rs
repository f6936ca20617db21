//! Asking the Hub: addresses, redirects, and what its refusals mean. The token goes to the Hub alone: a redirect to another
//! host, where files are kept, is followed without it. Knows no file.

use std::time::Duration;

use spec::stage::{Repository, RepositoryKind};
use ureq::{
    Agent, Body,
    http::{Response, Uri, header::AUTHORIZATION},
};

use super::surroundings::{Surroundings, Token};
use crate::{
    Error,
    download::transfer::{ATTEMPTS, Cut, SILENCE, pause},
};

/// How many redirects are followed.
const REDIRECTS: usize = 8;
/// The most bytes that the Hub's list of a repository's files may take.
const LONGEST_LIST: u64 = 256 << 20;

/// Something that can be asked.
pub(super) struct Client<'a> {
    agent: Agent,
    endpoint: &'a str,
    token: Option<&'a Token>,
}

/// What is asked for, for messages.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The repository.
    pub repository: Repository<'a>,
    /// The revision.
    pub revision: &'a str,
    /// Whether the lock named it.
    pub is_pinned: bool,
    /// The file, where it is one.
    pub file: Option<&'a str>,
}

/// An answer, and what the Hub itself said of the file before it sent on to where it is kept.
pub(super) struct Answer {
    /// The last answer.
    pub response: Response<Body>,
    /// Whether it is the Hub's own.
    is_home: bool,
    /// The commit that the file is of.
    pub commit: Option<String>,
    /// The digest under which the Hub knows it.
    pub digest: Option<String>,
}

impl<'a> Client<'a> {
    /// Asks the Hub of these surroundings.
    pub(super) fn new(surroundings: &'a Surroundings) -> Self {
        Self::with_patience(surroundings, Duration::from_secs(20), SILENCE)
    }

    /// As [`Client::new`], for an answer within seconds or none.
    pub(super) fn impatient(surroundings: &'a Surroundings) -> Self {
        Self::with_patience(surroundings, Duration::from_secs(3), Duration::from_secs(5))
    }

    fn with_patience(surroundings: &'a Surroundings, connect: Duration, answer: Duration) -> Self {
        let config = Agent::config_builder()
            .https_only(surroundings.endpoint.starts_with("https://"))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_recv_response(Some(answer))
            .timeout_per_read(Some(answer))
            .user_agent(concat!("engine/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: Agent::new_with_config(config),
            endpoint: &surroundings.endpoint,
            token: surroundings.token.as_ref(),
        }
    }

    /// The address of what the Hub says of a repository at a revision: its commit and files.
    pub(super) fn list_address(&self, repository: Repository<'_>, revision: &str) -> String {
        let kind = match repository.kind {
            RepositoryKind::Model => "models",
            RepositoryKind::Dataset => "datasets",
        };
        format!("{}/api/{kind}/{}/revision/{}?blobs=true", self.endpoint, repository.name, escaped(revision, ""))
    }

    /// The address of a file of a repository at a commit.
    pub(super) fn file_address(&self, repository: Repository<'_>, commit: &str, file: &str) -> String {
        format!("{}/resolve/{}/{}", page(self.endpoint, repository), escaped(commit, ""), escaped(file, "/"))
    }

    /// The answer to a request below the endpoint, redirects followed.
    ///
    /// # Errors
    /// When nobody answers, or sends on to nowhere.
    pub(super) fn get(&self, address: &str, from: u64) -> Result<Answer, Cut> {
        let (mut commit, mut digest) = (None, None);
        let home = self.endpoint.parse::<Uri>().ok().and_then(|uri| origin(&uri));
        let mut address = address.to_owned();
        for _ in 0..=REDIRECTS {
            let uri: Uri = address.parse().map_err(|_| self.lost("its answer leads to no address"))?;
            let is_home = origin(&uri) == home;
            let mut request = self.agent.get(&uri).header("Accept-Encoding", "identity");
            if let Some(value) = self.token.filter(|_| is_home).and_then(Token::header) {
                request = request.header(AUTHORIZATION, value);
            }
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| self.unreachable(&error, is_home))?;
            let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            if is_home {
                commit = header("x-repo-commit").or(commit);
                let tag = header("x-linked-etag").or_else(|| header("etag"));
                digest = tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned()).or(digest);
            }
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer { response, is_home, commit, digest });
            }
            let location = header("location").ok_or_else(|| self.lost("its answer sends on to nowhere"))?;
            address = followed(&uri, &location).ok_or_else(|| self.lost("its answer leads to no address"))?;
            // Another name of the repository: what was asked for stays the same.
            if let (Some(query), true) = (uri.query().filter(|_| is_home), location.starts_with('/'))
                && !location.starts_with("//")
                && !location.contains('?')
            {
                address = format!("{address}?{query}");
            }
        }
        Err(self.lost("its answers lead around in a ring"))
    }

    /// What the Hub answers below its endpoint, whole; passing failures are tried again.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub(super) fn text(&self, address: &str, asked: &Asked<'_>) -> Result<Vec<u8>, Error> {
        let mut failed = 0;
        loop {
            let got = self.get(address, 0).and_then(|mut answer| match answer.response.status().as_u16() {
                200 => {
                    let body = answer.response.body_mut().with_config().limit(LONGEST_LIST).read_to_vec();
                    body.map_err(|error| self.unreachable(&error, true))
                }
                _ => Err(self.refused(&answer, asked)),
            });
            match got {
                Ok(text) => return Ok(text),
                Err(Cut::Final(error)) => return Err(error),
                Err(Cut::Passing(error)) if failed + 1 == ATTEMPTS => return Err(error),
                Err(Cut::Passing(_)) => {
                    failed += 1;
                    std::thread::sleep(pause(failed));
                }
            }
        }
    }

    /// The status of a short question, for `engine doctor`.
    ///
    /// # Errors
    /// Why nobody answers.
    pub(super) fn status(&self, path: &str) -> Result<u16, Error> {
        match self.get(&format!("{}{path}", self.endpoint), 0) {
            Ok(answer) => Ok(answer.response.status().as_u16()),
            Err(Cut::Final(error) | Cut::Passing(error)) => Err(error),
        }
    }

    fn lost(&self, why: &str) -> Cut {
        Cut::Final(Error::new(format!("the Hub answers oddly: {why}")).at(self.endpoint).hint("check HF_ENDPOINT"))
    }

    fn unreachable(&self, error: &ureq::Error, is_home: bool) -> Cut {
        // An address that was sent on to may carry a signature that opens it: only the Hub's own is shown.
        let whom = if is_home { "the Hub" } else { "the server that keeps the Hub's files" };
        let failed = Error::new(format!("{whom} cannot be reached: {}", why(error)))
            .at(self.endpoint)
            .hint("check the network, the proxy and HF_ENDPOINT; HF_HUB_OFFLINE=1 works with what the cache holds");
        match error {
            ureq::Error::HostNotFound | ureq::Error::RequireHttpsOnly(_) | ureq::Error::BadUri(_) => Cut::Final(failed),
            _ => Cut::Passing(failed),
        }
    }

    /// What a refusal means, and what to do about it.
    pub(super) fn refused(&self, answer: &Answer, asked: &Asked<'_>) -> Cut {
        let status = answer.response.status().as_u16();
        if !answer.is_home {
            // What the Hub signed may have run out meanwhile: asked again, it signs anew.
            return Cut::Passing(
                Error::new(format!("the server that keeps the Hub's files answered {status}"))
                    .at(asked.repository.address())
                    .hint("run again: the download goes on where it stopped"),
            );
        }
        let code =
            answer.response.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let Asked { repository, revision, is_pinned, file } = *asked;
        let what = match repository.kind {
            RepositoryKind::Model => "model",
            RepositoryKind::Dataset => "data set",
        };
        let (name, page) = (repository.name, page(self.endpoint, repository));
        let failed =
            |message: String, hint: String| Cut::Final(Error::new(message).at(repository.address()).hint(hint));
        let (endpoint, found) = (self.endpoint, self.token.map(|token| token.found.as_str()));
        match (status, code, found) {
            (401 | 403, "GatedRepo", None) => failed(
                format!(
                    "the {what} `{name}` is gated: its owner wants conditions accepted first, and there is no token"
                ),
                format!(
                    "accept the conditions at {page}, make a token of the same account at {endpoint}/settings/tokens, and \
                     set HF_TOKEN to it, or save it with `hf auth login`"
                ),
            ),
            (401 | 403, "GatedRepo", Some(found)) => failed(
                format!("the {what} `{name}` is gated, and the account of the token in {found} has no access to it"),
                format!(
                    "accept the conditions at {page} with that account (some owners then answer by hand); a fine-grained \
                     token must be allowed to read gated repositories"
                ),
            ),
            (_, "RevisionNotFound", _) if is_pinned => failed(
                format!("the {what} `{name}` no longer has the commit {revision}, which the lock pins"),
                format!("its history was rewritten; look at {page}, then move the pin with `--update STAGE`"),
            ),
            (_, "RevisionNotFound", _) => failed(
                format!("the {what} `{name}` has no revision `{revision}`"),
                format!("its branches and tags are listed at {page}/tree/main"),
            ),
            (_, "EntryNotFound", _) => failed(
                format!("the {what} `{name}` has no file `{}` at {revision}", file.unwrap_or_default().escape_debug()),
                format!("look at {page}; run again if its owner is changing it just now"),
            ),
            (401, "", Some(found)) => failed(
                format!("the Hub does not accept the token in {found}"),
                format!("it may be mistyped, expired or revoked: make another at {endpoint}/settings/tokens"),
            ),
            (404, "", _) if file.is_some() => {
                failed(format!("the Hub answered 404 for `{}`", file.unwrap_or_default()), format!("look at {page}"))
            }
            (401 | 404, _, None) => failed(
                format!("there is no {what} `{name}` at the Hub, or it is private"),
                format!("{}; for a private one set HF_TOKEN to a token that may read it", self.other_kind(repository)),
            ),
            (401 | 403 | 404, _, Some(found)) => failed(
                format!("there is no {what} `{name}` at the Hub that the token in {found} may read"),
                format!("{}; a private one needs a token of an account that sees it", self.other_kind(repository)),
            ),
            (408 | 429 | 500..=599, _, _) => Cut::Passing(
                Error::new(format!("the Hub answered {status}")).at(repository.address()).hint(match status {
                    429 => {
                        "it was asked too often from here: wait some minutes; with a token in HF_TOKEN more is allowed"
                    }
                    _ => "it has a bad moment: run again later, see https://status.huggingface.co",
                }),
            ),
            _ => failed(
                format!("the Hub answered {status}"),
                format!("look at {page} in a browser, and check HF_ENDPOINT"),
            ),
        }
    }

    /// A guess at why a name is not there: what is meant may be of the other kind.
    fn other_kind(&self, repository: Repository<'_>) -> String {
        let (kind, what) = match repository.kind {
            RepositoryKind::Model => (RepositoryKind::Dataset, "data set"),
            RepositoryKind::Dataset => (RepositoryKind::Model, "model"),
        };
        let other = Repository { kind, ..repository };
        let address = self.list_address(other, "main");
        match self.get(&address, 0) {
            Ok(answer) if answer.response.status() == 200 => {
                format!("there is a {what} of that name: `{}`", other.address())
            }
            _ => "check its name, owner included, in a browser".to_owned(),
        }
    }
}

/// The page of a repository.
pub(super) fn page(endpoint: &str, repository: Repository<'_>) -> String {
    match repository.kind {
        RepositoryKind::Model => format!("{endpoint}/{}", repository.name),
        RepositoryKind::Dataset => format!("{endpoint}/datasets/{}", repository.name),
    }
}

/// Scheme, host and port of an address.
fn origin(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().or(match scheme.as_str() {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    })?;
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// The address that a redirect means.
fn followed(from: &Uri, location: &str) -> Option<String> {
    let (scheme, host) = (from.scheme_str()?, from.authority()?.as_str());
    if location.starts_with("https://") || location.starts_with("http://") {
        Some(location.to_owned())
    } else if location.starts_with("//") {
        Some(format!("{scheme}:{location}"))
    } else {
        location.starts_with('/').then(|| format!("{scheme}://{host}{location}"))
    }
}

/// Why nobody answered, without any address.
fn why(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "its host is not found".to_owned(),
        ureq::Error::Timeout(_) => "no answer came in time".to_owned(),
        ureq::Error::RequireHttpsOnly(_) => "its answer leads from https to plain http".to_owned(),
        ureq::Error::BadUri(_) => "its answer leads to no address".to_owned(),
        other => {
            let text = other.to_string();
            if text.contains("://") { "the connection failed".to_owned() } else { text }
        }
    }
}

/// A text as it may stand in an address; characters of `kept` stay.
fn escaped(text: &str, kept: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_stays_or_leads_elsewhere() {
        let from: Uri = "https://hub.example.org/a/b".parse().unwrap();
        assert_eq!(followed(&from, "/c?d").unwrap(), "https://hub.example.org/c?d");
        assert_eq!(followed(&from, "//cdn.example.org/c").unwrap(), "https://cdn.example.org/c");
        assert_eq!(followed(&from, "https://x/y").unwrap(), "https://x/y");
        assert_eq!(followed(&from, "file:///etc/passwd"), None);
        let home = |text: &str| origin(&text.parse().unwrap());
        assert_eq!(home("https://HUB.example.org"), home("https://hub.example.org:443/x"));
        assert_ne!(home("https://hub.example.org"), home("http://hub.example.org"));
        assert_ne!(home("http://127.0.0.1:80"), home("http://127.0.0.1:81"));
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("refs/convert/parquet", ""), "refs%2Fconvert%2Fparquet");
        assert_eq!(escaped("a b/ü?#.json", "/"), "a%20b/%C3%BC%3F%23.json");
    }
}
