//! What a person opens: `outputs/<pipeline>/…`, symbolic links into the store. Knows names and folders; knows nothing
//! of what is in them.
//!
//! ```text
//! outputs/<pipeline>/<stage>                      → what the stage left
//! outputs/<pipeline>/<stage>.observed             → what was observed while it ran: log.txt, run.json, measured.json
//! outputs/<pipeline>/<stage>/<member>             → the same for a stage with axes, one link a member
//! outputs/<pipeline>/<stage>.observed/<member>
//! ```
//!
//! A member's folder is `axis=label,axis=label`. Bytes other than `A-Z a-z 0-9 . _ + -` stand as `%` and two
//! hexadecimal digits, so that the name can be read back. A name of more than 200 bytes is cut and ends in `~` and
//! the first 16 digits of the whole name's digest; such a one cannot be read back, but is still one member's alone.
//! Links are relative: the outputs folder can be moved as a whole.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::{self, FileType},
    io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::symlink,
    },
    path::{Path, PathBuf},
};

use crate::{
    digest::Digest,
    file_error::{FileError, at},
};

const LONGEST: usize = 200;
/// The store's folder below the outputs folder.
const STORE: &str = ".store";
/// How deep links lie below the outputs folder: pipeline, stage.
const DEPTH: usize = 2;

/// The folder's name of a member.
pub fn member_folder(coordinates: &[(String, String)]) -> String {
    let entries: Vec<String> =
        coordinates.iter().map(|(axis, label)| format!("{}={}", escape(axis), escape(label))).collect();
    let name = entries.join(",");
    if name.len() <= LONGEST {
        return name;
    }
    let digest = Digest::of(name.as_bytes()).hex();
    let head: String = name.chars().take(LONGEST - 17).collect();
    format!("{head}~{}", digest.get(..16).unwrap_or(&digest))
}

