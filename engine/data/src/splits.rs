//! How a split's rows are chosen and ordered: shuffled, divided, taken, permuted. Knows rows by number and column;
//! does not know how they were read. The same choice on every machine and with any number of threads.

use std::collections::HashMap;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde_json::Value;
use spec::stage::{HoldOut, Permute, Preprocess, Split, Take, WholeGroups};

use crate::{
    Error,
    rows::{Row, Rows, row_name},
    template::filter,
};

/// The rows of a split: numbers into the source, in order, and the source each row's permuted column is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Rows of the source.
    pub rows: Vec<usize>,
    /// The column whose value comes from another row, and from which row of the source, in the order of `rows`.
    pub permuted: Option<(String, Vec<usize>)>,
}

/// Chooses the rows of the split `name` from all rows of its source: those that `where` wants, `shuffle`d, then `hold_out`
/// or `rest_of`, then `take`, then `permute`. Which rows are held out depends on the source and on the `where` and
/// `hold_out` of one split alone, so that a split and the rest of it are together exactly the source, where neither has
/// a `where`.
///
/// # Errors
/// When a column is missing, when more rows are held out than there are, or when no row is left.
pub fn select(settings: &Preprocess, name: &str, split: &Split, source: &Rows) -> Result<Selection, Error> {
    let total = source.len();
    let empty =
        |why: String| Err(Error::new(format!("the split `{name}` has no rows: {why}")).at(format!("split `{name}`")));
    if total == 0 {
        return empty(format!("its source `{}` is empty", split.from.0.join(", ")))
            .map_err(|error: Error| error.hint("check the file, or leave this split out"));
    }
    let wanted = wanted(source, split, name)?;
    if wanted.is_empty() {
        return empty(format!("its `where` is true of none of {total}"))
            .map_err(|error| error.hint("in CSV and TSV every value is text: `label == \"1\"`, or `label|int == 1`"));
    }
    let mut order = wanted.clone();
    if let Some(seeded) = &split.shuffle {
        shuffle(&mut order, &mut generator(seeded.seed, Purpose::Shuffle));
    }
    if let Some(hold_out) = &split.hold_out {
        let held = held_out(source, wanted, hold_out, name)?;
        order.retain(|row| held[*row]);
    } else if let Some(other) = &split.rest_of {
        let other_split = settings.splits.get(other);
        let Some((other_split, hold_out)) = other_split.and_then(|split| Some((split, split.hold_out.as_ref()?)))
        else {
            return Err(Error::new(format!("the split `{other}` holds nothing out")).at(format!("split `{name}`")));
        };
        let held = held_out(source, self::wanted(source, other_split, other)?, hold_out, other)?;
        order.retain(|row| !held[*row]);
        if order.is_empty() {
            return empty(format!("`{other}` holds out all {total} rows"))
                .map_err(|error| error.hint(format!("hold out fewer rows, here {}", hold_out.rows)));
        }
    }
    match &split.take {
        Take::All => {}
        Take::Rows(rows) => order.truncate(*rows),
        Take::Groups(WholeGroups { rows, by }) => {
            let mut count = 0;
            let mut taken = vec![false; total];
            for group in groups(source, &order, by, name)? {
                if count >= *rows {
                    break;
                }
                count += group.len();
                for row in group {
                    taken[row] = true;
                }
            }
            order.retain(|row| taken[*row]);
        }
    }
    let permuted = match &split.permute {
        None => None,
        Some(permute) => Some((permute.column.clone(), permuted(source, &order, permute, name)?)),
    };
    Ok(Selection { rows: order, permuted })
}

impl Selection {
    /// A row of the split, its permuted column exchanged.
    ///
    /// # Errors
    /// When the rows' file can no longer be read.
    pub fn row(&self, source: &Rows, position: usize) -> Result<Row, Error> {
        let mut row = source.row(self.rows[position])?.into_owned();
        if let Some((column, from)) = &self.permuted
            && let Some(value) = source.row(from[position])?.get(column)
        {
            row.insert(column.clone(), value.clone());
        }
        Ok(row)
    }
}

/// What a stream of random numbers is for: streams of one seed do not repeat each other.
#[derive(Clone, Copy)]
enum Purpose {
    Shuffle = 1,
    HoldOut = 2,
    Permute = 3,
}

