//! How a stage runs, never what it makes: `resources`, `timeout` and `retry`, the keys of every stage that are no part
//! of its key in the cache. Knows the notation of sizes and times, no machine and no scheduler.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_yaml::Value;

use crate::{
    stage::Fault,
    text::{Misfit, YamlPath, decode_as},
};

/// How a stage runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Execution {
    /// What it needs of the machine while it runs.
    pub resources: Resources,
    /// The longest that one attempt may take, such as `90s`, `30min`, `2h` or `1h30min`; then it is stopped and counts
    /// as failed. Without it, any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeSpan>,
    /// How many more attempts a stage gets after one that failed.
    #[schemars(range(max = MOST_RETRIES))]
    pub retry: u32,
}

/// What a stage needs of the machine while it runs. Stages run side by side as long as their needs fit together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// GPUs that no other stage uses meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MOST_GPUS))]
    pub gpu: Option<u64>,
    /// Processor cores. Without it, all of them for training and evaluation, one for the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MOST_CORES))]
    pub cpu: Option<u64>,
    /// Main memory, such as `16GiB` or `500MB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

// More than these is a slip of the pen, not a machine.
const MOST_GPUS: u64 = 64;
const MOST_CORES: u64 = 4096;
const MOST_MEMORY: u64 = 1 << 50;
const MOST_RETRIES: u32 = 100;
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Execution {
    /// The keys that these settings stand under.
    pub const KEYS: &'static [&'static str] = &["resources", "timeout", "retry"];

    /// Takes these settings out of a stage's and reads them.
    ///
    /// # Errors
    /// Settings that do not fit, or that no machine could meet; paths begin at the stage.
    pub fn take(stage: &mut Value) -> Result<Self, Vec<Misfit>> {
        let mut own = serde_yaml::Mapping::new();
        if let Value::Mapping(map) = stage {
            for key in Self::KEYS {
                own.extend(map.shift_remove(*key).map(|value| (Value::from(*key), value)));
            }
        }
        if own.is_empty() {
            return Ok(Self::default());
        }
        let execution: Self = decode_as(&Value::Mapping(own)).map_err(|misfit| vec![misfit])?;
        let faults = execution.faults();
        if faults.is_empty() {
            return Ok(execution);
        }
        let misfit =
            |Fault { path, side, message, hint }| Misfit { path: YamlPath::dotted(&path), side, message, hint };
        Err(faults.into_iter().map(misfit).collect())
    }

    /// Mistakes that no type can express.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut number = |path: &str, value: Option<u64>, most: u64, what: &str| match value {
            Some(0) => faults.push(Fault::new(
                path,
                format!("no {what}"),
                format!("give a number above zero, or leave `{path}` out"),
            )),
            Some(value) if value > most => faults.push(Fault::new(
                path,
                format!("{value} is more than any machine has"),
                format!("give a number up to {most}"),
            )),
            _ => {}
        };
        number("resources.gpu", self.resources.gpu, MOST_GPUS, "GPU");
        number("resources.cpu", self.resources.cpu, MOST_CORES, "core");
        if self.resources.memory.is_some_and(|memory| memory.0 > MOST_MEMORY) {
            faults.push(Fault::new(
                "resources.memory",
                "more memory than any machine has",
                format!("give a size up to {}", Bytes(MOST_MEMORY)),
            ));
        }
        if self.timeout.is_some_and(|timeout| timeout.0 > LONGEST) {
            faults.push(Fault::new("timeout", "longer than a year", "leave `timeout` out for no limit"));
        }
        if self.retry > MOST_RETRIES {
            faults.push(Fault::new(
                "retry",
                format!("{} more attempts", self.retry),
                format!("give a number up to {MOST_RETRIES}"),
            ));
        }
        faults
    }
}

/// A size in bytes, written with its unit: `16GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units of size, the larger first; of those that make a short text the one with the power of two is preferred.
const SIZES: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

