//! What must not get into a record that is kept and shown. Knows the usual names and looks of secrets.

/// What stands in a secret's place.
const HIDDEN: &str = "(hidden)";

/// Words of a setting's or variable's name that say that its value is a secret.
const WORDS: &[&str] = &[
    "apikey",
    "auth",
    "cookie",
    "credential",
    "credentials",
    "key",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "pat",
    "pwd",
    "secret",
    "secrets",
    "token",
];

/// How the tokens of well-known services begin.
const BEGINNINGS: &[&str] = &["hf_", "ghp_", "gho_", "github_pat_", "glpat-", "sk-", "xoxb-", "AKIA"];

/// Whether a dotted path names a secret. `max_new_tokens` and the stage `tokens` do not: they are plural.
pub fn is_secret(path: &str) -> bool {
    let words = path.split(|c: char| !c.is_alphanumeric());
    words.map(str::to_lowercase).any(|word| WORDS.contains(&word.as_str()))
}

/// A `PATH=VALUE` argument as it may be kept.
pub fn shown_set(argument: &str) -> String {
    match argument.split_once('=') {
        Some((path, _)) if is_secret(path) => format!("{path}={HIDDEN}"),
        Some((path, value)) => format!("{path}={}", shown(value)),
        None => shown(argument),
    }
}

/// A value under a path as it may be kept.
pub fn shown_value(path: &str, value: &str) -> String {
    if is_secret(path) { HIDDEN.to_owned() } else { shown(value) }
}

/// Text as it may be kept: without what looks like a token, and without the user and password of an address.
pub fn shown(text: &str) -> String {
    let looks_secret = |word: &str| word.len() >= 20 && BEGINNINGS.iter().any(|beginning| word.starts_with(beginning));
    let is_word = |c: char| c.is_alphanumeric() || "_-".contains(c);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        clean.push_str(if looks_secret(word) { HIDDEN } else { word });
        if let Some(address) = tail.strip_prefix("://") {
            clean.push_str("://");
            let host = address.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(address.len());
            let at = address[..host].rfind('@').map(|at| at + 1);
            if at.is_some() {
                clean.push_str(&format!("{HIDDEN}@"));
            }
            rest = &address[at.unwrap_or(0)..];
            continue;
        }
        let next = tail.chars().next();
        clean.extend(next);
        rest = &tail[next.map_or(0, char::len_utf8)..];
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_kept() {
        for (argument, kept) in [
            ("vars.rows=256", "vars.rows=256"),
            ("vars.hf_token=abc", "vars.hf_token=(hidden)"),
            ("stages.fetch.env.API_KEY=abc=d", "stages.fetch.env.API_KEY=(hidden)"),
            ("stages.tokens.max_length=96", "stages.tokens.max_length=96"),
            ("stages.scores.protocol.generate.max_new_tokens=3", "stages.scores.protocol.generate.max_new_tokens=3"),
            ("vars.x=hf_abcdefghijklmnopqrstuv", "vars.x=(hidden)"),
            ("vars.from=https://me:pw@example.org/a?b#c", "vars.from=https://(hidden)@example.org/a?b#c"),
            ("vars.from=https://example.org/@me", "vars.from=https://example.org/@me"),
            ("vars.text=größe — [a, b]", "vars.text=größe — [a, b]"),
        ] {
            assert_eq!(shown_set(argument), kept);
        }
        assert_eq!(shown_value("env.PASSWORD", "\"x\""), "(hidden)");
        assert_eq!(shown_value("run.2", "\"curl sk-abcdefghijklmnopqrstuvw\""), "\"curl (hidden)\"");
    }
}