fn generator(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(purpose as u64);
    random
}

/// A number below `bound`, each equally likely (Lemire 2019, "Fast random integer generation in an interval").
fn below(random: &mut ChaCha8Rng, bound: u64) -> u64 {
    let refused = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(random.next_u64()) * u128::from(bound);
        if product as u64 >= refused {
            return (product >> 64) as u64;
        }
    }
}

/// Every order equally likely (Fisher and Yates).
fn shuffle<T>(items: &mut [T], random: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(random, last as u64 + 1) as usize);
    }
}

/// Rows of equal value in a column, in the order in which the values first come.
fn groups(source: &Rows, rows: &[usize], column: &str, split: &str) -> Result<Vec<Vec<usize>>, Error> {
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for row in rows {
        let columns = source.row(*row)?;
        let Some(value) = columns.get(column) else {
            return Err(Error::new(format!("a row has no column `{column}`"))
                .at(format!("split `{split}`, {}", row_name(*row, &source.id(*row))))
                .hint(spec::suggest::did_you_mean(column, columns.keys().map(String::as_str))));
        };
        let group = *known.entry(key(value)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(*row);
    }
    Ok(groups)
}

/// A text that is equal for equal values alone.
fn key(value: &Value) -> String {
    value.to_string()
}

/// The rows that a split's `where` wants, in the order of the source.
fn wanted(source: &Rows, split: &Split, name: &str) -> Result<Vec<usize>, Error> {
    let all = 0..source.len();
    let Some(expression) = &split.filter else { return Ok(all.collect()) };
    let wanted = filter::wanted(expression, source).map_err(|error| {
        let row = error.place.as_ref().map(|row| format!(", {row}")).unwrap_or_default();
        error.at(format!("split `{name}`, setting `where`{row}"))
    })?;
    Ok(all.filter(|row| wanted[*row]).collect())
}

/// Whether each row of the source is held out; some of `all` are.
fn held_out(source: &Rows, all: Vec<usize>, hold_out: &HoldOut, split: &str) -> Result<Vec<bool>, Error> {
    let total = all.len();
    if hold_out.rows > total {
        return Err(Error::new(format!("`hold_out` wants {} rows and there are {total}", hold_out.rows))
            .at(format!("split `{split}`"))
            .hint(format!("hold out fewer than {total}")));
    }
    let mut units = match &hold_out.by {
        Some(column) => groups(source, &all, column, split)?,
        None => all.into_iter().map(|row| vec![row]).collect(),
    };
    shuffle(&mut units, &mut generator(hold_out.seed, Purpose::HoldOut));
    let mut held = vec![false; source.len()];
    let mut count = 0;
    for unit in units {
        if count >= hold_out.rows {
            break;
        }
        count += unit.len();
        for row in unit {
            held[row] = true;
        }
    }
    Ok(held)
}

/// For each row, the row whose value it gets. Rows are laid out group by group, equal values together, and moved on by
/// the size of the largest group: then a row keeps its own value only where more than half of all rows share it.
fn permuted(source: &Rows, order: &[usize], permute: &Permute, split: &str) -> Result<Vec<usize>, Error> {
    let mut random = generator(permute.seed, Purpose::Permute);
    let mut groups = groups(source, order, &permute.column, split)?;
    if groups.len() < 2 {
        return Err(Error::new(format!(
            "the column `{}` has the same value in all {} rows: there is nothing to exchange",
            permute.column,
            order.len()
        ))
        .at(format!("split `{split}`"))
        .hint("permute a column whose values differ, or take more rows"));
    }
    shuffle(&mut groups, &mut random);
    let largest = groups.iter().map(Vec::len).max().unwrap_or_default();
    let mut rows = Vec::with_capacity(order.len());
    for mut group in groups {
        shuffle(&mut group, &mut random);
        rows.extend(group);
    }
    let moved = |position: usize| rows[(position + largest) % rows.len()];
    let from: HashMap<usize, usize> = rows.iter().enumerate().map(|(position, row)| (*row, moved(position))).collect();
    Ok(order.iter().map(|row| from[row]).collect())
}

#[cfg(test)]
mod tests;
