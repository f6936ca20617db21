//! What a loss is a mean of: the weight that each row's summed loss gets. Knows how many targets rows have; no network.

use super::Examples;

/// What a loss is a mean of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Normalize {
    /// All targets of the batch alike, however many micro-batches it is computed in.
    #[default]
    Tokens,
    /// The rows' own means.
    Rows,
    /// The micro-batches' means over their targets, as scripts that divide each by itself have it.
    Micro,
}

/// A row by its index, and what its summed loss is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighed {
    /// The row's index.
    pub row: usize,
    /// The factor.
    pub weight: f64,
}

impl Normalize {
    /// The weights of a batch's `rows`, of which `micro` are computed at once; with them, the sum over the rows is the
    /// batch's loss.
    pub fn weigh(self, examples: &dyn Examples, rows: &[usize], micro: usize) -> Vec<Weighed> {
        let losses = |row: usize| examples.row(row).map_or(0, |row| row.losses()).max(1) as f64;
        let all = |rows: &[usize]| -> f64 {
            rows.iter().map(|&row| examples.row(row).map_or(0, |row| row.losses())).sum::<usize>().max(1) as f64
        };
        let weighed = |weight: f64| move |&row: &usize| Weighed { row, weight };
        match self {
            Self::Tokens => rows.iter().map(weighed(1.0 / all(rows))).collect(),
            Self::Rows => {
                let count = rows.len() as f64;
                rows.iter().map(|&row| Weighed { row, weight: 1.0 / (losses(row) * count) }).collect()
            }
            Self::Micro => {
                let parts = rows.chunks(micro.max(1));
                let count = parts.len() as f64;
                parts.flat_map(|part| part.iter().map(weighed(1.0 / (all(part) * count)))).collect()
            }
        }
    }

    /// The weights of all `rows` for a loss in evaluation, and what their weighed sum is divided by. Evaluation knows no
    /// micro-batches: there it is the mean over all targets.
    pub fn over_all(self, examples: &dyn Examples, rows: &[usize]) -> (Vec<Weighed>, f64) {
        let losses = |row: usize| examples.row(row).map_or(0, |row| row.losses());
        match self {
            Self::Tokens | Self::Micro => {
                let weights = rows.iter().map(|&row| Weighed { row, weight: 1.0 }).collect();
                (weights, rows.iter().map(|&row| losses(row)).sum::<usize>() as f64)
            }
            Self::Rows => {
                let weight = |row| 1.0 / losses(row).max(1) as f64;
                (rows.iter().map(|&row| Weighed { row, weight: weight(row) }).collect(), rows.len() as f64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::LossRow;
    use crate::objectives::LanguageModel;

    fn examples() -> LanguageModel {
        let rows = [2, 4, 3].map(|targets| {
            let ids = vec![1; targets + 1];
            LossRow::new(format!("{targets}"), &ids, vec![true; ids.len()]).unwrap()
        });
        LanguageModel::new(rows.into())
    }

    fn weights(normalize: Normalize, micro: usize) -> Vec<f64> {
        normalize.weigh(&examples(), &[0, 1, 2], micro).iter().map(|weighed| weighed.weight).collect()
    }

    #[test]
    fn each_normalisation_weighs_as_it_says() {
        assert_eq!(weights(Normalize::Tokens, 2), [1.0 / 9.0; 3]);
        assert_eq!(weights(Normalize::Rows, 2), [1.0 / 6.0, 1.0 / 12.0, 1.0 / 9.0]);
        assert_eq!(weights(Normalize::Micro, 2), [1.0 / 12.0, 1.0 / 12.0, 1.0 / 6.0]);
        assert_eq!(weights(Normalize::Micro, 3), weights(Normalize::Tokens, 3));
        let (rows, divisor) = Normalize::Rows.over_all(&examples(), &[2, 0]);
        assert_eq!(rows, [Weighed { row: 2, weight: 1.0 / 3.0 }, Weighed { row: 0, weight: 0.5 }]);
        assert_eq!(divisor, 2.0);
        assert_eq!(Normalize::Micro.over_all(&examples(), &[0, 1]).1, 6.0);
    }
}
