//! Taking results out: what goes, in which order, and what stays whole.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use plan::{
    digest::Digest,
    store::{Durability, Garbage, Needs, Store},
};

use crate::help::{Space, key, made, write_files};

impl Space {
    /// A stage that read others.
    fn make_from(&self, name: &str, inputs: &[&str], files: &[(&str, &str)]) {
        let attempt = self.attempt(&key(name));
        write_files(&attempt.result(), files);
        write_files(&attempt.observed(), &[("log.txt", name)]);
        let inputs = inputs.iter().map(|name| key(name)).collect();
        attempt.commit(plan::store::Made { inputs, ..made() }, Durability::Grouped).unwrap();
    }

    fn garbage(&self, needs: &Needs) -> Garbage {
        self.store.garbage(&self.store.alone().unwrap().unwrap(), needs).unwrap()
    }

    fn sweep(&self, needs: &Needs) -> Garbage {
        let alone = self.store.alone().unwrap().unwrap();
        let garbage = self.store.garbage(&alone, needs).unwrap();
        self.store.sweep(&alone, &garbage).unwrap();
        garbage
    }

    fn has(&self, name: &str) -> bool {
        self.store.lookup(&key(name)).unwrap().is_some()
    }

    /// Every file and folder of the store, but for its shards.
    fn everything(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.store.root().to_owned()];
        while let Some(folder) = open.pop() {
            for item in fs::read_dir(&folder).unwrap() {
                let path = item.unwrap().path();
                let name = path.strip_prefix(self.store.root()).unwrap().display().to_string();
                if path.is_dir() {
                    open.push(path);
                }
                found.insert(name);
            }
        }
        let is_shard = |name: &str| name.rsplit('/').next().is_some_and(|last| last.len() == 2);
        found.retain(|name| name.contains('/') && !is_shard(name) && !name.starts_with("work/scratch-"));
        found
    }
}

/// Needs of these stages, and of nothing that is only recent.
fn needs(names: &[&str]) -> Needs {
    Needs { keys: names.iter().map(|name| key(name)).collect(), since: u64::MAX, ..Needs::default() }
}

fn names(garbage: &Garbage) -> Vec<Digest> {
    garbage.results.iter().map(|dropped| dropped.key).collect()
}

#[test]
fn what_is_needed_stays_with_all_that_it_read() {
    let space = Space::new();
    space.make_from("raw", &[], &[("a", "one")]);
    space.make_from("rows", &["raw"], &[("b", "two")]);
    space.make_from("tuned", &["rows"], &[("c", "three"), ("shared", "same")]);
    space.make_from("other", &["raw"], &[("d", "four"), ("shared", "same")]);
    let garbage = space.sweep(&needs(&["tuned"]));
    assert_eq!(names(&garbage), [key("other")]);
    assert_eq!(garbage.kept, 3);
    assert!(["raw", "rows", "tuned"].iter().all(|name| space.has(name)));
    assert!(!space.has("other"));
    let left = space.everything();
    assert_eq!(left.iter().filter(|name| name.starts_with("blobs/")).count(), 4, "the shared one stays: {left:?}");
    assert!(!left.iter().any(|name| name.contains(&key("other").hex())), "{left:?}");
    assert!(space.store.keys().unwrap().iter().all(|key| {
        let record = space.store.record(key).unwrap().unwrap();
        space.store.verify(&record).is_empty()
    }));
    assert_eq!(space.garbage(&needs(&["tuned"])).bytes, 0);
}

#[test]
fn two_results_with_the_same_files_do_not_take_them_from_each_other() {
    let space = Space::new();
    space.make_from("one", &[], &[("a", "same")]);
    space.make_from("two", &[], &[("a", "same")]);
    let garbage = space.sweep(&needs(&["two"]));
    assert_eq!(names(&garbage), [key("one")]);
    assert!(space.has("two"));
    space.sweep(&needs(&[]));
    assert_eq!(space.everything(), BTreeSet::new());
}

