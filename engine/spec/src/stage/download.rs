//! What a `download` stage may say.

mod hub;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

pub use self::hub::{HUB_SCHEME, Hub, Repository, RepositoryKind};
use super::{Fault, Input, Kind, LocalPath, Program, Read};

/// Brings files into the store: a local file or folder, a file from https, or a model or data set of the Hugging Face Hub.
///
/// Leaves the files under their own names. An archive that is named as such (`.zip`, `.tar`, `.tar.gz`, `.tgz`) is
/// unpacked: what is in it stands in its place. Entries that lead out of the folder, links, and archives that become far
/// larger than they are, are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// Where the files come from. One of the Hub may also be written as one text, `hf://owner/name@revision`.
    pub from: Origin,
}

/// A [`Source`], or an address of the Hub in one text: `hf://owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Origin(pub Source);

crate::one_of! {
    /// Where downloaded files come from.
    pub enum Source {
        /// A file or folder, relative to the project's root.
        path => Path(String),
        /// A file at an https address.
        url => Url(Url),
        /// A model or a data set of the Hugging Face Hub.
        hf => Hub(Hub),
        /// Several of these by name, each in a folder of its name: `{parts: {train: {path: …}, test: {url: …}}}`. An address
        /// among them needs its `sha256`.
        parts => Parts(Parts) where {"minProperties": 1},
    }
}

/// Sources by name.
pub type Parts = BTreeMap<String, Origin>;

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> de::Visitor<'de> for Written {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "one of {}", crate::one_of::listed(Source::NAMES))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Source, E> {
                if text.starts_with(HUB_SCHEME) {
                    return Hub::parse(text).map(Source::Hub).map_err(E::custom);
                }
                // Two words and a slash: a folder here, or how the Hub names its models.
                let is_plain =
                    |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
                if text.split_once('/').is_some_and(|(owner, name)| is_plain(owner) && is_plain(name)) {
                    return Err(E::custom(format!(
                        "`{text}` alone does not say what it is; write `{{path: {text}}}` for a folder of the project, or \
                         `hf://{text}` for a model of the Hub"
                    )));
                }
                Source::deserialize(de::value::StrDeserializer::new(text))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                Source::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Written).map(Self)
    }
}

impl JsonSchema for Origin {
    fn schema_name() -> Cow<'static, str> {
        "Origin".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let source = generator.subschema_for::<Source>();
        schemars::json_schema!({
            "anyOf": [{"type": "string", "pattern": hub::PATTERN}, source],
        })
    }
}

impl Source {
    /// Where the files come from, for people and for the lock.
    pub fn shown(&self) -> String {
        match self {
            Self::Path(path) => path.clone(),
            Self::Url(url) => url.address.clone(),
            Self::Hub(hub) => hub.shown(),
            Self::Parts(parts) => {
                let each: Vec<String> =
                    parts.iter().map(|(name, part)| format!("{name}: {}", part.0.shown())).collect();
                each.join(", ")
            }
        }
    }

    /// The files of the project that are read; `at` is where the setting stands.
    fn local_paths(&self, at: &str) -> Vec<LocalPath> {
        match self {
            Self::Path(path) => {
                vec![LocalPath { role: format!("{at}.path"), path: path.clone(), read: Read::Whole }]
            }
            Self::Url(_) | Self::Hub(_) => Vec::new(),
            Self::Parts(parts) => {
                parts.iter().flat_map(|(name, part)| part.0.local_paths(&format!("{at}.parts.{name}"))).collect()
            }
        }
    }

    /// Whether what comes may change while this does not.
    fn is_moving(&self) -> bool {
        match self {
            Self::Path(_) => false,
            Self::Url(url) => url.sha256.is_none(),
            Self::Hub(_) => true,
            Self::Parts(parts) => parts.values().any(|part| part.0.is_moving()),
        }
    }

    fn faults(&self, at: &str, is_part: bool) -> Vec<Fault> {
        match self {
            Self::Path(_) => Vec::new(),
            Self::Url(url) => url.faults(&format!("{at}.url"), is_part),
            Self::Hub(hub) => hub.faults(&format!("{at}.hf")),
            Self::Parts(_) if is_part => {
                vec![Fault::of_map(format!("{at}.parts"), "parts within a part", "name all parts beside each other")]
            }
            Self::Parts(parts) if parts.is_empty() => {
                vec![Fault::new(format!("{at}.parts"), "no part", "name at least one: `parts: {train: {path: …}}`")]
            }
            Self::Parts(parts) => parts
                .iter()
                .flat_map(|(name, part)| {
                    let at = format!("{at}.parts.{name}");
                    if crate::names::is_name(name) {
                        let is_mixed = |source: &Self| matches!(source, Self::Path(_)) && self.is_moving();
                        let mut faults = part.0.faults(&at, true);
                        faults.extend(is_mixed(&part.0).then(|| {
                            Fault::of_map(
                                format!("{at}.path"),
                                "a path of this project beside what the lock pins",
                                "make it a `download` of its own: it may change without the lock",
                            )
                        }));
                        return faults;
                    }
                    vec![Fault::of_map(at, format!("`{name}` is no name for a part"), crate::names::RULE)]
                })
                .collect(),
        }
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
        self.from.0.local_paths("from")
    }

    fn moving_source(&self) -> Option<String> {
        self.from.0.is_moving().then(|| self.from.0.shown())
    }

    fn faults(&self) -> Vec<Fault> {
        self.from.0.faults("from", false)
    }
}

impl Url {
    fn faults(&self, at: &str, is_part: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !is_allowed(&self.address) {
            faults.push(Fault::new(
                format!("{at}.address"),
                format!("`{}` is no https address", self.address),
                "write an address that begins with `https://`",
            ));
        }
        let is_wrong = |digest: &&String| digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(digest) = self.sha256.as_ref().filter(is_wrong) {
            faults.push(Fault::new(
                format!("{at}.sha256"),
                format!("`{digest}` is no SHA-256: it has {} characters", digest.chars().count()),
                "write the 64 hexadecimal digits that `sha256sum FILE` prints",
            ));
        }
        if is_part && self.sha256.is_none() {
            faults.push(Fault::of_map(
                at,
                "an address among parts, and no `sha256`",
                "write the 64 hexadecimal digits that `sha256sum FILE` prints; or make it a `download` of its own, which is \
                 pinned",
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
