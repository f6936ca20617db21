//! A configuration's settings by key: each is taken once, by whoever carries it over, and what nobody took is listed in the
//! end. So nothing can be dropped in silence. Knows no tool and no pipeline.

use serde_json::{Map, Value};

use super::left::{Known, LeftOut, Said};

/// The settings of a configuration, or of a map within one.
#[derive(Debug)]
pub struct Settings {
    /// What stands before each key in the list: `datasets.0.`.
    at: String,
    keys: Map<String, Value>,
    left: Vec<LeftOut>,
}

/// Which numbers make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Above zero.
    Positive,
    /// From zero on.
    NotNegative,
    /// From 0 up to, not including, 1.
    BelowOne,
    /// From 0 to 1.
    Part,
    /// Any but zero.
    NotZero,
}

impl Range {
    fn holds(self, number: f64) -> bool {
        number.is_finite()
            && match self {
                Self::Positive => number > 0.0,
                Self::NotNegative => number >= 0.0,
                Self::BelowOne => (0.0..1.0).contains(&number),
                Self::Part => (0.0..=1.0).contains(&number),
                Self::NotZero => number != 0.0,
            }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Positive => "a number above zero",
            Self::NotNegative => "a number from zero on",
            Self::BelowOne => "a number from 0 up to, not including, 1",
            Self::Part => "a number from 0 to 1",
            Self::NotZero => "a number other than zero",
        }
    }
}

impl Settings {
    /// The settings of a map; `at` stands before its keys.
    pub fn new(at: impl Into<String>, keys: Map<String, Value>) -> Self {
        Self { at: at.into(), keys, left: Vec::new() }
    }

    /// What stands before each key in the list.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Whether the key is there and says something.
    pub fn has(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|value| !value.is_null())
    }

    /// The value of a key, which is taken out. An empty value is as good as none.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.keys.shift_remove(key).filter(|value| !value.is_null())
    }

    /// A text; numbers are texts too.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let value = self.take(key)?;
        match &value {
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => self.unfit(key, &value, "a text"),
        }
    }

    /// A yes or no, as YAML 1.1 and 1.2 write it.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        let value = self.take(key)?;
        match truth(&value) {
            Some(flag) => Some(flag),
            None => self.unfit(key, &value, "`true` or `false`"),
        }
    }

    /// A number, also one that YAML 1.1 takes for a text, as `2e-4`.
    pub fn number(&mut self, key: &str, range: Range) -> Option<f64> {
        let value = self.take(key)?;
        match number(&value).filter(|number| range.holds(*number)) {
            Some(number) => Some(number),
            None => self.unfit(key, &value, range.wanted()),
        }
    }

    /// A whole number from `least` on, also written as `3.0`.
    pub fn count(&mut self, key: &str, least: u64) -> Option<u64> {
        let value = self.take(key)?;
        match count(&value).filter(|count| *count >= least) {
            Some(count) => Some(count),
            None => self.unfit(key, &value, &format!("a whole number from {least} on")),
        }
    }

    /// A list of texts, also written as one text with commas.
    pub fn words(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let words = match &value {
            Value::String(text) => Some(text.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>()),
            Value::Array(list) => list.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        match words {
            Some(words) => Some(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>())
                .filter(|words| !words.is_empty()),
            None => self.unfit(key, &value, "a list of texts"),
        }
    }

    /// The settings of a map below.
    pub fn below(&mut self, key: &str) -> Option<Self> {
        match self.take(key)? {
            Value::Object(map) => Some(Self::new(format!("{}{key}.", self.at), map)),
            value => self.unfit(key, &value, "a map"),
        }
    }

    /// A list, also a single item where a list may stand.
    pub fn list(&mut self, key: &str) -> Vec<Value> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(value) => vec![value],
        }
    }

    /// Lists a value that was taken and is not carried over, or not as it stands.
    pub fn leave(&mut self, key: &str, value: &Value, why: impl Into<String>) {
        self.left.push(LeftOut::of(format!("{}{key}", self.at), value, why));
    }

    /// Lists what follows from a key that is not set.
    pub fn unset(&mut self, key: &str, why: impl Into<String>) {
        self.left.push(LeftOut { key: format!("{}{key}", self.at), said: Said::Nothing, why: why.into() });
    }

    /// Lists what is done otherwise here, whatever stands under the key.
    pub fn differs(&mut self, key: &str, why: impl Into<String>) {
        self.left.push(LeftOut { key: format!("{}{key}", self.at), said: Said::Whatever, why: why.into() });
    }

    /// Lists a key that is there and goes unused; nothing where it is not there or is off.
    pub fn unused(&mut self, key: &str, why: &str) {
        if let Some(value) = self.take(key).filter(|value| !is_off(value)) {
            self.leave(key, &value, why);
        }
    }

    /// Takes in what settings below have listed.
    pub fn absorb(&mut self, left: Vec<LeftOut>) {
        self.left.extend(left);
    }

    /// What is not carried over: all that was listed, then what nobody took. A key that makes no difference is passed over;
    /// one that has no counterpart is, where it is off.
    pub fn finish(mut self, known: &Known) -> Vec<LeftOut> {
        for (key, value) in std::mem::take(&mut self.keys) {
            if known.makes_no_difference(&key) {
                continue;
            }
            match known.reason(&key) {
                Some(_) if is_off(&value) => {}
                Some(why) => self.leave(&key, &value, why),
                None => {
                    self.leave(&key, &value, "unknown: no setting of this name is known; look whether it is misspelt")
                }
            }
        }
        self.left
    }

    fn unfit<T>(&mut self, key: &str, value: &Value, wanted: &str) -> Option<T> {
        self.leave(key, value, format!("not used: {wanted} was expected"));
        None
    }
}

/// Whether a value says that something is not wanted.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => matches!(text.trim().to_lowercase().as_str(), "" | "no" | "none" | "off" | "false"),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// The number that a value is or spells.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Up to this, every whole number is a float.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// The whole number from zero on that a value is or spells.
pub fn count(value: &Value) -> Option<u64> {
    if let Some(count) = value.as_u64() {
        return Some(count);
    }
    if let Some(count) = value.as_str().and_then(|text| text.trim().parse().ok()) {
        return Some(count);
    }
    // A whole number of this range is exactly its float.
    number(value).filter(|number| number.fract() == 0.0 && (0.0..=WHOLE).contains(number)).map(|number| number as u64)
}