/// The coordinates that a member's folder stands for; `None` for a name that was cut or is none.
pub fn member_of_folder(name: &str) -> Option<Vec<(String, String)>> {
    if name.contains('~') {
        return None;
    }
    name.split(',')
        .map(|entry| {
            let (axis, label) = entry.split_once('=')?;
            Some((unescape(axis)?, unescape(label)?))
        })
        .collect()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._+-".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('%') {
        bytes.extend(head.as_bytes());
        bytes.push(u8::from_str_radix(tail.get(..2)?, 16).ok()?);
        rest = tail.get(2..)?;
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// The folder of one pipeline.
#[derive(Debug, Clone)]
pub struct Views {
    outputs: PathBuf,
    folder: PathBuf,
}

impl Views {
    /// The folder of a pipeline, or of its variant, below the outputs folder.
    pub fn new(outputs: &Path, pipeline: &str) -> Self {
        Self { outputs: outputs.to_owned(), folder: outputs.join(pipeline) }
    }

    /// Where a person finds what a member left.
    pub fn place(&self, stage: &str, coordinates: &[(String, String)]) -> PathBuf {
        let place = self.folder.join(stage);
        if coordinates.is_empty() { place } else { place.join(member_folder(coordinates)) }
    }

    /// Where a person finds what was observed of a member.
    pub fn observed_place(&self, stage: &str, coordinates: &[(String, String)]) -> PathBuf {
        self.place(&format!("{stage}.observed"), coordinates)
    }

    /// Points a member's places to its folders in the store. Does nothing where they already do.
    ///
    /// # Errors
    /// When a link cannot be made, or a person's own files stand in its place.
    pub fn show(
        &self,
        stage: &str,
        coordinates: &[(String, String)],
        tree: &Path,
        observed: &Path,
    ) -> Result<(), FileError> {
        self.point(&self.place(stage, coordinates), tree)?;
        self.point(&self.observed_place(stage, coordinates), observed)
    }

    /// Removes the links of members that are not among these: what the pipeline file no longer says. Files that a
    /// person put there stay.
    ///
    /// # Errors
    /// When a link cannot be removed.
    pub fn keep_only<'a>(
        &self,
        members: impl IntoIterator<Item = (&'a str, Vec<(String, String)>)>,
    ) -> Result<(), FileError> {
        let mut kept: HashMap<String, HashSet<String>> = HashMap::new();
        for (stage, at) in members {
            let folder = if at.is_empty() { String::new() } else { member_folder(&at) };
            kept.entry(format!("{stage}.observed")).or_default().insert(folder.clone());
            kept.entry(stage.to_owned()).or_default().insert(folder);
        }
        let is_kept = |stage: &Path, member: &str| {
            let name = stage.file_name().and_then(OsStr::to_str).unwrap_or_default();
            kept.get(name).is_some_and(|members| members.contains(member))
        };
        for (place, kind) in list_with_kinds(&self.folder)? {
            if kind.is_symlink() {
                if !is_kept(&place, "") {
                    fs::remove_file(&place).map_err(at("remove", &place))?;
                }
            } else if kind.is_dir() {
                for (member, _) in list_with_kinds(&place)?.into_iter().filter(|(_, kind)| kind.is_symlink()) {
                    if !member.file_name().and_then(OsStr::to_str).is_some_and(|name| is_kept(&place, name)) {
                        fs::remove_file(&member).map_err(at("remove", &member))?;
                    }
                }
                if list(&place)?.is_empty() {
                    fs::remove_dir(&place).map_err(at("remove", &place))?;
                }
            }
        }
        Ok(())
    }

    /// Every link below an outputs folder that leads into its store, with the path in the store.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn links(outputs: &Path) -> Result<Vec<(PathBuf, PathBuf)>, FileError> {
        let mut links = Vec::new();
        let mut open: Vec<(PathBuf, usize)> = vec![(outputs.to_owned(), 0)];
        while let Some((folder, depth)) = open.pop() {
            for place in list(&folder)? {
                if let Ok(target) = fs::read_link(&place) {
                    let mut below = target.components().skip_while(|part| part.as_os_str() != STORE).skip(1).peekable();
                    if below.peek().is_some() {
                        links.push((place, outputs.join(STORE).join(below.collect::<PathBuf>())));
                    }
                } else if place.is_dir() && depth < DEPTH && place.file_name() != Some(OsStr::new(STORE)) {
                    open.push((place, depth + 1));
                }
            }
        }
        Ok(links)
    }

    /// Removes links, and the folders that held nothing else.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn remove_links(outputs: &Path, links: &[PathBuf]) -> Result<(), FileError> {
        for link in links {
            fs::remove_file(link).map_err(at("remove", link))?;
            // A folder that is not empty refuses, which is right.
            let folders = link.ancestors().skip(1).take_while(|folder| *folder != outputs);
            let _ = folders.take(DEPTH).try_for_each(fs::remove_dir);
        }
        Ok(())
    }

    fn point(&self, place: &Path, target: &Path) -> Result<(), FileError> {
        let target = self.relative(place, target);
        if fs::read_link(place).is_ok_and(|found| found.as_os_str() == target.as_os_str()) && !self.is_below_link(place)
        {
            return Ok(());
        }
        let parent = place.parent().unwrap_or(&self.folder);
        if parent != self.folder && parent.is_symlink() {
            // The stage had no axes before: making its folder would write through the link, into the store.
            fs::remove_file(parent).map_err(at("remove", parent))?;
        }
        fs::create_dir_all(parent).map_err(at("make", parent))?;
        if fs::symlink_metadata(place).is_ok_and(|found| !found.is_symlink()) {
            clear(place)?;
        }
        let new = parent.join(format!(".new-link-{}", crate::store::unique()));
        symlink(&target, &new).map_err(at("link", &new))?;
        fs::rename(&new, place).map_err(at("link", place))
    }

    fn is_below_link(&self, place: &Path) -> bool {
        place.parent().is_some_and(|parent| parent != self.folder && parent.is_symlink())
    }

    /// The target as seen from the folder that the link stands in.
    fn relative(&self, place: &Path, target: &Path) -> PathBuf {
        let (Some(place), Some(target_below)) = (below(place, &self.outputs), below(target, &self.outputs)) else {
            return target.to_owned();
        };
        let ups = place.iter().filter(|byte| **byte == b'/').count();
        PathBuf::from(OsString::from_vec([&b"../".repeat(ups), target_below].concat()))
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    match fs::read_dir(folder) {
        Ok(items) => items.map(|item| item.map(|item| item.path()).map_err(at("list", folder))).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at("list", folder)(error)),
    }
}

/// The bytes of a path behind those of a folder above it.
fn below<'p>(path: &'p Path, folder: &Path) -> Option<&'p [u8]> {
    path.as_os_str().as_bytes().strip_prefix(folder.as_os_str().as_bytes())?.strip_prefix(b"/")
}

/// What is in a folder, and what each is.
fn list_with_kinds(folder: &Path) -> Result<Vec<(PathBuf, FileType)>, FileError> {
    let items = match fs::read_dir(folder) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at("list", folder)(error)),
    };
    let with_kind = |item: io::Result<fs::DirEntry>| item.and_then(|item| Ok((item.path(), item.file_type()?)));
    items.map(|item| with_kind(item).map_err(at("list", folder))).collect()
}

