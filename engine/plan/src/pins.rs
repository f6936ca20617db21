//! Pins: what an address held when it was first downloaded is what it must hold. Knows the lock's pins and trees; does
//! not know how files come.
//!
//! The contents of an address may change while its stage's settings do not. So that no key ever holds two contents, the
//! pinned digest is a part of the key: under [`ROLE`], among the digests of files. Without a pin the key cannot be known
//! before the download is done: then it is recorded under the key of what came, and that becomes the pin. A stage whose
//! settings say what it brings (by a digest, or by a path whose contents are in the key) has no pin in its key.

use std::collections::BTreeMap;

use spec::job::Failure;

use crate::{
    digest::Digest,
    graph::Node,
    key::Key,
    lockfile::Pin,
    state::Keyed,
    store::{Attempt, Durability, Made, Record},
};

/// The pins of a pipeline's members, by name.
pub type Pins = BTreeMap<String, Pin>;

/// Where the pinned digest stands among a key's files.
pub const ROLE: &str = "pin";

/// What a member must bring: the digest that is pinned for the source that it names.
pub fn pinned(node: &Node, pins: &Pins) -> Option<Digest> {
    let source = node.settings.moving_source()?;
    pins.get(&node.name()).filter(|pin| pin.source == source).map(|pin| pin.digest)
}

/// Records what a member left, unless another digest is pinned for it.
///
/// # Errors
/// Contents other than the pinned ones, or a store that cannot be written to. Nothing is recorded then.
pub fn commit(
    node: &Node,
    keyed: &Keyed,
    mut attempt: Attempt,
    made: Made,
    durability: Durability,
) -> Result<Record, Failure> {
    let Some(source) = node.settings.moving_source() else { return Ok(attempt.commit(made, durability)?) };
    let found = attempt.settle()?.digest();
    match keyed.key.files.get(ROLE) {
        Some(pinned) if *pinned == found => Ok(attempt.commit(made, durability)?),
        Some(pinned) => {
            attempt.abandon();
            Err(Failure {
                message: format!("the contents are others than the lock pins: {found}, pinned {pinned}"),
                place: Some(source.to_owned()),
                hint: Some(format!(
                    "nothing was kept; if the new contents are right, move the pin: --update {}",
                    node.name()
                )),
            })
        }
        None => {
            let mut key: Key = keyed.key.clone();
            key.files.insert(ROLE.to_owned(), found);
            let parts = key.as_json()?;
            Ok(attempt.commit_under(key.digest(), Made { parts, ..made }, durability)?)
        }
    }
}
