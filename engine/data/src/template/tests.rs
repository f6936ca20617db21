//! Rendering rows by templates, and the mistakes of templates.

use std::fs;

use serde_json::json;

use super::*;

fn load(files: &[(&str, &str)]) -> Result<Template, Error> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Template::load(folder.path(), files[0].0)
}

fn template(text: &str) -> Template {
    load(&[("t.jinja", text)]).unwrap()
}

fn row(value: serde_json::Value) -> Row {
    value.as_object().unwrap().clone()
}

fn prompt(text: &str, value: serde_json::Value) -> String {
    template(&format!("{{% block prompt %}}{text}{{% endblock %}}\n")).render(row(value)).unwrap().prompt.unwrap()
}

#[test]
fn white_space_is_kept_exactly() {
    assert_eq!(prompt("\n  a {{ x }}\t\n\n", json!({"x": " <b> & \"q\" "})), "\n  a  <b> & \"q\" \t\n\n");
    assert_eq!(prompt("{%- if true %} a\n{% endif -%}\n b", json!({})), " a\nb");
    assert_eq!(prompt("{% for x in xs %}{{ x }}\n{% endfor %}", json!({"xs": [1, 2.5, true]})), "1\n2.5\nTrue\n");
}

#[test]
fn blocks_are_columns() {
    let template = template(
        "{% set intro = 'Q: ' %}{% block prompt %}{{ intro }}{{ q }}{% endblock %}
{% block completion %} {{ a[0] }}{% endblock %}
{% block references %}
  {{ a|tojson }}
{% endblock %}{% block choices %}[\"x\", \"y\"]{% endblock %}{% block label %} x
{% endblock %}",
    );
    let rendered = template.render(row(json!({"q": "Why?", "a": ["it's <so>", "é"]}))).unwrap();
    assert_eq!(rendered.prompt.as_deref(), Some("Q: Why?"));
    assert_eq!(rendered.completion.as_deref(), Some(" it's <so>"));
    assert_eq!(rendered.references, Some(vec!["it's <so>".into(), "é".into()]));
    assert_eq!(rendered.choices, Some(vec!["x".into(), "y".into()]));
    assert_eq!(rendered.label.as_deref(), Some("x"));
    assert_eq!(rendered.spans, [Span { field: "q".into(), start: 3, end: 7 }]);
}

#[test]
fn pairs_are_prompts_and_completions() {
    let template = template(
        "{% block prompt %}{{ context }}{% endblock %}{% block pairs %}[{% for qa in qas %}[{{ ('\n' ~ qa.q)|tojson }}, \
         {{ qa.a|tojson }}]{% if not loop.last %},{% endif %}{% endfor %}]{% endblock %}",
    );
    let rendered =
        template.render(row(json!({"context": "C", "qas": [{"q": "1", "a": "x"}, {"q": "2", "a": "y"}]}))).unwrap();
    assert_eq!(rendered.pairs, Some(vec![("\n1".into(), "x".into()), ("\n2".into(), "y".into())]));
}

#[test]
fn spans_are_columns_that_stand_once_and_unchanged() {
    let template = template(
        "{% block prompt %}{{ a }}|{{ b|upper }}|{{ c }}{{ c }}|{{ d }}|the{% include 'e.jinja' ignore missing %}{% endblock %}",
    );
    let rendered = template.render(row(json!({"a": "ü1", "b": "b", "c": "c", "d": "the", "unused": 1}))).unwrap();
    let prompt = rendered.prompt.unwrap();
    let found: Vec<(&str, &str)> =
        rendered.spans.iter().map(|span| (span.field.as_str(), &prompt[span.start..span.end])).collect();
    assert_eq!(found, [("a", "ü1"), ("d", "the")]);
    assert_eq!(rendered.spans[1].start, prompt.find("the|").unwrap());
}

#[test]
fn a_missing_column_has_its_place_and_the_nearest_one() {
    let template = template("{% block prompt %}\n{{ a }}\n{{ contxt }}{% endblock %}");
    let error = template.render(row(json!({"a": 1, "context": "c"}))).unwrap_err();
    assert_eq!(error.place.as_deref(), Some("templates/t.jinja:3"));
    assert_eq!(error.message, "the row has no column `contxt`");
    assert_eq!(error.hint.as_deref(), Some("did you mean `context`?"));
    let template = self::template("{% block prompt %}{{ answers.txt[0] }}{% endblock %}");
    let error = template.render(row(json!({"answers": {"text": ["x"]}}))).unwrap_err();
    assert!(error.hint.unwrap().contains("did you mean `text`?"));
}

#[test]
fn wrong_templates_are_refused() {
    let refused = |files: &[(&str, &str)]| load(files).unwrap_err().to_string();
    assert_eq!(
        refused(&[("t.jinja", "\n{% block promt %}{% endblock %}")]),
        "templates/t.jinja:2: `promt` is no block of a template (did you mean `prompt`?)"
    );
    assert!(refused(&[("t.jinja", "x")]).contains("neither a block `prompt` nor a block `pairs`"));
    assert!(
        refused(&[("t.jinja", "{% block prompt %}\n{{ a + }}{% endblock %}")]).starts_with("templates/t.jinja:2: ")
    );
    assert!(
        refused(&[("t.jinja", "{% include 'other.jnja' %}"), ("other.jinja", "")])
            .contains("did you mean `other.jinja`?")
    );
    assert!(refused(&[("t.jinja", "{% include '../../etc/passwd' %}")]).contains("not below `templates/`"));
    assert!(refused(&[("t.jinja", "{% include name %}")]).contains("does not write out the name"));
}

#[test]
fn rendering_mistakes_are_told() {
    let error = |text: &str| template(text).render(row(json!({"a": "x", "n": 100000000}))).unwrap_err().to_string();
    let lost = error("{% block prompt %}a{% endblock %} lost words");
    assert!(lost.contains("text outside its blocks"), "{lost}");
    let json = error("{% block prompt %}a{% endblock %}{% block references %}{{ a }}{% endblock %}");
    assert!(json.contains("`references` is not a JSON list of texts") && json.contains("begins `x`"), "{json}");
    let endless = error(
        "{% block prompt %}{% for i in range(10000) %}{% for j in range(10000) %}{{ a }}{% endfor %}{% endfor %}{% endblock %}",
    );
    assert!(endless.contains("takes too long"), "{endless}");
    let method = error("{% block prompt %}{{ a.strip() }}{% endblock %}");
    assert!(method.contains("`text|trim`"), "{method}");
}

#[test]
fn what_a_template_reads_is_known_before() {
    let files = [
        (
            "deep/t.jinja",
            "{% extends \"base.jinja\" %}{% from 'macros.jinja' import shout %}{# {% include 'no' %} #}\n{% block prompt %}{{ shout(a) }}{% include 'tail.jinja' %}{% endblock %}",
        ),
        ("base.jinja", "{% block prompt %}{% endblock %}{% block completion %} base {{ a }}{% endblock %}"),
        ("macros.jinja", "{% macro shout(text) %}{{ text|upper }}!{% endmacro %}"),
        ("tail.jinja", " {{ tail }}"),
        ("unused.jinja", "{% block unknown %}{% endblock %}"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let read = template_files(folder.path(), "deep/t.jinja").unwrap();
    assert_eq!(read, ["deep/t.jinja", "base.jinja", "macros.jinja", "tail.jinja"].map(|name| folder.path().join(name)));
    let rendered = load(&files).unwrap().render(row(json!({"a": "x", "tail": "end"}))).unwrap();
    assert_eq!(rendered.prompt.as_deref(), Some("X! end"));
    assert_eq!(rendered.completion.as_deref(), Some(" base x"));
    let (templates, name) = folder_of(std::path::Path::new("/p/templates/squad/a.jinja")).unwrap();
    assert_eq!((templates.to_str(), name.as_str()), (Some("/p/templates"), "squad/a.jinja"));
    assert!(folder_of(std::path::Path::new("/p/a.jinja")).is_err());
}
