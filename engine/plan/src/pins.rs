//! Pins: what an address held when it was first downloaded is what it must hold. Knows the lock's pins and trees; does
//! not know how files come.
//!
//! The contents of an address may change while its stage's settings do not. So that no key ever holds two contents, the
//! pinned digest is a part of the key: under [`ROLE`], among the digests of files. Without a pin the key cannot be known
//! before the download is done: then it is recorded under the key of what came, and that becomes the pin. A stage whose
//! settings say what it brings (by a digest, or by a path whose contents are in the key) has no pin in its key.
//!
//! Where a source has revisions, such as commits, the pin holds the one that was brought, in words of the stage's own: it
//! leaves them in [`spec::files::REVISION`] beside what it observed, and is handed them again in its job. So a clone fetches
//! that revision though the source has moved on.

use std::{collections::BTreeMap, fs, path::Path};

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

/// More than any revision takes: what is longer is none.
const LONGEST_REVISION: usize = 4096;

/// What a member must bring: what is pinned for the source that it names.
pub fn pin<'a>(node: &Node, pins: &'a Pins) -> Option<&'a Pin> {
    let source = node.settings.moving_source()?;
    pins.get(&node.name()).filter(|pin| pin.source == source)
}

/// The revision to be written into the lock beside the digest of what a member left: the pinned one as long as these are
/// the contents that it stands for, else the one that was observed when they were brought. So a result that was found in
/// the store moves no pin.
pub fn revision(node: &Node, pins: &Pins, digest: &Digest, observed: &Path) -> Option<String> {
    let kept = pin(node, pins).filter(|pin| pin.digest == *digest).and_then(|pin| pin.revision.clone());
    kept.or_else(|| {
        let text = fs::read_to_string(observed.join(spec::files::REVISION)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text.len() <= LONGEST_REVISION)
    })
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
                place: Some(source),
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
