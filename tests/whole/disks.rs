//! A disk that is full, read-only, or knows no symbolic links.

use std::process::Command;

use crate::project::{Project, Ran, Said, engine};

/// A small stage, one that writes three megabytes, and one that reads both.
const LARGE: &str = r#"
stages:
  small:
    kind: command
    run: [sh, -c, 'echo x >> DIR/small.runs; echo small > "$1"', sh, "${out.text}"]
    out: {text: text}
  large:
    kind: command
    run: [sh, -c, 'cat "$1" /dev/zero | head -c 3000000 > "$2"', sh, "${in.small}", "${out.zeros}"]
    in: {small: small/text}
    out: {zeros: zeros}
  size:
    kind: command
    run: [sh, -c, 'wc -c < "$1" > "$2"', sh, "${in.large}", "${out.count}"]
    in: {large: large/zeros}
    out: {count: count}
"#;

impl Project {
    /// Runs a shell script with a file system of its own for mounting; `None`, with the reason said, where the system does
    /// not let it.
    fn with_mounts(&self, script: &str) -> Option<Vec<Ran>> {
        let unshared = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script]);
            command.current_dir(self.path("")).env("ENGINE", engine()).output()
        };
        match unshared("mount -t tmpfs -o size=1m tmpfs /mnt") {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                eprintln!("skipped: no mounting here: {}", String::from_utf8_lossy(&output.stderr).trim());
                return None;
            }
            Err(error) => {
                eprintln!("skipped: `unshare` cannot be started: {error}");
                return None;
            }
        }
        let output = unshared(script).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let runs = (1..).map_while(|number| {
            let read = |name: &str| std::fs::read_to_string(self.path(&format!("{number}.{name}"))).ok();
            let code = read("code")?.trim().parse().ok();
            Some(Ran::from(Said { code, out: read("out")?, err: read("err")? }))
        });
        Some(runs.collect())
    }
}

/// Shell for `engine run`, what it says kept in `<number>.code`, `.out` and `.err`.
fn run(number: usize) -> String {
    format!(
        "code=0; \"$ENGINE\" run pipelines/p.yaml --json > {number}.out 2> {number}.err || code=$?; echo $code > \
         {number}.code"
    )
}

#[test]
fn a_full_disk() {
    let project = Project::new(LARGE);
    std::fs::create_dir(project.path("outputs")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs outputs; {}; mount -o remount,size=64m outputs; {}; cat outputs/p/size/count > \
         count",
        run(1),
        run(2)
    );
    let Some(runs) = project.with_mounts(&script) else { return };
    runs[0].exit(1).did(&["small"]).failed(&["large"]);
    assert_eq!(runs[0].members("skipped"), ["size"]);
    runs[1].exit(0).did(&["large", "size"]);
    assert_eq!(project.text("count").trim(), "3000000");
    assert_eq!(project.lines("small.runs"), 1);
}

#[test]
fn a_disk_that_is_full_when_the_engine_writes() {
    let project = Project::new(LARGE);
    std::fs::create_dir(project.path("outputs")).unwrap();
    // All that is left of the disk is taken after the first run.
    let script = format!(
        "mount -t tmpfs -o size=8m tmpfs outputs; {}; cat /dev/zero > outputs/taken 2> /dev/null || true; echo >> \
         words; sed -i 's/echo small/echo larger/' pipelines/p.yaml; {}; rm outputs/taken; {}",
        run(1),
        run(2),
        run(3)
    );
    let Some(runs) = project.with_mounts(&script) else { return };
    runs[0].exit(0).did(&["large", "size", "small"]);
    runs[1].fails_with(&["No space left", "free some space and run again"]);
    runs[2].exit(0).did(&["large", "size", "small"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let project = Project::new(LARGE);
    project.run(&[]).exit(0);
    let script = format!(
        "mount --bind outputs outputs; mount -o remount,bind,ro outputs; {}; sed -i 's/echo small/echo other/' \
         pipelines/p.yaml; {}; rm pipelines/p.lock.yaml",
        run(1),
        run(2)
    );
    let Some(runs) = project.with_mounts(&script) else { return };
    runs[0].exit(0).did(&[]);
    runs[1].failed(&["small"]).fails_with(&["outputs", "ead-only file system", "make it writable"]);
}
