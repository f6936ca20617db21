//! What other engines were seen to do wrong, each a test named after it: stale hits, orphans, lost locks, work done twice.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::{
    cache::{CHAIN, chain},
    interrupts::SLOW,
    project::{FILE, Project, is_used},
};

/// DVC and OxyMake commit `part full full` as valid.
#[test]
fn an_orphan_that_goes_on_writing() {
    // In the engine's own group; in the background; in a session of its own; with nothing open and no descriptor left.
    for script in [
        "echo part > \"$1\"; touch DIR/begun; [ -e DIR/quick ] || sleep 8; echo full >> \"$1\"",
        "(echo part > \"$1\"; touch DIR/begun; [ -e DIR/quick ] || sleep 8; echo full >> \"$1\") & wait",
        "setsid sh -c 'echo part > \"$1\"; touch DIR/begun; [ -e DIR/quick ] || sleep 8; echo full >> \"$1\"' sh \"$1\" & wait",
        "setsid sh -c 'echo part > \"$1\"; touch DIR/begun; [ -e DIR/quick ] || sleep 8; echo full >> \"$1\"' sh \"$1\" < /dev/null > /dev/null 2>&1 & wait",
    ] {
        let pipeline = |script: &str| {
            let script = script.replace('\'', "''");
            format!(
                "stages:\n  slow:\n    kind: command\n    run: [sh, -c, '{script}', sh, '${{out.text}}']\n    out: {{text: text}}\n"
            )
        };
        let project = Project::new(&pipeline(script));
        let run = project.start(&[]);
        project.wait_for("begun");
        run.signal("KILL");
        run.gone();
        assert!(is_used(&project.path("outputs")), "it goes on for a while");
        project.file("quick", "");
        project.run(&[]).exit(0).did(&["slow"]);
        assert_eq!(project.text("outputs/p/slow/text"), "part\nfull\n", "{script}");
        assert!(!is_used(&project.path("outputs")), "{script}");
        project.run(&[]).exit(0).did(&[]);
    }
}

/// Overwrites three bytes of a file and puts its time and permissions back, as a failing disk would.
fn flip_three_bytes(path: &Path) {
    let found = fs::metadata(path).unwrap();
    let (time, permissions) = (found.modified().unwrap(), found.permissions());
    let mut bytes = fs::read(path).unwrap();
    bytes[..3].iter_mut().for_each(|byte| *byte ^= 0x20);
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    fs::set_permissions(path, permissions).unwrap();
}

/// DVC restores the bad bytes and says up to date.
#[test]
fn three_flipped_bytes_in_the_store() {
    let project = chain();
    flip_three_bytes(&fs::canonicalize(project.path("outputs/p/lower/text")).unwrap());
    // A stage that reads them finds them, before it starts.
    project.pipeline(&CHAIN.replace("sort \"$1\"", "sort -r \"$1\""));
    let ran = project.run(&[]);
    if ran.said.code == Some(0) {
        ran.did(&["joined", "lower", "sorted"]);
    } else {
        ran.fails_with(&["damaged on the disk", "lower", "run again"]);
        project.run(&[]).exit(0).did(&["joined", "lower", "sorted"]);
    }
    assert_eq!(project.text("outputs/p/lower/text"), "pear\napple\n");
    assert_eq!(project.text("outputs/p/joined/text"), "pear\napple\npear\napple\n");
    // And `doctor` finds those that nobody reads.
    flip_three_bytes(&fs::canonicalize(project.path("outputs/p/joined/text")).unwrap());
    project.engine(&["doctor"]).exit(1).says(&["joined", "1 damaged"]);
    project.run(&[]).exit(0).did(&["joined"]);
    assert_eq!(project.text("outputs/p/joined/text"), "pear\napple\npear\napple\n");
}

/// DVC cannot run at all: it writes in place.
#[test]
fn a_truncated_or_half_merged_lock() {
    let project = chain();
    let lock = project.text("pipelines/p.lock.yaml");
    let merged = format!("<<<<<<< HEAD\n{lock}=======\n{lock}>>>>>>> theirs\n");
    for damaged in [&lock[..lock.len() / 2 - 3], &merged] {
        project.file("pipelines/p.lock.yaml", damaged);
        let ran = project.run(&[]);
        ran.exit(0).did(&[]);
        ran.said.warns(&["pipelines/p.lock.yaml", "it is written anew"]);
        assert_eq!(project.text("pipelines/p.lock.yaml"), lock);
    }
}

