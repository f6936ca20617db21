//! Values of single linear maps, such as ranks, by patterns over the end of their names. Knows names; no map and no
//! method.

use regex::Regex;

use crate::error::{Error, Result};
use crate::targets::Place;

/// Values by patterns. A pattern means a map whose whole name, or what stands behind one of its dots, it matches to the
/// end, as in PEFT's `rank_pattern`.
#[derive(Debug)]
pub struct ByName<T> {
    setting: &'static str,
    entries: Vec<(String, Regex, T)>,
    several: Several,
}

/// What happens where several patterns mean one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Several {
    /// It is an error, as a pattern that means no map is.
    Refused,
    /// The first one holds, as in PEFT.
    FirstHolds,
}

impl<T: Copy + PartialEq> ByName<T> {
    /// No pattern at all; `setting` is the name for messages.
    pub fn none(setting: &'static str) -> Self {
        Self { setting, entries: Vec::new(), several: Several::Refused }
    }

    /// The values of these patterns.
    pub fn new(
        setting: &'static str,
        entries: impl IntoIterator<Item = (String, T)>,
        several: Several,
    ) -> Result<Self> {
        let compile = |(pattern, value): (String, T)| match Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")) {
            Ok(regex) => Ok((pattern, regex, value)),
            Err(error) => {
                let problem = format!("`{pattern}` is no valid pattern: {error}");
                Err(Error::setting(setting, problem, "give the end of a name, or a regular expression for it"))
            }
        };
        Ok(Self { setting, entries: entries.into_iter().map(compile).collect::<Result<_>>()?, several })
    }

    /// The value of the first pattern that means `name`.
    pub fn get(&self, name: &str) -> Option<T> {
        self.entries.iter().find(|(_, regex, _)| regex.is_match(name)).map(|(_, _, value)| *value)
    }

    /// All patterns with their values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, T)> {
        self.entries.iter().map(|(pattern, _, value)| (pattern.as_str(), *value))
    }

    /// Checks, where several are refused, that each pattern means one of these maps and each map has one value.
    pub fn check<'a>(&self, places: impl Iterator<Item = &'a Place> + Clone) -> Result<()> {
        if self.several == Several::FirstHolds {
            return Ok(());
        }
        for (pattern, regex, _) in &self.entries {
            if !places.clone().any(|place| regex.is_match(&place.name)) {
                let problem = format!("no map that is adapted is called `{pattern}`");
                return Err(Error::setting(self.setting, problem, "name the end of a target's name, or leave it out"));
            }
        }
        for place in places {
            let mut meant = self.entries.iter().filter(|(_, regex, _)| regex.is_match(&place.name));
            if let (Some((one, _, value)), Some((two, _, other))) = (meant.next(), meant.next())
                && value != other
            {
                let problem = format!("`{one}` and `{two}` both mean `{}`", place.name);
                return Err(Error::setting(self.setting, problem, "write patterns of which one alone means each map"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Role;

    fn values(entries: &[(&str, i64)], several: Several) -> ByName<i64> {
        let entries = entries.iter().map(|(pattern, value)| ((*pattern).to_owned(), *value));
        ByName::new("rank_pattern", entries, several).unwrap()
    }

    #[test]
    fn a_pattern_begins_after_a_dot_and_reaches_to_the_end() {
        let ranks = values(&[("q_proj", 4), (r"layers\.1\..*", 8), ("v", 2)], Several::FirstHolds);
        assert_eq!(ranks.get("model.layers.1.self_attn.q_proj"), Some(4), "the first that matches");
        assert_eq!(ranks.get("model.layers.1.self_attn.v_proj"), Some(8));
        assert_eq!(ranks.get("model.layers.11.self_attn.v_proj"), None);
        assert_eq!(ranks.get("model.layers.0.self_attn.eq_proj"), None);
        assert_eq!(ranks.get("q_proj"), Some(4));
        assert_eq!(values(&[("a|b", 1)], Several::FirstHolds).get("x.ab"), None, "the whole pattern is one group");
    }

    #[test]
    fn what_means_nothing_or_two_things_is_an_error_where_it_is_refused() {
        let places = ["m.0.q", "m.1.q"].map(|name| Place::new(name, Role::AttentionQ));
        let check = |entries: &[(&str, i64)], several| {
            values(entries, several).check(places.iter()).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[("0.q", 1), ("1.q", 2)], Several::Refused), Ok(()));
        assert_eq!(check(&[("q", 1), ("1.q", 1)], Several::Refused), Ok(()), "both say the same");
        let twice = check(&[("q", 1), ("1.q", 2)], Several::Refused);
        assert_eq!(twice, Err("rank_pattern: `q` and `1.q` both mean `m.1.q`".to_owned()));
        let none = check(&[("k", 1)], Several::Refused);
        assert_eq!(none, Err("rank_pattern: no map that is adapted is called `k`".to_owned()));
        assert_eq!(check(&[("q", 1), ("1.q", 2), ("k", 3)], Several::FirstHolds), Ok(()));
    }
}