#[test]
fn what_was_made_or_used_lately_stays() {
    let space = Space::new();
    space.make_from("old", &[], &[("a", "1")]);
    let now = space.store.record(&key("old")).unwrap().unwrap().finished;
    assert_eq!(names(&space.garbage(&Needs { since: now, ..needs(&[]) })), []);
    assert_eq!(names(&space.garbage(&Needs { since: now + 1, ..needs(&[]) })), [key("old")]);
    let used = HashMap::from([(key("old"), now + 5)]);
    assert_eq!(names(&space.garbage(&Needs { since: now + 5, used, ..needs(&[]) })), []);
}

#[test]
fn for_want_of_space_the_longest_unused_goes_first_and_no_more_than_is_wanted() {
    let space = Space::new();
    let large = |letter: &str| letter.repeat(40_000);
    for name in ["first", "second", "third"] {
        space.make_from(name, &[], &[("large", &large(&name[..1]))]);
    }
    let now = space.store.record(&key("first")).unwrap().unwrap().finished;
    let used = HashMap::from([(key("first"), now + 20), (key("second"), now + 30), (key("third"), now + 10)]);
    let all = needs(&["first", "second", "third"]);
    let whole = space.garbage(&all).kept_bytes;
    assert!((120_000..300_000).contains(&whole), "{whole}");
    let fits = |max_size: u64| space.garbage(&Needs { max_size: Some(max_size), used: used.clone(), ..all.clone() });
    assert_eq!(names(&fits(whole)), []);
    let garbage = fits(whole - 1);
    assert_eq!(names(&garbage), [key("third")]);
    assert!(garbage.results[0].needed && garbage.results[0].bytes >= 40_000, "{garbage:?}");
    assert_eq!(garbage.bytes + garbage.kept_bytes, whole);
    assert_eq!(names(&fits(whole - 70_000)), [key("third"), key("first")]);
    assert_eq!(names(&fits(0)), [key("third"), key("first"), key("second")]);
    // What nobody needs goes before, and may be enough.
    let garbage = space.garbage(&Needs { max_size: Some(whole - 1), used: used.clone(), ..needs(&["first", "third"]) });
    assert_eq!(names(&garbage), [key("second")]);
}

#[test]
fn each_kind_of_leftover_goes() {
    let space = Space::new();
    space.make_from("kept", &[], &[("a", "1")]);
    let before = space.everything();
    let root = space.store.root().to_owned();
    let put = |path: &str| {
        let path: PathBuf = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x".repeat(5000)).unwrap();
    };
    let (a, b) = (Digest::of(b"a").hex(), Digest::of(b"b").hex());
    put(&format!("blobs/{}/{a}", &a[..2]));
    put(&format!("blobs/{}/{a}.x", &a[..2]));
    put(&format!("blobs/{}/{a}.4-5.new", &a[..2]));
    put(&format!("trees/{}/{a}/deep/file", &a[..2]));
    put(&format!("observed/{}/{a}/log.txt", &a[..2]));
    put(&format!("records/{}/{a}.json", &a[..2]));
    put(&format!("records/{}/{a}.json.new", &a[..2]));
    put(&format!("work/{a}/state/step-1"));
    put(&format!("work/{a}.owner"));
    put(&format!("work/{b}.lock"));
    put("work/scratch-999999999-0/file");
    put("remembered.4.new");
    let garbage = space.garbage(&needs(&["kept"]));
    assert!(garbage.bytes >= 10 * 5000, "{garbage:?}");
    let counts: Vec<_> = garbage.strays.iter().map(|(what, count)| (*what, *count)).collect();
    assert_eq!(
        counts,
        [
            ("files of no result", 2),
            ("folders of failed attempts", 2),
            ("folders of no result", 1),
            ("logs of no result", 1),
            ("scratch folders", 1),
            ("unfinished or damaged files", 4),
        ]
    );
    assert!(space.everything().len() > before.len() + 10, "looking removes nothing");
    space.sweep(&needs(&["kept"]));
    assert_eq!(space.everything(), before);
    assert!(!root.join("work/scratch-999999999-0").exists() && !root.join("remembered.4.new").exists());
    assert!(space.has("kept"));
}

