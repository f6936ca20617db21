//! Several methods at once, each with its own part of the model: LoRA beside a prompt, for one. Saved as one folder a
//! method, and a list of them. Knows no method by name.

use std::path::Path;
use std::rc::Rc;

use tch::Tensor;

use super::{Attentions, Beside, Method, Neck, Reading, Style};
use crate::error::{Error, Result};
use crate::layers::{Join, Linear, LinearMap, Lookup, PrefixSizes, Sum, Table, Values, VirtualTokens};
use crate::parameters::Stores;
use crate::peft::Saved;
use crate::sublayers::Sublayer;
use crate::targets::Place;
use crate::weights::write_json;

/// The list of a combined adapter's folders.
pub const PARTS: &str = "adapters.json";

/// Several methods that train together.
#[derive(Debug)]
pub struct Combined {
    parts: Vec<Box<dyn Method>>,
}

impl Combined {
    /// These methods together. No two may have the same name: each is saved into a folder of its name.
    pub fn new(parts: Vec<Box<dyn Method>>) -> Result<Self> {
        let twice =
            parts.iter().enumerate().find(|(at, part)| parts.iter().take(*at).any(|other| other.name() == part.name()));
        match twice {
            Some((_, part)) => {
                let problem = format!("names `{}` twice", part.name());
                Err(Error::setting("adapter", problem, "name each method once, with all its targets"))
            }
            None => Ok(Self { parts }),
        }
    }

    /// The part that `does` holds for, by its index.
    fn part(&self, does: impl Fn(&dyn Method) -> bool) -> Option<(usize, &dyn Method)> {
        self.parts.iter().map(AsRef::as_ref).enumerate().find(|(_, part)| does(*part))
    }
}

impl Method for Combined {
    fn name(&self) -> &'static str {
        "combined"
    }

    fn trains(&self, name: &str, of: Option<&Place>) -> bool {
        self.parts.iter().any(|part| part.trains(name, of))
    }

    fn trains_head(&self) -> bool {
        self.parts.iter().any(|part| part.trains_head())
    }

    fn own(&self, name: &str, of: Option<&Place>, tensor: Tensor, stores: &mut Stores) -> Result<Tensor> {
        let Some((index, part)) = self.part(|part| part.trains(name, of)) else { return stores.freeze(name, tensor) };
        stores.trainable.begin_part(index);
        let owned = part.own(name, of, tensor, stores);
        stores.trainable.begin_part(0);
        owned
    }

    fn changes(&self, place: &Place) -> bool {
        self.parts.iter().any(|part| part.changes(place))
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let Some((index, part)) = self.part(|part| part.changes(place)) else { return Ok(Rc::new(plain)) };
        if let Some((_, other)) = self.part(|other| other.name() != part.name() && other.changes(place)) {
            let problem = format!("`{}` and `{}` both change `{}`", part.name(), other.name(), place.name);
            return Err(Error::setting("adapter", problem, "give them different targets"));
        }
        stores.trainable.begin_part(index);
        let map = part.linear(place, plain, stores);
        stores.trainable.begin_part(0);
        map
    }

    fn changes_lookup(&self, place: &Place) -> bool {
        self.parts.iter().any(|part| part.changes_lookup(place))
    }

    fn lookup(&self, place: &Place, plain: Table, stores: &mut Stores) -> Result<Rc<dyn Lookup>> {
        let Some((index, part)) = self.part(|part| part.changes_lookup(place)) else { return Ok(Rc::new(plain)) };
        if let Some((_, other)) = self.part(|other| other.name() != part.name() && other.changes_lookup(place)) {
            let problem = format!("`{}` and `{}` both change `{}`", part.name(), other.name(), place.name);
            return Err(Error::setting("adapter", problem, "give them different targets"));
        }
        stores.trainable.begin_part(index);
        let table = part.lookup(place, plain, stores);
        stores.trainable.begin_part(0);
        table
    }

    fn beside_lookup(&self, place: &Place) -> Option<i64> {
        self.parts.iter().find_map(|part| part.beside_lookup(place))
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        self.parts.iter().find_map(|part| part.beside(place))
    }

    fn prompt(&self, reading: &Reading, stores: &mut Stores) -> Result<Option<VirtualTokens>> {
        // No two parts have one name, and one method alone makes a prompt.
        let mut found = None;
        for (index, part) in self.parts.iter().enumerate() {
            stores.trainable.begin_part(index);
            found = part.prompt(reading, stores)?.or(found);
        }
        stores.trainable.begin_part(0);
        Ok(found)
    }

    fn prefix(&self, attentions: &Attentions, stores: &mut Stores) -> Result<Option<(PrefixSizes, Values)>> {
        // No two parts have one name, and one method alone makes a prefix.
        let mut found = None;
        for (index, part) in self.parts.iter().enumerate() {
            stores.trainable.begin_part(index);
            found = part.prefix(attentions, stores)?.or(found);
        }
        stores.trainable.begin_part(0);
        Ok(found)
    }

    fn joins(&self, sublayer: &Sublayer) -> bool {
        self.parts.iter().any(|part| part.joins(sublayer))
    }

    fn join(&self, sublayer: &Sublayer, plain: Sum, stores: &mut Stores) -> Result<Rc<dyn Join>> {
        let Some((index, part)) = self.part(|part| part.joins(sublayer)) else { return Ok(Rc::new(plain)) };
        if let Some((_, other)) = self.part(|other| other.name() != part.name() && other.joins(sublayer)) {
            let problem = format!("`{}` and `{}` both change `{}`", part.name(), other.name(), sublayer.name);
            return Err(Error::setting("adapter", problem, "give them different sublayers"));
        }
        stores.trainable.begin_part(index);
        let join = part.join(sublayer, plain, stores);
        stores.trainable.begin_part(0);
        join
    }

    fn neck(&self, sublayer: &Sublayer) -> Option<(Style, Neck)> {
        self.parts.iter().find_map(|part| part.neck(sublayer))
    }

    fn merges(&self) -> bool {
        self.parts.iter().all(|part| part.merges())
    }

    fn finish(&self, stores: &mut Stores) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.finish(stores))
    }

    fn check_sublayers(&self, sublayers: &[Sublayer]) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.check_sublayers(sublayers))
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.check(places))
    }

    fn check_tensors(&self, names: &[&str]) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.check_tensors(names))
    }

    fn parameter(&self, key: &str) -> Option<String> {
        self.parts.iter().find_map(|part| part.parameter(key))
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        for (index, part) in self.parts.iter().enumerate() {
            part.save(&Saved { part: index, ..*saved }, &folder.join(part.name()))?;
        }
        let names: Vec<_> = self.parts.iter().map(|part| part.name()).collect();
        write_json(&folder.join(PARTS), &serde_json::json!(names))
    }
}

/// The folders of a combined adapter's parts, if it is one.
pub fn parts(folder: &Path) -> Result<Option<Vec<String>>> {
    let path = folder.join(PARTS);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let hint = "it is a list of folder names, such as [\"lora\", \"prompt\"]";
    let names: Vec<String> = serde_json::from_slice(&text)
        .map_err(|error| Error::file(&path, format!("is no list of names: {error}"), hint))?;
    let outside = |name: &&String| name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.');
    match names.iter().find(outside) {
        Some(name) => Err(Error::file(&path, format!("`{name}` is no name of a folder in it"), hint)),
        None => Ok(Some(names)),
    }
}