/// Stale hits in DVC, OxyMake and Turborepo: what the stage sees is not what the key holds.
#[test]
fn an_environment_variable() {
    let pipeline = |env: &str| {
        format!(
            "stages:\n  seen:\n    kind: command\n    run: [sh, -c, 'echo \"$WORD\" > \"$1\"', sh, '${{out.text}}']\n    {env}\n    out: {{text: text}}\n"
        )
    };
    let project = Project::new(&pipeline(""));
    let run = |word: &str| crate::project::Ran::from(project.run_command(&[]).env("WORD", word).output().unwrap());
    run("one").exit(0).did(&["seen"]);
    assert_eq!(project.text("outputs/p/seen/text"), "\n", "an undeclared variable is not seen");
    run("two").exit(0).did(&[]);
    project.pipeline(&pipeline("env: {WORD: one}"));
    run("three").exit(0).did(&["seen"]);
    assert_eq!(project.text("outputs/p/seen/text"), "one\n");
    project.pipeline(&pipeline("env: {WORD: two}"));
    run("three").exit(0).did(&["seen"]);
    assert_eq!(project.text("outputs/p/seen/text"), "two\n");
}

/// The same with a script that another one reads: declared, it is part of the key.
#[test]
fn a_script_that_another_one_sources() {
    let project = Project::new(
        "stages:\n  said:\n    kind: command\n    run: [sh, '${in.scripts}/main.sh', '${out.text}']\n    in: {scripts: {path: scripts}}\n    out: {text: text}\n",
    );
    project.file("scripts/main.sh", ". \"$(dirname \"$0\")/words.sh\"\necho \"$word\" > \"$1\"\n");
    project.file("scripts/words.sh", "word=one\n");
    project.run(&[]).exit(0).did(&["said"]);
    project.file("scripts/words.sh", "word=two\n");
    project.run(&[]).exit(0).did(&["said"]);
    assert_eq!(project.text("outputs/p/said/text"), "two\n");
}

/// moon sorts arguments before it hashes, and reports a hit with the wrong output.
#[test]
fn swapped_arguments() {
    let project = chain();
    project.pipeline(&CHAIN.replace("\"${in.a}\", \"${in.b}\"", "\"${in.b}\", \"${in.a}\""));
    project.run(&[]).exit(0).did(&["joined"]);
    assert_eq!(project.text("outputs/p/joined/text"), "pear\napple\napple\npear\n");
    // The same by exchanging what the names stand for.
    project.pipeline(&CHAIN.replace("{a: sorted/text, b: lower/text}", "{a: lower/text, b: lower/text}"));
    project.run(&[]).exit(0).did(&["joined"]);
    assert_eq!(project.text("outputs/p/joined/text"), "pear\napple\npear\napple\n");
}

/// Snakemake's shared cache gave three different stages one object.
#[test]
fn members_that_differ_in_their_label_alone() {
    let project = Project::new(
        "stages:\n  word:\n    kind: command\n    matrix: {x: [a, b, c]}\n    run: [sh, -c, 'echo \"$1\" > \"$2\"', sh, '${matrix.x}', '${out.text}']\n    out: {text: text}\n  all:\n    kind: command\n    run: [sh, -c, 'cat \"$@\" > \"$0\"', '${out.text}', '${in.a}', '${in.b}', '${in.c}']\n    in: {a: 'word[x=a]/text', b: 'word[x=b]/text', c: 'word[x=c]/text'}\n    out: {text: text}\n",
    );
    project.run(&[]).exit(0).did(&["all", "word[x=a]", "word[x=b]", "word[x=c]"]);
    assert_eq!(project.text("outputs/p/all/text"), "a\nb\nc\n");
    // Taken from the store alone, they are still three.
    fs::remove_dir_all(project.path("outputs/p")).unwrap();
    project.run(&[]).exit(0).did(&[]);
    let texts = ["a", "b", "c"].map(|x| project.text(&format!("outputs/p/word/x={x}/text")));
    assert_eq!(texts, ["a\n", "b\n", "c\n"]);
}

