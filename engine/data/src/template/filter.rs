//! Which rows an expression wants, written as in a template over the row's columns. Knows rows; does not know splits.

use std::sync::Arc;

use minijinja::{Environment, Value};
use rayon::prelude::*;

use super::{FUEL, place, strict, values};
use crate::{
    Error,
    rows::{Rows, row_name},
};

/// For each row, whether the expression is true of it. An error of the first row that has one.
///
/// # Errors
/// When the expression is none, or fails for a row, such as for a column that the row lacks.
pub fn wanted(expression: &str, rows: &Rows) -> Result<Vec<bool>, Error> {
    let mut environment = Environment::new();
    strict(&mut environment);
    environment.set_fuel(Some(FUEL));
    let compiled = environment.compile_expression(expression).map_err(|error| {
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        Error::new(format!("`{expression}` is no expression: {detail}"))
            .hint("write it as in a template, without braces: `label == 1 and text|length > 20`")
    })?;
    let of_row = |number: usize| {
        let columns = Arc::new(values::Columns(rows.row(number)?.into_owned()));
        let value = compiled.eval(Value::from_dyn_object(Arc::clone(&columns))).map_err(|error| {
            let failed = place::error(&error, Some(&columns.0));
            let hint = failed.hint.filter(|hint| !hint.contains("template"));
            let hint = hint.unwrap_or_else(|| "mend the expression, or the row".to_owned());
            Error::new(failed.message).at(row_name(number, &rows.id(number))).hint(hint)
        })?;
        Ok(value.is_true())
    };
    let all: Vec<Result<bool, Error>> = (0..rows.len()).into_par_iter().map(of_row).collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(value: serde_json::Value) -> Rows {
        Rows::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn an_expression_is_true_of_some_rows() {
        let rows = rows(json!([{"label": 1, "text": "a b"}, {"label": 0, "text": "a"}, {"label": 1, "text": ""}]));
        for (expression, expected) in [
            ("label == 1", [true, false, true]),
            ("text", [true, true, false]),
            ("label == 1 and text|length > 2", [true, false, false]),
            ("'b' in text or not label", [true, true, false]),
            ("text is startingwith('a')", [true, true, false]),
        ] {
            assert_eq!(wanted(expression, &rows).unwrap(), expected, "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_said_of_a_row_names_it() {
        let rows = rows(json!([{"label": 1}, {"lable": 1}]));
        let error = wanted("label == 1", &rows).unwrap_err();
        assert_eq!((error.message.as_str(), error.place.as_deref()), ("the row has no column `label`", Some("row 2")));
        assert_eq!(error.hint.as_deref(), Some("did you mean `lable`?"));
        assert!(wanted("label ==", &rows).unwrap_err().message.contains("`label ==` is no expression"));
    }
}
