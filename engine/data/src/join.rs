//! Rows of another stage put into rows, by a column; and names in the place of a column's numbers. Knows rows by their
//! columns; does not know how they were read.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use spec::stage::{Join, Missing, Relation};

use crate::{Error, rows::Row};

/// Puts into each row, under `join.column`, the one of `others` whose value is its own. Says how many rows were left out
/// because there is none.
///
/// # Errors
/// When a column is missing or empty, when two of the others have the same value, when a row has no partner or shares it
/// and may not.
pub fn join(rows: Vec<Row>, others: Vec<Row>, join: &Join) -> Result<(Vec<Row>, usize), Error> {
    let their = join.their.as_ref().unwrap_or(&join.on);
    let mut partners: HashMap<String, (usize, Row)> = HashMap::with_capacity(others.len());
    for (number, other) in others.into_iter().enumerate() {
        let key = key(&other, their).map_err(|error| at(error, "the joined rows", number))?;
        if let Some((first, _)) = partners.get(&key) {
            return Err(at(
                Error::new(format!("its `{their}`, `{key}`, is that of row {} too", first + 1)),
                "the joined rows",
                number,
            )
            .hint("each of the joined rows must have a value of its own in this column"));
        }
        partners.insert(key, (number, other));
    }
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut joined = Vec::with_capacity(rows.len());
    let mut dropped = 0;
    for (number, mut row) in rows.into_iter().enumerate() {
        if row.contains_key(&join.column) {
            return Err(at(
                Error::new(format!("the row has a column `{}` already", join.column)),
                "the joining rows",
                number,
            )
            .hint("give the joined row another name: `as: …`"));
        }
        let key = key(&row, &join.on).map_err(|error| at(error, "the joining rows", number))?;
        if join.relation == Relation::OneToOne
            && let Some(first) = taken.insert(key.clone(), number)
        {
            return Err(at(
                Error::new(format!("its `{}`, `{key}`, is that of row {} too", join.on, first + 1)),
                "the joining rows",
                number,
            )
            .hint("if rows may share a partner, say `relation: many_to_one`"));
        }
        let partner = match (partners.get(&key), join.missing) {
            (Some((_, partner)), _) => Value::Object(partner.clone()),
            (None, Missing::Keep) => Value::Null,
            (None, Missing::Drop) => {
                dropped += 1;
                continue;
            }
            (None, Missing::Fail) => {
                return Err(at(
                    Error::new(format!("no joined row has `{key}` in its column `{their}`")),
                    "the joining rows",
                    number,
                )
                .hint("say what becomes of such rows: `missing: drop` or `missing: keep`"));
            }
        };
        row.insert(join.column.clone(), partner);
        joined.push(row);
    }
    Ok((joined, dropped))
}

fn at(error: Error, which: &str, number: usize) -> Error {
    error.at(format!("setting `join`, {which}, row {}", number + 1))
}

/// The value that rows are joined by, as text.
fn key(row: &Row, column: &str) -> Result<String, Error> {
    match row.get(column) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(value)) => Ok(value.to_string()),
        Some(_) => Err(Error::new(format!("its `{column}` is neither a text nor a number"))
            .hint("join by a column of texts or numbers, none of them empty")),
        None => Err(no_column(row, column)),
    }
}

fn no_column(row: &Row, column: &str) -> Error {
    Error::new(format!("the row has no column `{column}`"))
        .hint(spec::suggest::did_you_mean(column, row.keys().map(String::as_str)))
}