#[test]
fn the_folder_of_a_failed_attempt_stays_while_it_is_wanted_recent_or_in_use() {
    let space = Space::new();
    for name in ["wanted", "over"] {
        let attempt = space.attempt(&key(name));
        write_files(&attempt.state(), &[("step-1", "weights")]);
        attempt.abandon();
    }
    let running = space.attempt(&key("running"));
    let folder = |name: &str| space.store.root().join("work").join(key(name).hex());
    assert_eq!(space.garbage(&Needs { since: 0, ..needs(&[]) }).strays.len(), 0, "all are recent");
    let garbage = space.sweep(&needs(&["wanted"]));
    assert_eq!(garbage.strays, [("folders of failed attempts", 1)].into());
    assert!(folder("wanted").join("state/step-1").exists());
    assert!(!folder("over").exists());
    assert!(running.result().exists());
    write_files(&running.result(), &[("a", "1")]);
    running.commit(made(), Durability::Grouped).unwrap();
}

#[test]
fn nothing_is_taken_out_while_a_run_uses_the_store() {
    let space = Space::new();
    space.make_from("one", &[], &[("a", "1")]);
    let hold = space.store.hold(|| panic!("nobody has it"));
    let other = Store::open(&space.folder.path().join("outputs"));
    let another = other.hold(|| panic!("runs share it"));
    assert!(other.alone().unwrap().is_none());
    drop(hold);
    assert!(other.alone().unwrap().is_none());
    drop(another);
    let alone = other.alone().unwrap().unwrap();
    let (told, tell) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _hold = space.store.hold(|| told.send("waits").unwrap());
            told.send("holds").unwrap();
        });
        assert_eq!(tell.recv().unwrap(), "waits");
        assert!(tell.recv_timeout(std::time::Duration::from_millis(150)).is_err());
        drop(alone);
        assert_eq!(tell.recv().unwrap(), "holds");
    });
}

#[test]
fn where_nothing_can_be_locked_nothing_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("outputs"), "mine").unwrap();
    let store = Store::open(&folder.path().join("outputs"));
    let _hold = store.hold(|| panic!("there is no lock"));
    assert!(store.alone().is_err());
}

/// Copies a folder with its links; hard links become copies, which the store allows.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args(["-a", "--no-target-directory"]).arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_sweep_that_is_cut_at_any_place_leaves_a_right_store() {
    let space = Space::new();
    space.make_from("raw", &[], &[("a", "one"), ("deep/b", "two")]);
    space.make_from("rows", &["raw"], &[("b", "two"), ("c", "three")]);
    space.make_from("kept", &[], &[("c", "three"), ("d", "four")]);
    let alone = space.store.alone().unwrap().unwrap();
    let garbage = space.store.garbage(&alone, &needs(&["kept"])).unwrap();
    let order = garbage.in_order();
    assert!(order.len() >= 7, "{order:?}");
    let relative = |path: &Path| path.strip_prefix(space.folder.path()).unwrap().to_owned();
    for cut in 0..=order.len() {
        let other = tempfile::tempdir().unwrap();
        copy(&space.folder.path().join("outputs"), &other.path().join("outputs"));
        for path in &order[..cut] {
            let path = other.path().join(relative(path));
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        let other = Space::at(other);
        for name in ["raw", "rows", "kept"] {
            if let Some(record) = other.store.lookup(&key(name)).unwrap() {
                assert!(other.store.verify(&record).is_empty(), "{name} after {cut}");
            } else {
                assert_ne!(name, "kept", "after {cut}");
                let files: &[_] = if name == "raw" { &[("a", "one"), ("deep/b", "two")] } else { &[("b", "two")] };
                other.make_from(name, &[], files);
                assert!(other.has(name));
            }
        }
    }
}
