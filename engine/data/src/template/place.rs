//! minijinja's errors with the template's file and line, and the column that is missing. Knows rows by their columns.

use minijinja::ErrorKind;

use crate::{Error, rows::Row};

/// An error of a template; of rendering a row where there is one.
pub(super) fn error(error: &minijinja::Error, row: Option<&Row>) -> Error {
    let place = match (error.name(), error.line()) {
        (Some(name), Some(line)) => format!("templates/{name}:{line}"),
        (Some(name), None) => format!("templates/{name}"),
        _ => "template".to_owned(),
    };
    // An error inside an include or a macro has its cause as source: the innermost one says what went wrong.
    if let Some(inner) = std::error::Error::source(error).and_then(|inner| inner.downcast_ref::<minijinja::Error>()) {
        return self::error(inner, row);
    }
    let expression = error.template_source().zip(error.range()).and_then(|(source, range)| source.get(range));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match (error.kind(), row, named_undefined(&detail).or(expression)) {
        (ErrorKind::UndefinedError, Some(row), Some(expression)) => undefined(expression, row).at(place),
        (ErrorKind::OutOfFuel, ..) => Error::new("the template takes too long to render a row")
            .at(place)
            .hint("look for a loop over a large range, or a macro that calls itself"),
        (ErrorKind::SyntaxError, ..) => {
            Error::new(format!("this is no valid template: {detail}")).at(place).hint("mend the template at this line")
        }
        (ErrorKind::UnknownMethod, ..) => Error::new(detail)
            .at(place)
            .hint("use a filter: `text|trim`, `text|upper`, `text|replace(\"a\", \"b\")`, `list|join(\", \")`"),
        (_, _, Some(expression)) => Error::new(format!("`{}`: {detail}", expression.trim()))
            .at(place)
            .hint("mend the template at this line, or the row"),
        _ => Error::new(detail).at(place).hint("mend the template at this line"),
    }
}

/// The expression of "… `expression` is undefined …", which is where the value came from.
fn named_undefined(detail: &str) -> Option<&str> {
    let before = &detail[..detail.find("` is undefined")?];
    before.rfind('`').map(|start| &before[start + 1..])
}

fn undefined(expression: &str, row: &Row) -> Error {
    let expression = expression.trim();
    let columns = || row.keys().map(String::as_str);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let head: String = expression.chars().take_while(|c| word(*c)).collect();
    if !head.is_empty() && !row.contains_key(&head) {
        return Error::new(format!("the row has no column `{head}`")).hint(match columns().next() {
            Some(_) => spec::suggest::did_you_mean(&head, columns()),
            None => "the row is empty".to_owned(),
        });
    }
    let hint = match row.get(&head) {
        Some(serde_json::Value::Object(inner)) => {
            let wanted: String =
                expression[head.len()..].trim_start_matches('.').chars().take_while(|c| word(*c)).collect();
            format!("inside `{head}`: {}", spec::suggest::did_you_mean(&wanted, inner.keys().map(String::as_str)))
        }
        _ => "give it a value where it is absent: `|default(\"\")`".to_owned(),
    };
    Error::new(format!("`{expression}` is undefined in this row")).hint(hint)
}