/// Puts the names of values in the place of whole numbers, those of a file of text too. Null stays null.
///
/// # Errors
/// When a row lacks the column, or when its value has no name.
pub fn name_values(rows: &mut [Row], names: &BTreeMap<String, Vec<String>>) -> Result<(), Error> {
    for (column, names) in names {
        for (number, row) in rows.iter_mut().enumerate() {
            let place = |error: Error| error.at(format!("setting `names.{column}`, row {}", number + 1));
            let named = match row.get(column) {
                None => return Err(place(no_column(row, column))),
                Some(Value::Null) => continue,
                Some(Value::Number(value)) => value.as_u64(),
                Some(Value::String(text)) => text.parse().ok(),
                Some(Value::Bool(value)) => Some(u64::from(*value)),
                Some(_) => None,
            }
            .and_then(|value| names.get(usize::try_from(value).ok()?));
            let Some(name) = named else {
                let value = row.get(column).map(Value::to_string).unwrap_or_default();
                return Err(place(Error::new(format!("the value {value} has no name"))).hint(format!(
                    "values are whole numbers from 0 to {}, as many as there are names",
                    names.len() - 1
                )));
            };
            row.insert(column.clone(), Value::String(name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(value: Value) -> Vec<Row> {
        serde_json::from_value(value).unwrap()
    }

    fn joined(settings: &str, left: Value, right: Value) -> Result<(Vec<Row>, usize), Error> {
        let settings: Value = serde_json::from_str(settings).unwrap();
        let mut all = json!({"with": "others", "from": "x", "on": "id", "as": "other"});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        join(rows(left), rows(right), &serde_json::from_value(all).unwrap())
    }

    #[test]
    fn rows_find_their_partner_by_text_or_number() {
        let (found, dropped) = joined(
            r#"{"their": "key"}"#,
            json!([{"id": 2}, {"id": "1"}, {"id": 2}]),
            json!([{"key": "2", "x": "two"}, {"key": 1, "x": "one"}]),
        )
        .unwrap();
        let texts: Vec<&str> = found.iter().map(|row| row["other"]["x"].as_str().unwrap()).collect();
        assert_eq!((texts, dropped), (vec!["two", "one", "two"], 0));
    }

    #[test]
    fn a_row_without_a_partner_is_told_dropped_or_kept() {
        let (left, right) = (json!([{"id": 1}, {"id": 2}]), json!([{"id": 1}]));
        let error = joined("{}", left.clone(), right.clone()).unwrap_err();
        assert_eq!(error.message, "no joined row has `2` in its column `id`");
        assert_eq!(error.place.as_deref(), Some("setting `join`, the joining rows, row 2"));
        let (found, dropped) = joined(r#"{"missing": "drop"}"#, left.clone(), right.clone()).unwrap();
        assert_eq!((found.len(), dropped), (1, 1));
        let (found, dropped) = joined(r#"{"missing": "keep"}"#, left, right).unwrap();
        assert_eq!((found[1]["other"].clone(), dropped), (Value::Null, 0));
    }

    #[test]
    fn what_is_not_one_to_one_is_told() {
        let (left, right) = (json!([{"id": 1}, {"id": 1}]), json!([{"id": 1}]));
        assert_eq!(joined("{}", left.clone(), right.clone()).unwrap().0.len(), 2);
        let error = joined(r#"{"relation": "one_to_one"}"#, left, right.clone()).unwrap_err();
        assert!(error.message.contains("is that of row 1 too") && error.place.unwrap().contains("joining rows, row 2"));
        let error = joined("{}", json!([{"id": 1}]), json!([{"id": "1"}, {"id": 1}])).unwrap_err();
        assert!(error.place.unwrap().contains("the joined rows, row 2"));
        let error = joined("{}", json!([{"id": 1, "other": 2}]), right.clone()).unwrap_err();
        assert!(error.message.contains("a column `other` already"));
        let error = joined("{}", json!([{"ids": 1}]), right).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `ids`?"));
    }

    #[test]
    fn numbers_get_names() {
        let names = BTreeMap::from([("label".to_owned(), vec!["no".to_owned(), "yes".to_owned()])]);
        let mut some = rows(json!([{"label": 1}, {"label": "0"}, {"label": null}]));
        name_values(&mut some, &names).unwrap();
        assert_eq!(json!(some), json!([{"label": "yes"}, {"label": "no"}, {"label": null}]));
        for wrong in [json!(2), json!(-1), json!("x"), json!(0.5)] {
            let error = name_values(&mut rows(json!([{"label": 0}, {"label": wrong}])), &names).unwrap_err();
            assert_eq!(error.place.as_deref(), Some("setting `names.label`, row 2"), "{error}");
        }
        let error = name_values(&mut rows(json!([{"lable": 0}])), &names).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `lable`?"));
    }
}
