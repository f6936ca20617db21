//! What the environment says of the Hub, by the names that Hugging Face's own tools give it: where it is, where its cache
//! is, with which token it is asked, and whether it may be asked at all. Asks nobody.

use std::{fmt, path::PathBuf};

use hf_hub::Cache;
use ureq::http::{HeaderValue, Uri};

use crate::Error;

/// Where the Hub is when nothing else is said.
const HUB: &str = "https://huggingface.co";

/// The Hub as this process sees it.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// Where it is, without a slash at its end.
    pub endpoint: String,
    /// The cache's folder.
    pub cache: PathBuf,
    /// The token, where there is one that may be sent there.
    pub token: Option<Token>,
    /// Whether there is one that may not: the endpoint would hear it in clear.
    pub is_token_withheld: bool,
    /// Whether only the cache may be asked.
    pub is_offline: bool,
}

/// A token, and where it was found. Its text is in no message.
pub(super) struct Token {
    text: String,
    /// `HF_TOKEN`, or the file that keeps it.
    pub found: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token of {}", self.found)
    }
}

impl Token {
    /// The value of an `Authorization` header, marked as one that is never shown.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.text)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Surroundings {
    /// What the environment says.
    ///
    /// # Errors
    /// An endpoint or a token that can be none, or no home folder for the cache.
    pub(super) fn here() -> Result<Self, Error> {
        Self::of(&|name| std::env::var(name).ok())
    }

    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let set = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned()).trim_end_matches('/').to_owned();
        let may_hear = check(&endpoint)?;
        let home = set("HF_HOME").map(PathBuf::from);
        let home = home.or_else(|| set("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("huggingface")));
        let home = home.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache/huggingface")));
        let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        let cache = cache.or_else(|| home.as_ref().map(|home| home.join("hub"))).ok_or_else(|| {
            Error::new("there is no folder for the files of the Hub: `HOME` is not set").hint("set HF_HOME to a folder")
        })?;
        let in_variable = set("HF_TOKEN").map(|text| Token { text, found: "HF_TOKEN".to_owned() });
        let saved = || {
            let path = set("HF_TOKEN_PATH").map(PathBuf::from);
            let (text, path) = match (path, home) {
                (Some(path), _) => (std::fs::read_to_string(&path).ok()?.trim().to_owned(), path),
                (None, Some(home)) => {
                    let beside = Cache::new(home.join("hub"));
                    (beside.token()?, beside.token_path())
                }
                (None, None) => return None,
            };
            Some(Token { text, found: path.display().to_string() }).filter(|token| !token.text.is_empty())
        };
        let found = in_variable.or_else(saved);
        let is_token_withheld = found.is_some() && !may_hear;
        let token = found.filter(|_| may_hear);
        if let Some(token) = token.as_ref().filter(|token| token.header().is_none()) {
            return Err(Error::new(format!("what {} holds is no token: it has characters that none has", token.found))
                .hint("set HF_TOKEN to a token as the Hub shows it once, when it is made"));
        }
        let is_yes = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        let is_offline = set("HF_HUB_OFFLINE").is_some_and(is_yes);
        Ok(Self { endpoint, cache, token, is_token_withheld, is_offline })
    }
}

/// Whether a token may be sent to an endpoint: over https, or within this machine.
fn check(endpoint: &str) -> Result<bool, Error> {
    let refused = |why: &str| {
        Error::new(format!("HF_ENDPOINT {why}")).hint(format!("set it to an address such as {HUB}, or take it away"))
    };
    let uri: Uri = endpoint.parse().map_err(|_| refused("is no address"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(refused("is no address with https:// and a host"));
    };
    if authority.as_str().contains('@') {
        return Err(refused("holds a user's name; tokens belong into HF_TOKEN"));
    }
    if uri.query().is_some() {
        return Err(refused("holds a `?`"));
    }
    match scheme {
        "https" => Ok(true),
        "http" => Ok(matches!(authority.host(), "127.0.0.1" | "localhost" | "[::1]")),
        _ => Err(refused("is no https address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Result<Surroundings, Error> {
        let set: Vec<(String, String)> = set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Surroundings::of(&|name| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
    }

    #[test]
    fn folders_are_where_other_tools_look() {
        let cache = |set: &[(&str, &str)]| of(set).unwrap().cache.display().to_string();
        assert_eq!(cache(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "/f")]), "/f/hub");
        assert_eq!(cache(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]), "/c");
        assert!(of(&[]).unwrap_err().hint.unwrap().contains("HF_HOME"));
        assert!(of(&[("HOME", "/h"), ("HF_HUB_OFFLINE", "yes")]).unwrap().is_offline);
        assert!(!of(&[("HOME", "/h"), ("HF_HUB_OFFLINE", "0")]).unwrap().is_offline);
    }

    #[test]
    fn the_token_is_the_variables_then_the_saved_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_saved\n").unwrap();
        std::fs::write(folder.path().join("other"), "hf_other").unwrap();
        let home = folder.path().display().to_string();
        let other = folder.path().join("other").display().to_string();
        let token = |set: &[(&str, &str)]| of(&[&[("HF_HOME", home.as_str())], set].concat()).unwrap().token;
        let header = |token: Option<Token>| token.unwrap().header().unwrap().to_str().unwrap().to_owned();
        assert_eq!(header(token(&[])), "Bearer hf_saved");
        assert_eq!(header(token(&[("HF_HUB_CACHE", "/elsewhere")])), "Bearer hf_saved");
        assert_eq!(header(token(&[("HF_TOKEN_PATH", &other)])), "Bearer hf_other");
        assert_eq!(header(token(&[("HF_TOKEN", " hf_set ")])), "Bearer hf_set");
        assert_eq!(header(token(&[("HF_TOKEN", " ")])), "Bearer hf_saved");
        assert!(!format!("{:?}", token(&[])).contains("hf_saved"));
        // Not in clear over a network.
        assert!(token(&[("HF_ENDPOINT", "http://mirror.example.org")]).is_none());
        assert!(of(&[("HF_HOME", &home), ("HF_ENDPOINT", "http://x.org")]).unwrap().is_token_withheld);
        assert!(token(&[("HF_ENDPOINT", "http://127.0.0.1:8080/")]).is_some());
        let refused = of(&[("HF_HOME", &home), ("HF_TOKEN", "hf_a\nhf_b")]).unwrap_err();
        assert!(refused.message.contains("HF_TOKEN") && !refused.message.contains("hf_"), "{refused}");
    }

    #[test]
    fn an_endpoint_is_an_address() {
        for endpoint in ["ftp://x", "huggingface.co", "https://user:secret@x", "https://x/?a", "https://"] {
            let refused = of(&[("HOME", "/h"), ("HF_ENDPOINT", endpoint)]).unwrap_err();
            assert!(refused.message.starts_with("HF_ENDPOINT") && !refused.message.contains("secret"), "{refused}");
        }
        assert_eq!(of(&[("HOME", "/h"), ("HF_ENDPOINT", "https://x/hub/")]).unwrap().endpoint, "https://x/hub");
    }
}