/// DVC's second run fails; Snakemake's lock is checked, then taken; OxyMake does the work twice.
#[test]
fn two_runs_at_once() {
    let project = Project::new(SLOW);
    let one = project.start(&[]);
    project.wait_for("begun");
    let two = project.start(&[]).wait();
    two.exit(0);
    one.wait().exit(0).did(&["quick", "slow"]);
    assert_eq!(two.members("waiting"), ["slow"]);
    assert_eq!((project.lines("quick.runs"), project.lines("slow.runs")), (1, 1));
    assert_eq!(project.text("outputs/p/slow/text"), "part\nfull\n");
}

/// Snakemake and OxyMake run what follows though the intermediate file is identical.
#[test]
fn early_cutoff() {
    let project = chain();
    project.file("words.txt", "pear\napple\n");
    project.run(&[]).exit(0).did(&["lower"]);
    // Sorting makes the order vanish; joining sees it again.
    project.file("words.txt", "apple\npear\n");
    project.run(&[]).exit(0).did(&["joined", "lower", "sorted"]);
    assert_eq!(project.runs(), [3, 2, 2]);
}

/// What it made belongs to neither of the two contents.
#[test]
fn an_input_rewritten_during_the_stage() {
    let project = Project::new(
        "stages:\n  copied:\n    kind: command\n    run: [sh, -c, 'cat \"$1\" > \"$2\"; touch DIR/begun; while [ ! -e DIR/go ]; do sleep 0.05; done', sh, '${in.text}', '${out.text}']\n    in: {text: {path: words.txt}}\n    out: {text: text}\n",
    );
    project.file("words.txt", "one\n");
    let run = project.start(&[]);
    project.wait_for("begun");
    project.file("words.txt", "two\n").file("go", "");
    let ran = run.wait();
    ran.failed(&["copied"]).fails_with(&["words.txt", "changed"]);
    assert!(!project.path("outputs/p/copied").exists(), "it is not stored");
    project.run(&[]).exit(0).did(&["copied"]);
    assert_eq!(project.text("outputs/p/copied/text"), "two\n");
    // Nor is it taken for the old contents' result.
    project.file("words.txt", "one\n");
    project.run(&[]).exit(0).did(&["copied"]);
    assert_eq!(project.text("outputs/p/copied/text"), "one\n");
}

/// A hit with the bytes that a person wrote.
#[test]
fn a_file_of_the_store_edited_through_its_link() {
    let project = chain();
    let path = std::fs::canonicalize(project.path("outputs/p/lower/text")).unwrap();
    // Results are read-only; an editor may force its way.
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)]
    permissions.set_readonly(false);
    std::fs::set_permissions(&path, permissions).unwrap();
    std::fs::write(&path, "edited by hand\n").unwrap();
    project.run(&[]).exit(0).did(&["lower"]);
    assert_eq!(project.text("outputs/p/lower/text"), "pear\napple\n");
    assert_eq!(project.runs(), [2, 1, 1]);
}

/// Dry runs that lie (DVC), and rules that change their mind from run to run (Snakemake).
#[test]
fn a_plan_that_says_other_things_than_the_run_does() {
    let project = chain();
    let changes: [(&str, &dyn Fn()); 4] = [
        ("nothing", &|| {}),
        ("a file", &|| {
            project.file("words.txt", "Fig\nPlum\n");
        }),
        ("a setting", &|| {
            project.pipeline(&CHAIN.replace("sort \"$1\"", "sort -r \"$1\""));
        }),
        ("a result", &|| fs::remove_dir_all(project.path("outputs/.store/v1/records")).unwrap()),
    ];
    for (what, change) in changes {
        change();
        for _ in 0..3 {
            let plan = project.engine(&["plan", FILE, "--json"]);
            let states = plan.exit(0).out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            let (mut sure, mut all) = (Vec::new(), Vec::new());
            for state in states.filter(|state| state["state"] != "fresh") {
                let name = state["member"].as_str().unwrap().to_owned();
                sure.extend((state["state"] == "stale").then(|| name.clone()));
                all.push(name);
            }
            let ran = project.run(&[]);
            let done = ran.exit(0).members("finished");
            assert!(sure.iter().all(|name| done.contains(name)), "{what}: {sure:?} planned, {done:?} done");
            assert!(done.iter().all(|name| all.contains(name)), "{what}: {all:?} planned, {done:?} done");
        }
        project.run(&[]).exit(0).did(&[]);
    }
}
