//! Faults on purpose: kills, failing calls, a strange clock, disks that refuse. Here is what is the same for all of them:
//! how a project is begun again, and what must hold after any fault.
//!
//! `cargo test` does a sample, drawn with a seed that it prints; `make faults` (`FAULTS=full`) does all.
//! `FAULTS_SEED=N` draws the same sample again.

mod errors;
mod gc;
mod kills;
mod machines;
mod many;
mod points;
mod shim;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use plan::store::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::project::{Project, Said, engine, is_used, until};

/// Whether everything is to be done, not a sample.
fn is_full() -> bool {
    std::env::var("FAULTS").is_ok_and(|form| form == "full")
}

/// Draws for one test; the seed is printed, so that a failure can be had again.
fn draws(test: &str) -> ChaCha8Rng {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed: u64 = std::env::var("FAULTS_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
    println!("{test}: FAULTS_SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

/// What an undisturbed run of a project leaves.
struct Undisturbed {
    left: BTreeMap<String, BTreeMap<String, String>>,
    lock: String,
    members: BTreeSet<String>,
    took: Duration,
}

/// How long a file must lie before its digest is remembered, so that this is done in these projects, too.
const QUIET: Duration = Duration::from_millis(2100);

/// The commands of a project count themselves in this folder.
const RUNS: &str = "runs";

/// A copy of `engine` with no worker beside it: its `doctor` looks at the store and does not wait for libtorch.
static ENGINE_ALONE: LazyLock<PathBuf> =
    LazyLock::new(|| made("alone/engine", |new| assert!(fs::copy(engine(), new).unwrap() > 0)));

/// A file that is made once a test program, in cargo's folder for such; it appears whole, since others may use it.
fn made(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let folder = path.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    let new = tempfile::NamedTempFile::new_in(folder).unwrap().into_temp_path();
    make(&new);
    new.persist(&path).unwrap();
    path
}

impl Project {
    /// Runs the project for the first time, with nothing in the way.
    fn undisturbed(&self) -> Undisturbed {
        fs::create_dir_all(self.path(RUNS)).unwrap();
        std::thread::sleep(QUIET);
        let begun = std::time::Instant::now();
        let ran = self.run(&[]);
        let took = begun.elapsed();
        ran.exit(0);
        let members = ran.members("finished").into_iter().collect();
        Undisturbed { left: self.all_left(), lock: self.text(LOCK), members, took }
    }

    /// Removes all that runs have left.
    fn start_over(&self) {
        for folder in ["outputs", RUNS] {
            fs::remove_dir_all(self.path(folder)).unwrap();
        }
        fs::create_dir(self.path(RUNS)).unwrap();
        fs::remove_file(self.path(LOCK)).unwrap();
    }

    /// The digests of what every stage left.
    fn all_left(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let stages = fs::read_dir(self.path("outputs/p")).unwrap();
        let names = stages.map(|stage| stage.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".observed")).map(|name| (name.clone(), self.left(&name))).collect()
    }

    /// The members that are recorded in the store.
    fn recorded(&self) -> BTreeSet<String> {
        let store = Store::open(&self.path("outputs"));
        store.keys().unwrap().iter().filter_map(|key| Some(store.record(key).unwrap()?.name)).collect()
    }

    /// After a fault, with the cause gone: the next run ends in what an undisturbed one leaves, does nothing again that
    /// was recorded, and leaves no program, no damage and no litter beside the lock.
    fn recovers(&self, whole: &Undisturbed, fault: &str) {
        println!("{fault}");
        let recorded = self.recorded();
        let counted = |name: &String| self.lines(&format!("{RUNS}/{name}"));
        let before: Vec<usize> = recorded.iter().map(counted).collect();
        let ran = self.run(&[]);
        ran.exit(0);
        let done: BTreeSet<String> = ran.members("finished").into_iter().collect();
        assert_eq!(done, &whole.members - &recorded, "after {fault}: what was recorded is not done again");
        assert_eq!(recorded.iter().map(counted).collect::<Vec<_>>(), before, "after {fault}");
        assert_eq!(self.all_left(), whole.left, "after {fault}");
        assert_eq!(self.text(LOCK), whole.lock, "after {fault}");
        until("the last program to end", || !is_used(&self.path("outputs")));
        assert_eq!(self.names("pipelines"), ["p.lock.yaml", "p.yaml"], "after {fault}");
        let doctor = self.is_undamaged(fault);
        doctor.says(&[&format!("{} results", whole.members.len())]);
    }

    /// `engine doctor` finds no damage; what it said.
    fn is_undamaged(&self, fault: &str) -> Said {
        let doctor =
            Command::new(&*ENGINE_ALONE).arg("doctor").current_dir(self.path("")).env("HF_HUB_OFFLINE", "1").output();
        let doctor = Said::from(doctor.unwrap());
        doctor.says(&[" 0 damaged"]);
        assert!(!doctor.out.contains("is damaged"), "after {fault}: {}", doctor.out);
        doctor
    }

    /// The names of what lies in a folder, sorted.
    fn names(&self, folder: &str) -> Vec<String> {
        let items = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> = items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

/// The project's lock.
const LOCK: &str = "pipelines/p.lock.yaml";
