//! What is said of targets that mean nothing: what the model has instead. Knows names and roles.

use super::{Place, Role};
use crate::error::{Error, nearest, some_of};

/// An error that lists what the model has, by the last part of each name and by one whole name.
pub(super) fn nothing(problem: &str, places: &[&Place], wanted: Option<&str>) -> Error {
    let mut last_parts: Vec<&str> = Vec::new();
    for place in places.iter().filter(|place| place.slice.is_none()) {
        let last = place.name.rsplit('.').next().unwrap_or(&place.name);
        if !last_parts.contains(&last) {
            last_parts.push(last);
        }
    }
    let names = places.iter().filter(|place| place.slice.is_none()).map(|place| place.name.as_str());
    let near = wanted.and_then(|wanted| nearest(wanted, last_parts.iter().copied()).or_else(|| nearest(wanted, names)));
    let has = format!("{}{}", last_parts.join(", "), slices(places));
    let example = some_of(places.first().map(|place| place.name.as_str()));
    if let Some(slice) = wanted.and_then(|wanted| slice_called(wanted, places)) {
        let whole = slice.name.rsplit('.').nth(1).unwrap_or_default();
        let hint = format!("name this slice of `{whole}` by its role, `{}`; the model has: {has}", slice.role);
        return Error::setting("targets", problem, hint);
    }
    let hint = match near {
        Some(near) => format!("did you mean `{near}`? The model has: {has}; a whole name is {example}"),
        None => format!("the model has: {has}; a whole name is {example}"),
    };
    Error::setting("targets", problem, hint)
}

/// The slice that a map would be that other families call `wanted`, such as `q_proj`.
fn slice_called<'p>(wanted: &str, places: &[&'p Place]) -> Option<&'p Place> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let (wanted, slices) = (last(wanted), places.iter().copied().filter(|place| place.slice.is_some()));
    let is_meant = |part: &str| wanted.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest == "_proj");
    slices.into_iter().find(|place| is_meant(&last(&place.name)))
}

/// What is said of slices, where a model has some.
fn slices(places: &[&Place]) -> String {
    let is_slice = |role: &Role| places.iter().any(|place| place.slice.is_some() && role.covers(place.role));
    let roles: Vec<_> = Role::all().filter(is_slice).map(Role::name).collect();
    match roles.is_empty() {
        true => String::new(),
        false => format!(" (slices of these are meant by their roles: {})", roles.join(", ")),
    }
}