impl Bytes {
    /// Reads a number and a unit: `16GiB`, `1.5 GB`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str =
            "write a number above zero with one of KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as `16GiB`";
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim_start());
        let is_number = number.starts_with(|c: char| c != '.') && !number.ends_with('.');
        let value = number.parse::<f64>().ok().filter(|value| is_number && *value > 0.0).ok_or(RULE)?;
        if let Some((_, size)) = SIZES.iter().find(|(name, _)| *name == unit) {
            // Parts of a byte are cut off; what is beyond 64 bits becomes the most there is, which is refused later.
            let bytes = (value * *size as f64) as u64;
            return if bytes == 0 { Err(RULE.to_owned()) } else { Ok(Self(bytes)) };
        }
        let letter = unit.chars().next().map(|c| c.to_ascii_uppercase());
        let is_close = unit.chars().all(|c| "kmgtib".contains(c.to_ascii_lowercase()));
        match letter.filter(|letter| is_close && "KMGT".contains(*letter)) {
            Some(letter) if unit.to_lowercase().ends_with('b') && !unit.to_lowercase().contains('i') => {
                Err(format!("did you mean `{number}{letter}B`?"))
            }
            Some(letter) => Err(format!("did you mean `{number}{letter}iB`?")),
            None if unit.is_empty() => Err(format!("add a unit, such as `{number}GiB` or `{number}MB`")),
            None => Err(RULE.to_owned()),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZES.iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}KiB", self.0 as f64 / 1024.0),
        }
    }
}

/// A length of time, written with its units: `1h30min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(pub Duration);

/// Units of time in seconds, the longest first.
const TIMES: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
/// Other ways to write them.
const OTHER_TIMES: [(&str, &str); 15] = [
    ("m", "min"),
    ("mins", "min"),
    ("minute", "min"),
    ("minutes", "min"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("M", "min"),
];

impl TimeSpan {
    /// Reads whole numbers with units, the longest first: `90s`, `30min`, `1h30min`, `2d`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str = "write whole numbers above zero with the units d, h, min and s, such as `90s` or `1h30min`";
        let (mut rest, mut seconds, mut units, mut meant, mut is_right) =
            (text.trim(), 0_u64, TIMES.as_slice(), String::new(), true);
        if rest.is_empty() {
            return Err(RULE.to_owned());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let tail = tail.trim_start();
            let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len()));
            if tail.is_empty() && unit.is_empty() && meant.is_empty() && !number.is_empty() {
                return Err(format!("add a unit: `{number}s`, `{number}min` or `{number}h`"));
            }
            let ours = OTHER_TIMES.iter().find(|(theirs, _)| *theirs == unit).map_or(unit, |(_, ours)| ours);
            is_right &= ours == unit;
            let place = units.iter().position(|(name, _)| *name == ours).ok_or(RULE)?;
            let value = number.parse::<u64>().ok().filter(|value| *value > 0).ok_or(RULE)?;
            seconds = seconds.saturating_add(value.saturating_mul(units[place].1));
            meant.push_str(&format!("{number}{ours}"));
            units = &units[place + 1..];
            rest = tail.trim_start();
        }
        if is_right { Ok(Self(Duration::from_secs(seconds))) } else { Err(format!("did you mean `{meant}`?")) }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, seconds) in TIMES {
            if rest >= seconds {
                write!(f, "{}{unit}", rest / seconds)?;
                rest %= seconds;
            }
        }
        Ok(())
    }
}

/// Serde and schema of a quantity: a text with a unit.
macro_rules! quantity {
    ($name:ident is a $what:literal such as $example:literal, matching $pattern:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", $what, " with its unit, such as `", $example, "`"))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(|hint| E::custom(format!("`{text}` is no {}; {hint}", $what)))
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "description": concat!("A ", $what, " with its unit, such as `", $example, "`."),
                    "type": "string",
                    "minLength": 2,
                    "pattern": $pattern,
                })
            }
        }
    };
}

