//! Pipeline files that would fill the memory, the stack or the day of whoever checks them: a few lines that expand
//! without measure. Each is refused with a message, at once.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use crate::project::{FILE, Project};

/// Refused, soon, with these words.
#[track_caller]
fn refused(pipeline: &str, words: &[&str]) {
    let project = Project::new(pipeline);
    let begun = Instant::now();
    project.engine(&["check", FILE]).exit(2).warns(words);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// A stage that uses `${vars.a9}`.
const LAST: &str = "stages:\n  s: {kind: command, run: [echo, '${vars.a9}'], out: {a: b}}\n";

/// Ten variables, each made of ten of the one before.
fn tenfold(first: &str, next: impl Fn(&str) -> String) -> String {
    let mut text = format!("vars:\n  a0: {first}\n");
    for number in 1..10 {
        writeln!(text, "  a{number}: {}", next(&format!("${{vars.a{}}}", number - 1))).unwrap();
    }
    text + LAST
}

#[test]
fn aliases_of_aliases() {
    let mut text = "vars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for number in 1..10 {
        let before = format!("*a{}", number - 1);
        writeln!(text, "  a{number}: &a{number} [{}]", [before.as_str(); 10].join(", ")).unwrap();
    }
    refused(&(text + LAST), &["this is no YAML", "repetition limit"]);
}

#[test]
fn variables_of_variables() {
    let list = |variable: &str| format!("[{}]", vec![format!("'{variable}'"); 10].join(", "));
    refused(&tenfold("[x, x, x]", list), &["expand without measure", "at most 16 MiB"]);
    refused(&tenfold("xxxxxxxxxx", |variable| format!("'{}'", variable.repeat(10))), &["expand without measure"]);
    let mut chain = "vars:\n  x0: x\n".to_owned();
    for number in 1..20_000 {
        writeln!(chain, "  x{number}: '${{vars.x{}}}'", number - 1).unwrap();
    }
    refused(&format!("{chain}{}", LAST.replace("a9", "x19999")), &["expand without measure", "100 deep"]);
}

#[test]
fn brackets_in_brackets() {
    let deep = format!("vars: {{a9: {}{}}}\n{LAST}", "[".repeat(200_000), "]".repeat(200_000));
    refused(&deep, &["brackets are open 1000 deep"]);
    let less = format!("vars: {{a9: {}{}}}\n{LAST}", "[".repeat(500), "]".repeat(500));
    refused(&less, &["this is no YAML", "recursion limit"]);
}

#[test]
fn axes_times_axes() {
    let axes: Vec<String> = (0..12).map(|axis| format!("a{axis}: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]")).collect();
    let uses: Vec<String> = (0..12).map(|axis| format!("'${{matrix.a{axis}}}'")).collect();
    let stage = |axes: &str, uses: &str| {
        format!("stages:\n  s: {{kind: command, matrix: {{{axes}}}, run: [echo, {uses}], out: {{a: b}}}}\n")
    };
    let words = ["1000000000000 combinations", "at most 100000"];
    refused(&stage(&axes.join(", "), &uses.join(", ")), &words);
    // Each stage has ten, and follows those of the one before.
    let mut chain = "stages:\n".to_owned();
    for (number, axis) in axes.iter().enumerate().take(9) {
        let (reads, word) = match number {
            0 => (String::new(), ""),
            _ => (format!(", in: {{p: s{}/a}}", number - 1), ", '${in.p}'"),
        };
        writeln!(
            chain,
            "  s{number}: {{kind: command, matrix: {{{axis}}}, run: [echo, '${{matrix.a{number}}}'{word}], out: {{a: b}}{reads}}}"
        )
        .unwrap();
    }
    refused(&chain, &["more than 100000 members", "fix some of them with a selector"]);
}

#[test]
fn lines_that_nobody_can_read() {
    refused(&format!("vars: {{{}: 1}}\nstages: {{}}\n", "k".repeat(1_000_000)), &["pipelines/p.yaml:"]);
    refused(
        &format!("vars: {{a9: '{}'}}\n{LAST}", "x".repeat(50_000) + "${"),
        &["pipelines/p.yaml:", "without its `}`"],
    );
}
