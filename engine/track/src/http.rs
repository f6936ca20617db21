//! Asking a server by HTTP: JSON and files, what its refusals mean, and how long it is waited for. Knows no tracker.

use std::{
    fmt,
    fs::File,
    io::{Cursor, Read},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use ureq::{
    Agent, Body, SendBody,
    http::{Method, Request, Response, header},
};

/// How long a server may take to be reached.
const REACH: Duration = Duration::from_secs(3);
/// How long it may take to begin its answer, and between its bytes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a file may take.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// The most bytes of an answer.
const MOST: u64 = 16 << 20;
/// The most characters of a refusal that are shown.
const SHOWN: usize = 200;

/// Why a tracker did not take what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be asked now; later the same may go well.
    Away(String),
    /// It was understood and is not wanted; the same would not be wanted later.
    Refused(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Away(error.to_string())
    }
}

/// A server, and what opens it. Nothing shows the latter.
pub struct Server {
    agent: Agent,
    address: String,
    authorization: Option<String>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// The server at an address; `authorization` goes with every request, and to no other server.
    pub fn new(address: &str, authorization: Option<String>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(REACH))
            .timeout_connect(Some(REACH))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_send_body(Some(LONGEST))
            .user_agent(concat!("engine/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = Agent::new_with_config(config);
        Self { agent, address: address.trim_end_matches('/').to_owned(), authorization }
    }

    /// The same server with what opens it from now on.
    pub fn opened_by(&mut self, authorization: String) {
        self.authorization = Some(authorization);
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it answers to a `POST` of JSON.
    ///
    /// # Errors
    /// When it is away or refuses.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        self.send("POST", path, "application/json", body.to_string().into_bytes())
    }

    /// What it answers to bytes of a kind.
    ///
    /// # Errors
    /// When it is away or refuses.
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Result<Value, Trouble> {
        let request = self.request(method, path, content_type)?.body(body);
        let request = request.map_err(|error| Trouble::Refused(error.to_string()))?;
        self.answer(self.agent.run(request))
    }

    /// Sends a file, with bytes before and after it.
    ///
    /// # Errors
    /// When the server is away or refuses, or the file cannot be read.
    pub fn send_file(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        (before, file, after): (&str, &Path, &str),
    ) -> Result<Value, Trouble> {
        let file = File::open(file)?;
        let length = file.metadata()?.len() + (before.len() + after.len()) as u64;
        let request = self.request(method, path, content_type)?.header(header::CONTENT_LENGTH, length);
        let around = |text: &str| Cursor::new(text.as_bytes().to_vec());
        let bytes = around(before).chain(file).chain(around(after));
        let request = request.body(SendBody::from_owned_reader(bytes));
        let request = request.map_err(|error| Trouble::Refused(error.to_string()))?;
        self.answer(self.agent.run(request))
    }

    fn request(&self, method: &str, path: &str, content_type: &str) -> Result<ureq::http::request::Builder, Trouble> {
        let method: Method = method.parse().map_err(|_| Trouble::Refused(format!("no method `{method}`")))?;
        let request = Request::builder().method(method).uri(format!("{}/{path}", self.address));
        let request = request.header(header::CONTENT_TYPE, content_type);
        Ok(match &self.authorization {
            Some(authorization) => request.header(header::AUTHORIZATION, authorization),
            None => request,
        })
    }

    fn answer(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Value, Trouble> {
        let mut response =
            answer.map_err(|error| Trouble::Away(format!("{} does not answer: {error}", self.address)))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(MOST).read_to_string().unwrap_or_default();
        let body = serde_json::from_str::<Value>(&text).unwrap_or(Value::Null);
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let said = said(&body, &text);
        Err(match status {
            401 | 403 => Trouble::Away(format!("{} refuses who asks ({status}){said}", self.address)),
            300..=399 => Trouble::Away(format!("{} sends on to another address ({status})", self.address)),
            408 | 429 | 500.. => Trouble::Away(format!("{} answers with {status}{said}", self.address)),
            _ => Trouble::Refused(format!("{} refuses ({status}){said}", self.address)),
        })
    }
}

/// What a server says of its refusal, on one short line.
fn said(body: &Value, text: &str) -> String {
    let told =
        ["/message", "/meta/result_msg", "/error_code"].into_iter().find_map(|path| body.pointer(path)?.as_str());
    let words = told.unwrap_or(if text.trim_start().starts_with('<') { "" } else { text });
    let line: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

/// A part of an address in which everything but plain letters and digits is escaped, `/` kept.
pub fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What `Basic` authorization is for a name and a password.
pub fn basic(name: &str, password: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}
