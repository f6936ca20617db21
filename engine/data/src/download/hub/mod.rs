//! Models and data sets of the Hugging Face Hub, at a commit, by way of the cache that its own tools use. Knows what is asked
//! and kept; which files are needed is known to `model` and `dataset`.

mod cache;
mod client;
mod dataset;
mod listing;
mod model;
mod surroundings;

use std::{
    fs,
    path::{Path, PathBuf},
};

use spec::{
    job::Event,
    stage::{Hub, Repository, RepositoryKind},
};

use self::{
    cache::{Cached, Contents},
    client::{Answer, Asked, Client, page},
    dataset::{CONVERTED, LONGEST_README, README, Rows, Wanted},
    listing::{Entry, Listing, is_commit},
    model::LONGEST_INDEX,
    surroundings::Surroundings,
};
use super::transfer::{Cut, Transfer, remove};
use crate::{Error, job::Events};

/// The branch that is meant where none is named.
const MAIN: &str = "main";

/// Brings what is needed of a repository into a folder; `pinned` is the revision that the lock holds. Returns the revision
/// that was brought: a commit, or `refs/convert/parquet@` and a commit of what the Hub converted.
///
/// # Errors
/// When a file cannot be had, or is not what the Hub says of it.
pub(super) fn bring(hub: &Hub, pinned: Option<&str>, result: &Path, events: Events<'_>) -> Result<String, Error> {
    let repository = hub.repository().ok_or_else(|| Error::new("neither a model nor a data set is named"))?;
    let surroundings = Surroundings::here()?;
    if surroundings.is_token_withheld {
        let message =
            format!("the token is not sent to {}, which would hear it in clear: use https", surroundings.endpoint);
        events(Event::Warning { message });
    }
    let source = Remote {
        client: Client::new(&surroundings),
        cached: Cached::new(&surroundings.cache, repository),
        surroundings: &surroundings,
        repository,
        events,
    };
    source.bring(hub, pinned, result).map_err(|error| match error.place {
        Some(_) => error,
        None => error.at(repository.address()),
    })
}

/// A repository, where it is and where it is kept.
struct Remote<'a> {
    client: Client<'a>,
    cached: Cached,
    surroundings: &'a Surroundings,
    repository: Repository<'a>,
    events: Events<'a>,
}