/// Removes a folder of links; anything else is somebody's.
fn clear(place: &Path) -> Result<(), FileError> {
    if !place.is_dir() {
        return Err(FileError::InTheWay(place.to_owned()));
    }
    let links = list(place)?;
    if let Some(other) = links.iter().find(|path| !path.is_symlink()) {
        return Err(FileError::InTheWay(other.clone()));
    }
    for link in links {
        fs::remove_file(&link).map_err(at("remove", &link))?;
    }
    fs::remove_dir(place).map_err(at("remove", place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(coordinates: &[(&str, &str)]) -> Vec<(String, String)> {
        coordinates.iter().map(|(axis, label)| ((*axis).to_owned(), (*label).to_owned())).collect()
    }

    #[test]
    fn member_names_are_read_back_and_differ() {
        let members = [
            at(&[("method", "dora"), ("seed", "0")]),
            at(&[("a", "b,c=d")]),
            at(&[("a", "b"), ("c", "d")]),
            at(&[("a", "../..")]),
            at(&[("a", "")]),
            at(&[("targets", "[attention.q, mlp.up]")]),
            at(&[("größe", "50%~")]),
        ];
        for member in &members {
            let name = member_folder(member);
            assert!(!name.contains('/'));
            assert_eq!(member_of_folder(&name).as_ref(), Some(member), "{name}");
        }
        assert_eq!(member_folder(&members[0]), "method=dora,seed=0");
        assert_eq!(member_folder(&members[3]), "a=..%2F..");
        let (long, longer) = (at(&[("a", &"x".repeat(300))]), at(&[("a", &"x".repeat(301))]));
        assert_eq!(member_folder(&long).len(), LONGEST);
        assert_ne!(member_folder(&long), member_folder(&longer));
        assert_eq!(member_of_folder(&member_folder(&long)), None);
    }

    struct Space {
        _folder: tempfile::TempDir,
        outputs: PathBuf,
        views: Views,
    }

    fn space() -> Space {
        let folder = tempfile::tempdir().unwrap();
        let outputs = folder.path().join("outputs");
        for name in ["one", "two", "log"] {
            let path = outputs.join(".store").join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("file"), name).unwrap();
        }
        let views = Views::new(&outputs, "study");
        Space { _folder: folder, outputs, views }
    }

    impl Space {
        fn show(&self, stage: &str, member: &[(&str, &str)], tree: &str) -> Result<(), FileError> {
            let store = self.outputs.join(".store");
            self.views.show(stage, &at(member), &store.join(tree), &store.join("log"))
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.outputs.join("study").join(path)).unwrap()
        }
    }

    #[test]
    fn links_lead_to_the_files_and_follow_them() {
        let space = space();
        space.show("tuned", &[("seed", "0")], "one").unwrap();
        space.show("report", &[], "one").unwrap();
        assert_eq!(space.read("tuned/seed=0/file"), "one");
        assert_eq!(space.read("tuned.observed/seed=0/file"), "log");
        assert_eq!(space.read("report.observed/file"), "log");
        space.show("report", &[], "two").unwrap();
        assert_eq!(space.read("report/file"), "two");
        let moved = space.outputs.with_file_name("moved");
        fs::rename(&space.outputs, &moved).unwrap();
        assert_eq!(fs::read_to_string(moved.join("study/tuned/seed=0/file")).unwrap(), "one");
    }

    #[test]
    fn a_stage_gains_and_loses_axes_and_nothing_is_written_into_the_store() {
        let space = space();
        space.show("tuned", &[], "one").unwrap();
        space.show("tuned", &[("seed", "0")], "two").unwrap();
        assert_eq!(space.read("tuned/seed=0/file"), "two");
        assert_eq!(fs::read_dir(space.outputs.join(".store/one")).unwrap().count(), 1);
        space.show("tuned", &[], "one").unwrap();
        assert_eq!(space.read("tuned/file"), "one");
    }

    #[test]
    fn a_persons_own_files_stay() {
        let space = space();
        space.show("tuned", &[("seed", "0")], "one").unwrap();
        fs::write(space.outputs.join("study/tuned/notes.txt"), "mine").unwrap();
        let error = space.show("tuned", &[], "one").unwrap_err();
        assert!(error.to_string().contains("notes.txt"), "{error}");
        assert_eq!(space.read("tuned/notes.txt"), "mine");
    }

    #[test]
    fn links_of_members_that_are_no_more_go() {
        let space = space();
        space.show("tuned", &[("seed", "0")], "one").unwrap();
        space.show("tuned", &[("seed", "1")], "one").unwrap();
        space.show("old", &[("seed", "1")], "one").unwrap();
        space.show("older", &[], "one").unwrap();
        space.views.keep_only([("tuned", at(&[("seed", "1")]))]).unwrap();
        let mut left: Vec<_> = list(&space.outputs.join("study")).unwrap();
        left.sort();
        assert_eq!(left, [space.outputs.join("study/tuned"), space.outputs.join("study/tuned.observed")]);
        assert_eq!(list(&left[0]).unwrap(), [left[0].join("seed=1")]);
    }
}
