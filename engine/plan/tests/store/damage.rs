//! What is stored is found again; what was changed, removed or cut is not taken for it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use plan::{
    digest::Digest,
    file_error::FileError,
    store::{Begun, Durability, Record},
};

use crate::help::{Space, key, made, write_files};

const FILES: &[(&str, &str)] = &[("a.txt", "one"), ("deep/er/b.txt", "two")];

fn force_write(path: &Path, text: &str) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, text).unwrap();
}

fn blob(space: &Space, text: &str) -> std::path::PathBuf {
    let hex = Digest::of(text.as_bytes()).hex();
    space.store.root().join("blobs").join(&hex[..2]).join(hex)
}

fn record_path(space: &Space, record: &Record) -> std::path::PathBuf {
    let hex = record.key.hex();
    space.store.root().join("records").join(&hex[..2]).join(format!("{hex}.json"))
}

#[test]
fn what_was_stored_is_found_again() {
    let space = Space::new();
    assert_eq!(space.store.lookup(&key("k")).unwrap(), None);
    let attempt = space.attempt(&key("k"));
    write_files(&attempt.result(), FILES);
    write_files(&attempt.result(), &[("metrics.json", r#"{"headline": {"exact": 61.5}, "rows": 3}"#)]);
    fs::create_dir(attempt.result().join("empty")).unwrap();
    fs::write(attempt.observed().join("log.txt"), "said\n").unwrap();
    let work = attempt.folder().to_owned();
    let record = attempt.commit(made(), Durability::AtOnce).unwrap();
    assert_eq!(space.store.lookup(&key("k")).unwrap().as_ref(), Some(&record));
    assert_eq!(record.headline["exact"], 61.5);
    assert_eq!(space.read(&record, "deep/er/b.txt"), "two");
    assert!(!space.store.tree_folder(&record).join("empty").exists());
    let observed = space.store.observed_folder(&key("k"));
    assert_eq!(fs::read_to_string(observed.join("log.txt")).unwrap(), "said\n");
    assert!(observed.join("run.json").exists());
    assert!(!work.exists() && !work.with_extension("lock").exists() && !work.with_extension("owner").exists());
    assert_eq!(space.store.keys().unwrap().into_iter().collect::<Vec<_>>(), [key("k")]);
    assert!(matches!(space.store.try_begin(&key("k"), "again").unwrap(), Begun::Done(found) if *found == record));
}

#[test]
fn the_same_bytes_are_stored_once_and_read_only() {
    let space = Space::new();
    let one = space.make(&key("1"), FILES);
    let two = space.make(&key("2"), FILES);
    let three = space.make(&key("3"), &[("other-name.txt", "one")]);
    assert_eq!(space.store.tree_folder(&one), space.store.tree_folder(&two));
    let file = |record: &Record, name: &str| fs::metadata(space.store.tree_folder(record).join(name)).unwrap();
    assert_eq!(file(&one, "a.txt").ino(), file(&three, "other-name.txt").ino());
    assert_eq!(file(&one, "a.txt").mode() & 0o777, 0o444);
}

#[test]
fn files_that_differ_in_their_ending_alone_keep_their_own_bytes() {
    let space = Space::new();
    let names: Vec<(String, String)> = (0..64).map(|i| (format!("model.{i}"), format!("text {i}"))).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    for key in ["1", "2", "3"].map(key) {
        let attempt = space.attempt(&key);
        write_files(&attempt.result(), &files);
        fs::hard_link(attempt.result().join("model.0"), attempt.result().join("model.again")).unwrap();
        let record = attempt.commit(made(), Durability::Grouped).unwrap();
        assert!(space.store.verify(&record).is_empty());
        assert!(files.iter().all(|(name, text)| space.read(&record, name) == *text));
    }
}

#[test]
fn an_executable_stays_one() {
    let space = Space::new();
    let attempt = space.attempt(&key("k"));
    write_files(&attempt.result(), &[("plain", "#!/bin/sh\n"), ("run", "#!/bin/sh\n")]);
    fs::set_permissions(attempt.result().join("run"), Permissions::from_mode(0o755)).unwrap();
    let record = attempt.commit(made(), Durability::Grouped).unwrap();
    let mode = |name| fs::metadata(space.store.tree_folder(&record).join(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("plain"), mode("run")), (0o444, 0o555));
    assert!(space.store.lookup(&key("k")).unwrap().is_some());
}

#[test]
fn a_file_edited_through_its_link_is_noticed() {
    let space = Space::new();
    let record = space.make(&key("k"), FILES);
    force_write(&space.store.tree_folder(&record).join("a.txt"), "ONE");
    assert_eq!(space.store.lookup(&key("k")).unwrap(), None);
    let again = space.make(&key("k"), FILES);
    assert_eq!(space.read(&again, "a.txt"), "one");
    assert!(space.store.verify(&again).is_empty());
}

#[test]
fn a_file_that_was_only_touched_is_kept() {
    let space = Space::new();
    let record = space.make(&key("k"), FILES);
    let file = space.store.tree_folder(&record).join("a.txt");
    force_write(&file, "one");
    assert_eq!(space.store.lookup(&key("k")).unwrap(), Some(record));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o444, "put to rest again");
}

#[test]
fn a_removed_added_or_replaced_file_is_mended_from_the_blobs() {
    let space = Space::new();
    let record = space.make(&key("k"), FILES);
    let folder = space.store.tree_folder(&record);
    let damages: [fn(&Path); 5] = [
        |folder| fs::remove_file(folder.join("a.txt")).unwrap(),
        |folder| fs::remove_dir_all(folder).unwrap(),
        |folder| fs::write(folder.join("deep/new.txt"), "").unwrap(),
        |folder| {
            fs::write(folder.join("x"), "ONE").unwrap();
            fs::rename(folder.join("x"), folder.join("a.txt")).unwrap();
        },
        |folder| {
            fs::remove_file(folder.join("a.txt")).unwrap();
            symlink("/etc/passwd", folder.join("a.txt")).unwrap();
        },
    ];
    for (at, damage) in damages.iter().enumerate() {
        damage(&folder);
        assert_eq!(space.store.lookup(&key("k")).unwrap().as_ref(), Some(&record), "damage {at}");
        assert_eq!(space.read(&record, "a.txt"), "one", "damage {at}");
        assert!(!folder.join("deep/new.txt").exists());
    }
}

#[test]
fn three_flipped_bytes_are_found_by_reading_and_made_again() {
    let space = Space::new();
    let text = "a".repeat(5000);
    let record = space.make(&key("k"), &[("a.txt", &text), ("b.txt", "fine")]);
    let path = space.store.tree_folder(&record).join("a.txt");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[2000..2003].copy_from_slice(b"xyz");
    force_write(&path, str::from_utf8(&bytes).unwrap());
    fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    assert!(space.store.lookup(&key("k")).unwrap().is_some(), "nothing but reading can tell");
    assert_eq!(space.store.verify(&record), std::slice::from_ref(&path));
    assert!(!space.store.forget_damaged(&record).unwrap());
    assert_eq!(space.store.lookup(&key("k")).unwrap(), None);
    let again = space.make(&key("k"), &[("a.txt", &text), ("b.txt", "fine")]);
    assert!(space.store.verify(&again).is_empty());
}

#[test]
fn doing_a_stage_again_replaces_damaged_bytes_that_nobody_had_noticed() {
    let space = Space::new();
    let record = space.make(&key("k"), &[("a.txt", "good")]);
    let path = space.store.tree_folder(&record).join("a.txt");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    force_write(&path, "evil");
    fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    let other = space.make(&key("other"), &[("a.txt", "good")]);
    assert_eq!(space.read(&other, "a.txt"), "good");
    assert_eq!(fs::read_to_string(blob(&space, "good")).unwrap(), "good");
}

#[test]
fn a_copy_of_the_outputs_folder_is_believed_after_reading_it_once() {
    let space = Space::new();
    let record = space.make(&key("k"), FILES);
    let copy = Space::new();
    let status = std::process::Command::new("cp")
        .arg("-r")
        .args([space.folder.path().join("outputs"), copy.folder.path().join("outputs")])
        .status();
    assert!(status.unwrap().success());
    assert_eq!(copy.store.lookup(&key("k")).unwrap(), Some(record));
}

#[test]
fn a_cut_or_changed_record_counts_as_absent() {
    let space = Space::new();
    let record = space.make(&key("k"), FILES);
    let path = record_path(&space, &record);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(space.store.lookup(&key("k")).unwrap(), None);
    let mut changed = whole.clone();
    let at = changed.iter().position(|byte| *byte == b'0').unwrap();
    changed[at] = b'1';
    fs::write(&path, changed).unwrap();
    assert_eq!(space.store.lookup(&key("k")).unwrap(), None);
    fs::write(&path, &whole).unwrap();
    assert_eq!(space.store.lookup(&key("k")).unwrap(), Some(record));
}

#[test]
fn links_pipes_and_odd_names_are_refused_by_name() {
    let space = Space::new();
    let refused = space.refuse(|result| symlink("a", result.join("link")).unwrap());
    assert!(refused.to_string().contains("a symbolic link at ") && refused.to_string().ends_with("/result/link"));
    let refused = space.refuse(|result| {
        let made = std::process::Command::new("mkfifo").arg(result.join("pipe")).status();
        assert!(made.unwrap().success());
    });
    assert!(matches!(refused, FileError::NotAFile { .. }));
    let refused = space.refuse(|result| fs::write(result.join("two\nlines"), "").unwrap());
    assert!(matches!(refused, FileError::Name { .. }));
    use std::os::unix::ffi::OsStrExt;
    let refused = space.refuse(|result| fs::write(result.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap());
    assert!(refused.to_string().contains("UTF-8"));
}

#[test]
fn a_stage_that_links_a_foreign_file_into_its_result_does_not_seal_that_file() {
    let space = Space::new();
    let foreign = space.folder.path().join("mine.txt");
    fs::write(&foreign, "mine").unwrap();
    let attempt = space.attempt(&key("k"));
    fs::hard_link(&foreign, attempt.result().join("a.txt")).unwrap();
    let record = attempt.commit(made(), Durability::Grouped).unwrap();
    fs::write(&foreign, "changed").unwrap();
    assert_eq!(space.read(&record, "a.txt"), "mine");
    assert!(space.store.lookup(&key("k")).unwrap().is_some());
}

#[test]
fn a_key_is_done_again_and_keeps_its_record_until_then() {
    let space = Space::new();
    let record = space.make(&key("k"), FILES);
    let again = || match space.store.begin_again(&key("k"), "stage", |_| panic!("nobody else is here")).unwrap() {
        Begun::Attempt(attempt) => attempt,
        Begun::Done(_) | Begun::Busy(_) => panic!("it is to be done again"),
    };
    let attempt = again();
    assert_eq!(space.store.lookup(&key("k")).unwrap().as_ref(), Some(&record));
    attempt.abandon();
    assert_eq!(space.store.lookup(&key("k")).unwrap().as_ref(), Some(&record));
    let attempt = again();
    write_files(&attempt.result(), &[("other.txt", "new")]);
    let newer = attempt.commit(made(), Durability::Grouped).unwrap();
    assert_eq!(space.store.lookup(&key("k")).unwrap().as_ref(), Some(&newer));
    assert_eq!(space.read(&newer, "other.txt"), "new");
}

#[test]
fn an_empty_result_is_a_result() {
    let space = Space::new();
    let record = space.make(&key("k"), &[]);
    assert_eq!(space.store.lookup(&key("k")).unwrap(), Some(record));
}

#[test]
fn a_failed_attempt_keeps_its_state_and_log_alone() {
    let space = Space::new();
    let attempt = space.attempt(&key("k"));
    write_files(&attempt.result(), FILES);
    fs::write(attempt.state().join("checkpoint"), "step 7").unwrap();
    fs::write(attempt.observed().join("log.txt"), "why").unwrap();
    let log = attempt.abandon();
    assert_eq!(fs::read_to_string(log).unwrap(), "why");
    let attempt = space.attempt(&key("k"));
    assert!(fs::read_dir(attempt.result()).unwrap().next().is_none());
    assert!(!attempt.observed().join("log.txt").exists());
    assert_eq!(fs::read_to_string(attempt.state().join("checkpoint")).unwrap(), "step 7");
}