/// Which commit is wanted.
#[derive(Clone, Copy)]
enum At<'a> {
    /// What a branch or a tag is now.
    Revision(&'a str),
    /// This one, which the pipeline or the lock names.
    Commit { commit: &'a str, is_pinned: bool },
}

impl Remote<'_> {
    fn bring(&self, hub: &Hub, pinned: Option<&str>, result: &Path) -> Result<String, Error> {
        let (branch, pinned) = match pinned {
            None => (None, None),
            Some(text) => match text.rsplit_once('@') {
                Some((branch, commit)) => (Some(branch), Some(commit)),
                None => (None, Some(text)),
            },
        };
        if pinned.is_some_and(|commit| !is_commit(commit)) || branch.is_some_and(|branch| branch != CONVERTED) {
            return Err(Error::new("the lock pins a revision that is no commit")
                .hint("take the pin from git's history, or move it with `--update STAGE`"));
        }
        let revision = match hub.revision.as_deref().unwrap_or(MAIN) {
            commit if is_commit(commit) => commit.to_ascii_lowercase(),
            revision => revision.to_owned(),
        };
        let wanted = Wanted { config: hub.config.as_deref(), splits: hub.splits.as_deref() };
        if let (Some(CONVERTED), Some(commit)) = (branch, pinned) {
            let listing = self.listing(At::Commit { commit, is_pinned: true })?;
            self.place(&listing, &dataset::converted(&listing, wanted)?, result)?;
            return Ok(format!("{CONVERTED}@{commit}"));
        }
        let at = match pinned {
            Some(commit) => At::Commit { commit, is_pinned: true },
            None if is_commit(&revision) => At::Commit { commit: &revision, is_pinned: false },
            None => At::Revision(&revision),
        };
        let listing = self.listing(at)?;
        let as_they_are = |files: Vec<String>| files.into_iter().map(|name| (name.clone(), name)).collect();
        let files: Vec<(String, String)> = match (&hub.files, self.repository.kind) {
            (Some(patterns), _) => as_they_are(listing.fitting(patterns)?),
            (None, RepositoryKind::Model) => {
                let needed = model::needed(&listing, |index| self.read(&listing, index, LONGEST_INDEX))?;
                if !needed.has_weights {
                    let message = format!(
                        "{} holds no weights in safetensors or as `pytorch_model.bin`; {}",
                        self.repository.address(),
                        listing.there()
                    );
                    (self.events)(Event::Warning { message });
                }
                as_they_are(needed.files)
            }
            (None, RepositoryKind::Dataset) => {
                let readme = match listing.has(README) {
                    true => Some(String::from_utf8_lossy(&self.read(&listing, README, LONGEST_README)?).into_owned()),
                    false => None,
                };
                match dataset::rows(&listing, self.repository.name, readme.as_deref(), wanted)? {
                    Rows::Here(files) => files,
                    Rows::Converted(why) => return self.converted(hub, &why, wanted, result),
                }
            }
        };
        self.place(&listing, &files, result)?;
        if let At::Revision(revision) = at {
            self.cached.note(revision, &listing.commit)?;
        }
        Ok(listing.commit)
    }

    /// Brings what the Hub converted of a data set whose own files are no rows.
    fn converted(&self, hub: &Hub, why: &str, wanted: Wanted<'_>, result: &Path) -> Result<String, Error> {
        if let Some(revision) = hub.revision.as_deref().filter(|revision| *revision != MAIN) {
            return Err(Error::new(format!("the data set's own files cannot be read at `{revision}`: {why}"))
                .hint("the Hub converts the branch `main` alone: take `revision` out, or name files with `files`"));
        }
        let listing =
            self.listing(At::Revision(CONVERTED)).map_err(|error| match error.message.contains(CONVERTED) {
                true => Error::new(format!(
                    "the data set's own files cannot be read ({why}), and the Hub has not converted it"
                ))
                .hint(format!(
                    "look for a copy of it in Parquet; or let a `command` stage make its rows; its page: {}",
                    page(&self.surroundings.endpoint, self.repository)
                )),
                false => error,
            })?;
        self.place(&listing, &dataset::converted(&listing, wanted)?, result)?;
        self.cached.note(CONVERTED, &listing.commit)?;
        Ok(format!("{CONVERTED}@{}", listing.commit))
    }

    /// All files of a commit. What the cache knows of a commit that is named is taken from there: a commit never changes.
    fn listing(&self, at: At<'_>) -> Result<Listing, Error> {
        let (revision, is_pinned) = match at {
            At::Revision(revision) => (revision, false),
            At::Commit { commit, is_pinned } => (commit, is_pinned),
        };
        if let At::Commit { commit, .. } = at
            && let Some(listing) = self.cached.listing(commit)
        {
            return Ok(listing);
        }
        if self.surroundings.is_offline {
            return self.listing_offline(at);
        }
        let address = self.client.list_address(self.repository, revision);
        let asked = Asked { repository: self.repository, revision, is_pinned, file: None };
        let listing = Listing::read(&self.client.text(&address, &asked)?, &address)?;
        if let At::Commit { commit, .. } = at
            && listing.commit != commit
        {
            return Err(Error::new(format!(
                "the Hub answers with commit {}, and {commit} was asked for",
                listing.commit
            ))
            .hint("write the commit with all its digits"));
        }
        self.cached.keep_listing(&listing)?;
        Ok(listing)
    }

    fn listing_offline(&self, at: At<'_>) -> Result<Listing, Error> {
        let commit = match at {
            At::Revision(revision) => self.cached.commit_of(revision),
            At::Commit { commit, .. } => Some(commit.to_owned()),
        };
        if let Some(listing) = commit.as_ref().and_then(|commit| self.cached.listing(commit)) {
            return Ok(listing);
        }
        let listing = commit.as_ref().and_then(|commit| self.cached.found(commit)).ok_or_else(|| {
            let wanted = match at {
                At::Revision(revision) => format!("`{revision}`"),
                At::Commit { commit, .. } => format!("commit {commit}"),
            };
            self.not_cached(&format!("{wanted} of it"))
        })?;
        let message = format!(
            "HF_HUB_OFFLINE is set, and {} was brought into the cache by another tool: what is there of commit {} is taken for \
             the whole",
            self.repository.address(),
            listing.commit
        );
        (self.events)(Event::Warning { message });
        Ok(listing)
    }

    fn not_cached(&self, what: &str) -> Error {
        Error::new(format!("HF_HUB_OFFLINE is set, and the cache does not hold {what}"))
            .at(self.repository.address())
            .hint(format!(
                "unset it for one run with a network; the cache is {}",
                self.cached.folder().parent().unwrap_or(self.cached.folder()).display()
            ))
    }

    /// The text of a small file.
    fn read(&self, listing: &Listing, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let entry = self.entry(listing, name)?;
        if entry.size > most {
            return Err(Error::new(format!("`{name}` has {} bytes, and {most} are allowed", entry.size))
                .hint("name the files that are wanted with `files`"));
        }
        let path = self.fetch(listing, name, entry, &|_| ())?;
        fs::read(&path).map_err(|error| Error::io("read", &path, &error))
    }

    fn entry<'b>(&self, listing: &'b Listing, name: &str) -> Result<&'b Entry, Error> {
        listing.files.get(name).ok_or_else(|| Error::new(format!("there is no file `{name}`")).hint(listing.there()))
    }

    /// Brings files, each with the name it is left under.
    fn place(&self, listing: &Listing, files: &[(String, String)], result: &Path) -> Result<(), Error> {
        let mut wanted = Vec::with_capacity(files.len());
        for (name, left) in files {
            wanted.push((name.as_str(), self.entry(listing, name)?, left.as_str()));
        }
        let total = wanted.iter().fold(0_u64, |total, (_, entry, _)| total.saturating_add(entry.size));
        self.has_room(&wanted)?;
        let mut before = 0;
        for (name, entry, left) in wanted {
            let say = |done: u64| {
                let done = before + done;
                (self.events)(Event::Progress { done, total, unit: "bytes".into(), note: name.to_owned() });
            };
            let path = self.fetch(listing, name, entry, &say)?;
            let to = result.join(left);
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(|error| Error::io("make this folder", folder, &error))?;
            }
            reflink_copy::reflink_or_copy(&path, &to).map_err(|error| Error::io("copy this file", &path, &error))?;
            say(entry.size);
            before += entry.size;
        }
        Ok(())
    }

    /// Whether what is not in the cache fits on its disk.
    fn has_room(&self, wanted: &[(&str, &Entry, &str)]) -> Result<(), Error> {
        let absent = wanted.iter().filter(|(_, entry, _)| !self.cached.blob(entry).exists());
        let needed = absent.fold(0_u64, |sum, (_, entry, _)| sum.saturating_add(entry.size));
        let folder = self.cached.folder();
        let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(folder);
        let Ok(disk) = rustix::fs::statvfs(there) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if needed <= free {
            return Ok(());
        }
        Err(Error::new(format!("{needed} bytes are to be downloaded, and {free} are free where the Hub's cache is"))
            .in_file(there)
            .hint("free some space there, or set HF_HOME to a folder on a larger disk"))
    }

    /// Where a file is in the cache; brings it where it is not. Another program that brings it is waited for.
    fn fetch(&self, listing: &Listing, name: &str, entry: &Entry, say: &dyn Fn(u64)) -> Result<PathBuf, Error> {
        let at = self.cached.at(&listing.commit, name);
        if Cached::contents(&at, entry)? == Contents::Whole {
            return Ok(at);
        }
        let _alone = self.cached.lock(entry, || {
            let message = format!("another program downloads `{name}`; waiting for it");
            (self.events)(Event::Warning { message });
        })?;
        let blob = self.cached.blob(entry);
        match Cached::contents(&blob, entry)? {
            Contents::Whole => {}
            found => {
                if found == Contents::Damaged {
                    let message = format!("`{name}` is damaged in the Hub's cache; it is downloaded again");
                    (self.events)(Event::Warning { message });
                }
                if self.surroundings.is_offline {
                    return Err(self.not_cached(&format!("`{name}` of it, or holds it damaged")));
                }
                self.download(listing, name, entry, say)?;
            }
        }
        self.cached.link(&listing.commit, name, entry)
    }

    /// Downloads contents into the cache.
    fn download(&self, listing: &Listing, name: &str, entry: &Entry, say: &dyn Fn(u64)) -> Result<(), Error> {
        let (part, blob) = (self.cached.incomplete(entry), self.cached.blob(entry));
        if let Some(folder) = part.parent() {
            fs::create_dir_all(folder).map_err(|error| Error::io("make this folder", folder, &error))?;
        }
        let address = self.client.file_address(self.repository, &listing.commit, name);
        let asked =
            Asked { repository: self.repository, revision: &listing.commit, is_pinned: false, file: Some(name) };
        let open = |have: u64| {
            let answer = self.client.get(&address, have)?;
            match answer.response.status().as_u16() {
                200 | 206 | 416 => Self::matching(answer, listing, entry, &address).map(|answer| answer.response),
                _ => Err(self.client.refused(&answer, &asked)),
            }
        };
        let transfer = Transfer {
            address: &address,
            part: &part,
            size: Some(entry.size),
            open: &open,
            progress: &|done, _| say(done),
        };
        let resumed = part.metadata().is_ok_and(|part| part.len() > 0);
        transfer.run(self.events)?;
        let mut is_whole = Cached::contents(&part, entry)? == Contents::Whole;
        if resumed && !is_whole {
            // What was begun was something else: once more, from nothing.
            remove(&part)?;
            transfer.run(self.events)?;
            is_whole = Cached::contents(&part, entry)? == Contents::Whole;
        }
        if !is_whole {
            remove(&part)?;
            return Err(Error::new(format!(
                "what came is not the file that the Hub announced, by its SHA-256: `{name}`"
            ))
            .at(&address)
            .hint("nothing of it was kept; run again: a proxy or a mirror between may have changed it"));
        }
        fs::rename(&part, &blob).map_err(|error| Error::io("write", &blob, &error))
    }

    /// The answer, if it is of the commit and of the contents that are wanted.
    fn matching(answer: Answer, listing: &Listing, entry: &Entry, address: &str) -> Result<Answer, Cut> {
        let other = |what: &str, found: &Option<String>, wanted: &str| {
            found.as_ref().filter(|found| !found.eq_ignore_ascii_case(wanted)).map(|found| {
                let message =
                    format!("the Hub answers with {what} {}, and {wanted} was asked for", found.escape_debug());
                Cut::Final(Error::new(message).at(address).hint("run again; check HF_ENDPOINT if it stays so"))
            })
        };
        let digest = Some(answer.digest.clone().unwrap_or_default()).filter(|digest| digest.len() == entry.id.len());
        let found = other("commit", &answer.commit, &listing.commit).or_else(|| other("contents", &digest, &entry.id));
        found.map_or(Ok(answer), Err)
    }
}