quantity!(Bytes is a "size" such as "16GiB", matching r"^(0*[1-9][0-9]*(\.[0-9]+)?|0+\.[0-9]*[1-9][0-9]*) ?[KMGT]i?B$");
quantity!(TimeSpan is a "length of time" such as "1h30min", matching
    r"^(0*[1-9][0-9]*d ?)?(0*[1-9][0-9]*h ?)?(0*[1-9][0-9]*min ?)?(0*[1-9][0-9]*s)?$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(Bytes::parse("16GiB"), Ok(Bytes(16 << 30)));
        assert_eq!(Bytes::parse("1.5 GB"), Ok(Bytes(1_500_000_000)));
        assert_eq!(Bytes::parse("512KiB"), Ok(Bytes(512 << 10)));
        assert_eq!(Bytes::parse("16").unwrap_err(), "add a unit, such as `16GiB` or `16MB`");
        assert_eq!(Bytes::parse("16G").unwrap_err(), "did you mean `16GiB`?");
        assert_eq!(Bytes::parse("16gb").unwrap_err(), "did you mean `16GB`?");
        assert_eq!(Bytes::parse("4Mi").unwrap_err(), "did you mean `4MiB`?");
        for wrong in ["", "GiB", "0GiB", "-1GiB", "1e3GiB", "1.2.3GiB", "16 apples"] {
            assert!(Bytes::parse(wrong).unwrap_err().contains("such as `16GiB`"), "{wrong}");
        }
    }

    #[test]
    fn times() {
        let seconds = |text: &str| TimeSpan::parse(text).map(|span| span.0.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("30min"), Ok(1800));
        assert_eq!(seconds("1h30min"), Ok(5400));
        assert_eq!(seconds("1d 2h 3min 4s"), Ok(93_784));
        assert_eq!(seconds("30m").unwrap_err(), "did you mean `30min`?");
        assert_eq!(seconds("2hours 5secs").unwrap_err(), "did you mean `2h5s`?");
        assert_eq!(seconds("90").unwrap_err(), "add a unit: `90s`, `90min` or `90h`");
        for wrong in ["", "0s", "h", "1.5h", "30s1min", "1h1h", "-2h", "soon", "1h30"] {
            assert!(seconds(wrong).unwrap_err().contains("such as `90s`"), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [1 << 30, 3 << 19, 1_500_000_000, 123_000, 1] {
            assert_eq!(Bytes::parse(&Bytes(bytes).to_string()), Ok(Bytes(bytes)));
        }
        for seconds in [1, 60, 5400, 93_784] {
            let span = TimeSpan(Duration::from_secs(seconds));
            assert_eq!(TimeSpan::parse(&span.to_string()), Ok(span));
        }
        assert_eq!(Bytes(16 << 30).to_string(), "16GiB");
        assert_eq!(TimeSpan(Duration::from_secs(5400)).to_string(), "1h30min");
    }

    #[test]
    fn the_patterns_of_the_schema_agree_with_the_readers() {
        let pattern = |schema: schemars::Schema| {
            regex::Regex::new(schema.get("pattern").and_then(|pattern| pattern.as_str()).unwrap()).unwrap()
        };
        let mut generator = schemars::SchemaGenerator::default();
        let (size, time) =
            (pattern(Bytes::json_schema(&mut generator)), pattern(TimeSpan::json_schema(&mut generator)));
        for text in
            ["16GiB", "1.5 GB", "0.5TiB", "0GiB", "0.0GB", "16", "16G", "16gb", "", "GiB", "007MB", "1.GiB", "x16GiB"]
        {
            assert_eq!(size.is_match(text), Bytes::parse(text).is_ok(), "{text}");
        }
        for text in
            ["90s", "30min", "2h", "1d", "1h30min", "1h 30min", "1d 2h 3min 4s", "1d4s", "10d20s", "0s", "30m", "90"]
                .into_iter()
                .chain(["h", "1h30", "30s1min", "1h1h", "1.5h", "5d5", "5d 5"])
        {
            assert_eq!(time.is_match(text), TimeSpan::parse(text).is_ok(), "{text}");
        }
    }
}
