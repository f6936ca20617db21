//! How sure a figure is: the standard error of a mean, or a 95 % interval by a seeded bootstrap over rows. Knows sums and
//! rows; no metric.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;

use super::Figures;

/// How sure a figure is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Uncertainty {
    /// The standard error of a mean: the sample's standard deviation over the root of the number of rows.
    StandardError(f64),
    /// The 95 % interval.
    Interval {
        /// Its lower end.
        low: f64,
        /// Its upper end.
        high: f64,
    },
}

/// How sure figures are, by their names; those that nothing is known of are left out.
pub type Uncertainties = BTreeMap<String, Uncertainty>;

/// How often rows are drawn anew.
pub const RESAMPLES: usize = 1000;

/// What the draws begin with, as sacreBLEU's.
pub const SEED: u64 = 12345;

/// What a signature says of an interval by the bootstrap.
pub fn bootstrap_signature() -> [(&'static str, String); 2] {
    [("bs", RESAMPLES.to_string()), ("seed", SEED.to_string())]
}

/// The mean of values; nothing of no value.
pub fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

/// The standard error of the mean of values; nothing of less than two.
pub fn standard_error(values: impl ExactSizeIterator<Item = f64> + Clone) -> Option<Uncertainty> {
    let count = values.len();
    let mean = mean(values.clone()).filter(|_| count > 1)?;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    Some(Uncertainty::StandardError((squares / (count - 1) as f64 / count as f64).sqrt()))
}

/// The sums over rows of their `width` numbers, which stand row after row.
pub fn sums(statistics: &[f64], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    for row in statistics.chunks_exact(width.max(1)) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums
}

/// The figures of rows that were drawn from those that were counted, by their numbers.
pub type Drawn<'a> = Box<dyn Fn(&[usize]) -> Figures + Send + Sync + 'a>;

/// The figures `of` the sums over drawn rows: `statistics` holds `width` numbers of each row, row after row.
pub fn of_drawn_sums<'a>(
    statistics: Vec<f64>,
    width: usize,
    of: impl Fn(&[f64]) -> Figures + Send + Sync + 'a,
) -> Drawn<'a> {
    Box::new(move |rows| {
        let mut sums = vec![0.0; width];
        for row in rows {
            for (sum, value) in sums.iter_mut().zip(&statistics[row * width..(row + 1) * width]) {
                *sum += value;
            }
        }
        of(&sums)
    })
}

/// The rows of one draw: as many as there are, each any of them. The same each time, whatever the thread.
pub fn drawn(rows: usize, draw: u64) -> impl Iterator<Item = usize> {
    let mut generator = ChaCha8Rng::seed_from_u64(SEED);
    generator.set_stream(draw);
    (0..rows).map(move |_| match u32::try_from(rows) {
        // The upper half of the product: all rows are as likely as 2³² numbers can be shared among them.
        Ok(rows) => ((u64::from(generator.next_u32()) * u64::from(rows)) >> 32) as usize,
        Err(_) => ((u128::from(generator.next_u64()) * rows as u128) >> 64) as usize,
    })
}

/// The intervals of the figures `of` sums over rows: `statistics` holds `width` numbers of each row, row after row.
pub fn bootstrap(statistics: &[f64], width: usize, of: impl Fn(&[f64]) -> Figures + Sync) -> Uncertainties {
    let rows = statistics.len() / width.max(1);
    intervals(rows, |draw| {
        let mut sums = vec![0.0; width];
        for row in drawn(rows, draw) {
            for (sum, value) in sums.iter_mut().zip(&statistics[row * width..(row + 1) * width]) {
                *sum += value;
            }
        }
        of(&sums)
    })
}

/// The intervals of the figures `of` counts: each row is one of `kinds`, and what is counted is how many there are of each.
pub fn bootstrap_counts(rows: &[usize], kinds: usize, of: impl Fn(&[f64]) -> Figures + Sync) -> Uncertainties {
    intervals(rows.len(), |draw| {
        let mut counts = vec![0.0; kinds];
        for row in drawn(rows.len(), draw) {
            counts[rows[row]] += 1.0;
        }
        of(&counts)
    })
}

/// From each draw's figures, the middle 95 % of each; a draw that lacks a figure is left out of its interval.
fn intervals(rows: usize, figures: impl Fn(u64) -> Figures + Send + Sync) -> Uncertainties {
    if rows < 2 {
        return Uncertainties::new();
    }
    let draws: Vec<Figures> = (0..RESAMPLES as u64).into_par_iter().map(figures).collect();
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for draw in draws {
        for (name, value) in draw {
            values.entry(name).or_default().push(value);
        }
    }
    let interval = |(name, mut values): (String, Vec<f64>)| {
        values.sort_by(f64::total_cmp);
        let beyond = values.len() / 40;
        let (low, high) = (values[beyond], values[values.len() - 1 - beyond]);
        (low.is_finite() && high.is_finite()).then_some((name, Uncertainty::Interval { low, high }))
    };
    values.into_iter().filter_map(interval).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_mean_is_that_of_a_sample() {
        let values = [1.0, 0.0, 1.0, 1.0, 0.0];
        let wanted = (0.3_f64 / 5.0).sqrt();
        let found = standard_error(values.into_iter());
        assert!(
            matches!(found, Some(Uncertainty::StandardError(found)) if (found - wanted).abs() < 1e-15),
            "{found:?}"
        );
        assert_eq!(standard_error([1.0].into_iter()), None);
        assert_eq!(mean([].into_iter()), None);
    }

    #[test]
    fn a_bootstrap_of_a_mean_is_as_wide_as_its_error_says() {
        let values: Vec<f64> = (0..2000_u32).map(|row| f64::from(row % 10)).collect();
        let found = bootstrap(&values, 1, |sums| Figures::from([("mean".to_owned(), sums[0] / 2000.0)]));
        let Some(Uncertainty::StandardError(error)) = standard_error(values.iter().copied()) else {
            panic!("no error")
        };
        let Some(Uncertainty::Interval { low, high }) = found.get("mean") else { panic!("no interval") };
        assert!((low - (4.5 - 1.96 * error)).abs() < 0.25 * error, "{low} {error}");
        assert!((high - (4.5 + 1.96 * error)).abs() < 0.25 * error, "{high} {error}");
        let again = bootstrap(&values, 1, |sums| Figures::from([("mean".to_owned(), sums[0] / 2000.0)]));
        assert_eq!(again, found, "seeded");
    }

    #[test]
    fn counts_are_drawn_as_sums_are() {
        let rows = [0, 1, 1, 0, 1];
        let statistics: Vec<f64> = rows.iter().map(|kind| *kind as f64).collect();
        let of_counts = bootstrap_counts(&rows, 2, |counts| Figures::from([("ones".to_owned(), counts[1])]));
        let of_sums = bootstrap(&statistics, 1, |sums| Figures::from([("ones".to_owned(), sums[0])]));
        assert_eq!(of_counts, of_sums);
    }
}
