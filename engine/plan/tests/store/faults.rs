//! Disks that are full, read-only, or short of links, and machines that went down.

use std::{
    fs::{self, FileTimes, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use plan::{
    digest::Digest,
    store::{Begun, Durability, Store},
};

use crate::help::{Space, key, made};

/// A small file system in memory; unmounted when dropped.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// `None`, with a word, where mounting is not permitted.
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        if mount.is_ok_and(|status| status.success()) {
            return Some(Self { folder });
        }
        println!("skipped: mounting a file system is not permitted here");
        None
    }

    fn remount(&self, how: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.folder.path()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn on_a_full_disk_nothing_finished_is_lost() {
    let Some(disk) = Disk::new("256k") else { return };
    let space = Space::at(tempfile::tempdir_in(disk.folder.path()).unwrap());
    let finished = space.make(&key("finished"), &[("a", "text")]);
    let attempt = space.attempt(&key("k"));
    fs::write(attempt.result().join("b"), "more").unwrap();
    fs::write(attempt.state().join("checkpoint"), "step").unwrap();
    let filler = disk.folder.path().join("filler");
    let full = fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let error = attempt.commit(made(), Durability::Grouped).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    assert!(error.hint().contains("is full: free some space"), "{}", error.hint());
    assert_eq!(space.store.lookup(&key("k")).unwrap(), None);
    assert_eq!(space.store.lookup(&key("finished")).unwrap(), Some(finished));
    fs::remove_file(filler).unwrap();
    let attempt = space.attempt(&key("k"));
    assert!(attempt.state().join("checkpoint").exists());
    fs::write(attempt.result().join("b"), "more").unwrap();
    let record = attempt.commit(made(), Durability::Grouped).unwrap();
    assert_eq!(space.read(&record, "b"), "more");
}

#[test]
fn a_read_only_folder_can_be_looked_up_and_says_why_it_cannot_be_written() {
    let Some(disk) = Disk::new("1m") else { return };
    let space = Space::at(tempfile::tempdir_in(disk.folder.path()).unwrap());
    let record = space.make(&key("k"), &[("a", "text")]);
    disk.remount("ro");
    assert_eq!(space.store.lookup(&key("k")).unwrap(), Some(record));
    let Err(error) = space.store.try_begin(&key("other"), "stage") else { panic!("begun") };
    assert!(error.hint().contains("read-only"), "{error}: {}", error.hint());
    disk.remount("rw");
}

#[test]
fn where_no_more_links_can_be_made_files_are_copied() {
    let space = Space::new();
    let record = space.make(&key("k"), &[("a", "text")]);
    let stored = space.store.tree_folder(&record).join("a");
    let links = space.folder.path().join("links");
    fs::create_dir(&links).unwrap();
    let refused = (0..66_000).find_map(|i| fs::hard_link(&stored, links.join(i.to_string())).err());
    println!("the file system's limit of links: {refused:?}");
    let other = space.make(&key("other"), &[("b", "text")]);
    assert_eq!(space.read(&other, "b"), "text");
    assert_eq!(space.store.lookup(&key("other")).unwrap().as_ref(), Some(&other));
    fs::remove_dir_all(space.store.tree_folder(&other)).unwrap();
    assert_eq!(space.store.lookup(&key("other")).unwrap().as_ref(), Some(&other), "made again from the blob");
}

fn marks(store: &Store) -> Vec<String> {
    let names = fs::read_dir(store.root()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("unsynced-")).collect()
}

/// Other bytes of the same length, with the time of modification put back: what a disk that lost a write may show.
fn rot(path: &Path, text: &str) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, text).unwrap();
    fs::File::options().append(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn after_a_power_failure_what_was_not_synced_is_read_and_checked() {
    let space = Space::new();
    let record = space.make(&key("k"), &[("a", "text")]);
    assert_eq!(marks(&space.store).len(), 1);
    space.store.sync().unwrap();
    assert!(marks(&space.store).is_empty());
    let lost = space.make(&key("lost"), &[("b", "data")]);
    let mark = marks(&space.store).pop().unwrap();
    let (_, rest) = mark.split_once('.').unwrap();
    fs::rename(space.store.root().join(&mark), space.store.root().join(format!("unsynced-earlier-boot.{rest}")))
        .unwrap();
    rot(&space.store.tree_folder(&lost).join("b"), "\0\0\0\0");
    assert!(space.store.lookup(&key("lost")).unwrap().is_some(), "a look alone does not show it");
    let store = Store::open(&space.folder.path().join("outputs"));
    assert_eq!(store.lookup(&key("lost")).unwrap(), None);
    assert_eq!(store.lookup(&key("k")).unwrap(), Some(record));
    assert!(marks(&store).is_empty());
    let Begun::Attempt(attempt) = store.try_begin(&key("lost"), "stage").unwrap() else { panic!() };
    fs::write(attempt.result().join("b"), "data").unwrap();
    let again = attempt.commit(made(), Durability::AtOnce).unwrap();
    assert_eq!(again.tree.get("b").unwrap().digest, Digest::of(b"data"));
    assert!(marks(&store).is_empty(), "synced at once");
}
