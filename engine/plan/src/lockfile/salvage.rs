//! What can still be read of a lock file that was cut or half-merged: its pins, which no store can give again. Knows how
//! lock files are written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Pin;
use crate::digest::Digest;

/// Pins of a damaged lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Pins that are whole, and the same on both sides of a merge or on one side only.
    pub pins: BTreeMap<String, Pin>,
    /// Members whose pins differ between the sides of a merge.
    pub conflicts: BTreeMap<String, [Digest; 2]>,
}

#[derive(Debug, Default, Deserialize)]
struct Pins {
    pins: BTreeMap<String, Pin>,
}

/// Reads the pins of a damaged lock's text.
pub fn salvage(text: &str) -> Salvaged {
    let (ours, theirs) = sides(text);
    let mut salvaged = Salvaged { pins: pins(&ours), conflicts: BTreeMap::new() };
    for (name, pin) in pins(&theirs) {
        match salvaged.pins.get(&name) {
            Some(other) if (&other.source, other.digest) != (&pin.source, pin.digest) => {
                salvaged.conflicts.insert(name.clone(), [other.digest, pin.digest]);
                salvaged.pins.remove(&name);
            }
            Some(_) => {}
            None => {
                salvaged.pins.insert(name, pin);
            }
        }
    }
    salvaged
}

/// The text as it stands on each side of a merge; the same twice where nothing is merged.
fn sides(text: &str) -> (String, String) {
    let (mut ours, mut theirs) = (String::new(), String::new());
    let (mut is_ours, mut is_theirs) = (true, true);
    for line in text.lines() {
        match line.get(..7) {
            Some("<<<<<<<") => (is_ours, is_theirs) = (true, false),
            Some("|||||||") => (is_ours, is_theirs) = (false, false),
            Some("=======") => (is_ours, is_theirs) = (false, true),
            Some(">>>>>>>") => (is_ours, is_theirs) = (true, true),
            _ => {
                for (side, wanted) in [(&mut ours, is_ours), (&mut theirs, is_theirs)] {
                    if wanted {
                        side.push_str(line);
                        side.push('\n');
                    }
                }
            }
        }
    }
    (ours, theirs)
}

/// The pins of one side, as far as they are whole.
fn pins(text: &str) -> BTreeMap<String, Pin> {
    let from = text.lines().skip_while(|line| *line != "pins:");
    let mut lines: Vec<&str> = from
        .take(1)
        .chain(text.lines().skip_while(|line| *line != "pins:").skip(1).take_while(|line| line.starts_with(' ')))
        .collect();
    while lines.len() > 1 {
        if let Ok(read) = serde_yaml::from_str::<Pins>(&lines.join("\n")) {
            return read.pins;
        }
        lines.pop();
    }
    BTreeMap::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    fn pin(source: &str, digest: &str) -> Pin {
        Pin { source: source.to_owned(), revision: None, digest: digest.parse().unwrap() }
    }

    #[test]
    fn a_cut_lock_keeps_the_pins_that_are_whole() {
        let text = format!(
            "# head\nformat: 1\npins:\n  a:\n    source: x\n    digest: {ONE}\n  b:\n    source: y\n    digest: \
             {TWO}\nresults:\n  a:\n    key: 12"
        );
        let both = BTreeMap::from([("a".to_owned(), pin("x", ONE)), ("b".to_owned(), pin("y", TWO))]);
        assert_eq!(salvage(&text).pins, both);
        let only_a = BTreeMap::from([("a".to_owned(), pin("x", ONE))]);
        let (end_of_a, end_of_b) = (text.find("  b:").unwrap(), text.find("results").unwrap());
        for length in end_of_a..end_of_b - 1 {
            assert_eq!(salvage(&text[..length]).pins, only_a, "cut at {length}");
        }
        for length in 0..end_of_a - 1 {
            assert_eq!(salvage(&text[..length]), Salvaged::default(), "cut at {length}");
        }
    }

    #[test]
    fn sides_that_agree_are_taken_and_those_that_differ_are_named() {
        let text = format!(
            "format: 1\npins:\n  a:\n    source: x\n<<<<<<< ours\n    digest: {ONE}\n||||||| base\n    digest: \
             {TWO}\n=======\n    digest: {TWO}\n>>>>>>> theirs\n  b:\n    source: y\n    digest: {TWO}\n<<<<<<< ours\n  \
             c:\n    source: z\n    digest: {ONE}\n=======\n>>>>>>> theirs\nresults: {{}}\n...\n"
        );
        let salvaged = salvage(&text);
        let kept = BTreeMap::from([("b".to_owned(), pin("y", TWO)), ("c".to_owned(), pin("z", ONE))]);
        assert_eq!(salvaged.pins, kept);
        let sides = [ONE, TWO].map(|digest| digest.parse().unwrap());
        assert_eq!(salvaged.conflicts, BTreeMap::from([("a".to_owned(), sides)]));
    }
}