/// What can be said of the Hub without downloading anything.
#[derive(Debug)]
pub struct Access {
    /// Where the Hub is.
    pub endpoint: String,
    /// Where its files are kept on this machine.
    pub cache: PathBuf,
    /// Where a token was found; nothing where there is none.
    pub token: Option<String>,
    /// What it answers.
    pub answer: HubAnswer,
}

/// How the Hub answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubAnswer {
    /// It was not asked: `HF_HUB_OFFLINE` is set.
    Offline,
    /// It answers, and takes the token where there is one.
    Answers,
    /// It answers, and refuses the token.
    RefusesToken,
    /// It answers with another status.
    Status(u16),
    /// It does not answer, and why.
    Silent(String),
}

/// Looks whether the Hub answers, within seconds.
///
/// # Errors
/// An environment in which it cannot be asked.
pub fn access() -> Result<Access, Error> {
    let surroundings = Surroundings::here()?;
    let client = Client::impatient(&surroundings);
    let answer = match (surroundings.is_offline, &surroundings.token) {
        (true, _) => HubAnswer::Offline,
        (false, Some(_)) => match client.status("/api/whoami-v2") {
            Ok(200) => HubAnswer::Answers,
            Ok(401 | 403) => HubAnswer::RefusesToken,
            Ok(status) => HubAnswer::Status(status),
            Err(error) => HubAnswer::Silent(error.message),
        },
        (false, None) => match client.status("/api/models?limit=1") {
            Ok(200) => HubAnswer::Answers,
            Ok(status) => HubAnswer::Status(status),
            Err(error) => HubAnswer::Silent(error.message),
        },
    };
    let token = surroundings.token.as_ref().map(|token| token.found.clone());
    drop(client);
    Ok(Access { endpoint: surroundings.endpoint, cache: surroundings.cache, token, answer })
}
