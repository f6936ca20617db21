//! What a command sees: its environment, its paths.

use crate::project::Project;

#[test]
fn only_declared_variables_are_visible() {
    let project = Project::new(
        r#"
stages:
  environment:
    kind: command
    run: [sh, -c, 'env | cut -d= -f1 | sort > "$1"; echo "$COLOUR" >> "$1"', sh, "${out.names}"]
    env: {COLOUR: blue}
    out: {names: names}
"#,
    );
    let output =
        project.command(&["run", "pipelines/p.yaml"]).env("SECRET", "1").env("COLOUR", "red").output().unwrap();
    assert!(output.status.success());
    let names = project.text("outputs/p/environment/names");
    let names: Vec<&str> = names.lines().filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name)).collect();
    assert_eq!(names, ["COLOUR", "HOME", "PATH", "blue"]);
}

#[test]
fn words_are_not_read_by_a_shell() {
    let project = Project::new(
        r#"
stages:
  words:
    kind: command
    run: [sh, -c, 'out=$1; shift; printf "[%s]" "$@" > "$out"', sh, "${out.text}", "a b", "$HOME; *", "", '"']
    out: {text: some/folder/text}
"#,
    );
    project.run(&[]).exit(0).did(&["words"]);
    assert_eq!(project.text("outputs/p/words/some/folder/text"), "[a b][$HOME; *][][\"]");
}
