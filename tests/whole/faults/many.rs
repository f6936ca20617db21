//! Ten thousand stages, as a chain and as a fan. In the full form alone: a first run of them takes a minute or two.

use std::fmt::Write;

use super::is_full;
use crate::project::{FILE, Project};

/// Commands that each read one file: that of the project, or that of the stage before.
fn pipeline(count: usize, is_chain: bool) -> String {
    let mut text = "stages:\n".to_owned();
    for number in 0..count {
        let reads = match number {
            0 => "{path: words.txt}".to_owned(),
            _ if is_chain => format!("s{}/text", number - 1),
            _ => "{path: words.txt}".to_owned(),
        };
        writeln!(
            text,
            "  s{number}: {{kind: command, in: {{a: {reads}}}, out: {{text: text}}, run: [sh, -c, 'read word rest < \"$1\"; echo \
             \"{number} $word\" > \"$2\"', sh, '${{in.a}}', '${{out.text}}']}}"
        )
        .unwrap();
    }
    text
}

#[test]
fn chains_and_fans() {
    let count = if is_full() { 10_000 } else { 300 };
    for is_chain in [true, false] {
        let project = Project::new(&pipeline(count, is_chain));
        project.file("words.txt", "word\n");
        project.engine(&["plan", FILE]).exit(0).says(&["up to date"]);
        let ran = project.run(&[]);
        assert_eq!(ran.exit(0).members("finished").len(), count);
        let before = if is_chain { (count - 2).to_string() } else { "word".to_owned() };
        assert_eq!(project.text(&format!("outputs/p/s{}/text", count - 1)), format!("{} {before}\n", count - 1));
        project.run(&[]).exit(0).did(&[]);
        project.engine(&["plan", FILE]).exit(0).says(&[&format!("{count} up to date")]);
    }
}
