//! Which rows make a step, in which order, and the one place that shifts labels: padded token ids, and for each target
//! that carries loss the position that predicts it. Pure functions of rows, seed and epoch; knows no tensor and no model.

/// A row as far as batches depend on it.
pub trait Row {
    /// The row's name; with the seed and the epoch it decides where the row stands.
    fn id(&self) -> &str;

    /// How many of its ids are read.
    fn inputs(&self) -> usize;

    /// How many of its targets carry loss.
    fn losses(&self) -> usize;
}

impl<R: Row + ?Sized> Row for &R {
    fn id(&self) -> &str {
        (**self).id()
    }

    fn inputs(&self) -> usize {
        (**self).inputs()
    }

    fn losses(&self) -> usize {
        (**self).losses()
    }
}

/// A row whose next tokens are learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossRow {
    /// The row's name; with the seed and the epoch it decides where the row stands.
    pub id: String,
    /// Its token ids, as far as a target needs them: the last is a target itself.
    pub ids: Vec<i32>,
    /// For each id, whether it is a target that carries loss. The first never is: nothing predicts it.
    pub targets: Vec<bool>,
}

impl LossRow {
    /// A row whose ids carry loss where `loss` says so; nothing when none does. What stands after the last target
    /// cannot change the loss and is left out.
    pub fn new(id: impl Into<String>, ids: &[i32], loss: impl IntoIterator<Item = bool>) -> Option<Self> {
        let mut targets: Vec<bool> = loss.into_iter().take(ids.len()).collect();
        if let Some(first) = targets.first_mut() {
            *first = false;
        }
        let length = targets.iter().rposition(|&target| target)? + 1;
        targets.truncate(length);
        Some(Self { id: id.into(), ids: ids.iter().take(length).copied().collect(), targets })
    }
}

impl Row for LossRow {
    fn id(&self) -> &str {
        &self.id
    }

    /// All but the last.
    fn inputs(&self) -> usize {
        self.ids.len().saturating_sub(1)
    }

    fn losses(&self) -> usize {
        self.targets.iter().filter(|&&target| target).count()
    }
}

/// Batches whose rows are brought together by length: so many stand in one shuffled window.
const WINDOW: usize = 32;

/// The batches of an epoch, as indices of `rows`; every row stands in exactly one, and one batch may be smaller than
/// `size`. The order of the file plays no part. Rows of a window are sorted by length, so that a batch needs little
/// padding; the batches are then shuffled.
pub fn epoch<R: Row>(rows: &[R], seed: u64, epoch: u64, size: usize) -> Vec<Vec<usize>> {
    let size = size.max(1);
    let place = |what: &str, id: &str| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&epoch.to_le_bytes()).update(what.as_bytes()).update(id.as_bytes());
        *hasher.finalize().as_bytes()
    };
    let mut order: Vec<_> = rows.iter().enumerate().map(|(index, row)| (place("row", row.id()), index)).collect();
    order.sort_unstable();
    let mut order: Vec<usize> = order.into_iter().map(|(_, index)| index).collect();
    // Taken out before lengths are looked at: else the smaller batch would hold the longest rows, every epoch.
    let partial = order.split_off(order.len() - order.len() % size);
    let length = |index: &usize| rows.get(*index).map_or(0, Row::inputs);
    let mut batches = Vec::new();
    for window in order.chunks_mut(size * WINDOW) {
        window.sort_by_key(length);
        batches.extend(window.chunks(size).map(<[usize]>::to_vec));
    }
    if !partial.is_empty() {
        batches.push(partial);
    }
    let first = |batch: &Vec<usize>| batch.first().and_then(|index| rows.get(*index)).map(Row::id);
    batches.sort_by_cached_key(|batch| place("batch", first(batch).unwrap_or_default()));
    for batch in &mut batches {
        batch.sort_by_key(length);
    }
    batches
}

/// How many batches an epoch has.
pub fn per_epoch(rows: usize, size: usize) -> u64 {
    rows.div_ceil(size.max(1)) as u64
}

/// Rows that are computed at once, padded on the right to one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicroBatch {
    /// Token ids, row after row.
    pub ids: Vec<i64>,
    /// Rows.
    pub rows: usize,
    /// Ids in each row.
    pub length: usize,
    /// Where in [`ids`](Self::ids) the targets are predicted, rising.
    pub positions: Vec<i64>,
    /// The id that follows at each of [`positions`](Self::positions).
    pub targets: Vec<i64>,
    /// How many targets each row has.
    pub losses: Vec<usize>,
    /// Ids that are no padding.
    pub tokens: u64,
}

impl MicroBatch {
    /// Puts rows together. The position before a target predicts it: this is where labels are shifted.
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a LossRow>, padding: i64) -> Self {
        let rows: Vec<&LossRow> = rows.into_iter().collect();
        let length = rows.iter().map(|row| row.inputs()).max().unwrap_or(0);
        let mut micro = Self {
            ids: Vec::with_capacity(rows.len() * length),
            rows: rows.len(),
            length,
            positions: Vec::new(),
            targets: Vec::new(),
            losses: rows.iter().map(|row| row.losses()).collect(),
            tokens: rows.iter().map(|row| row.inputs() as u64).sum(),
        };
        for row in rows {
            let start = micro.ids.len();
            micro.ids.extend(row.ids.iter().take(row.inputs()).copied().map(i64::from));
            micro.ids.resize(start + length, padding);
            for (position, (&id, &target)) in row.ids.iter().zip(&row.targets).enumerate().skip(1) {
                if target {
                    micro.positions.push((start + position - 1) as i64);
                    micro.targets.push(i64::from(id));
                }
            }
        }
        micro
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rows(count: usize) -> Vec<LossRow> {
        (0..count)
            .map(|n| {
                let length = 3 + (n * 7919) % 50;
                LossRow::new(format!("row-{n}"), &vec![1; length], vec![true; length]).unwrap()
            })
            .collect()
    }

    fn ids(rows: &[LossRow], batches: &[Vec<usize>]) -> Vec<Vec<String>> {
        batches.iter().map(|batch| batch.iter().map(|&index| rows[index].id.clone()).collect()).collect()
    }

    #[test]
    fn every_row_stands_in_one_batch_and_the_smaller_batch_is_kept() {
        let rows = rows(103);
        let batches = epoch(&rows, 1, 0, 10);
        assert_eq!(batches.len() as u64, per_epoch(103, 10));
        let mut sizes: Vec<_> = batches.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [3, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10]);
        let all: BTreeSet<usize> = batches.into_iter().flatten().collect();
        assert_eq!(all, (0..103).collect());
    }

    #[test]
    fn order_depends_on_seed_epoch_and_ids_and_not_on_the_file() {
        let rows = rows(100);
        let here = ids(&rows, &epoch(&rows, 3, 1, 8));
        let mut turned = rows.clone();
        turned.reverse();
        turned.rotate_left(17);
        assert_eq!(ids(&turned, &epoch(&turned, 3, 1, 8)), here);
        assert_ne!(ids(&rows, &epoch(&rows, 4, 1, 8)), here);
        assert_ne!(ids(&rows, &epoch(&rows, 3, 2, 8)), here);
    }

    #[test]
    fn batches_hold_rows_of_like_length_and_do_not_come_by_length() {
        let rows = rows(1000);
        let batches = epoch(&rows, 0, 0, 10);
        let padded: usize = batches
            .iter()
            .map(|batch| batch.iter().map(|&index| rows[index].inputs()).max().unwrap() * batch.len())
            .sum();
        let read: usize = rows.iter().map(Row::inputs).sum();
        assert!((padded as f64) < 1.1 * read as f64, "{padded} positions for {read} tokens");
        let longest: Vec<usize> = batches.iter().map(|batch| rows[*batch.last().unwrap()].inputs()).collect();
        let rises = longest.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((30..70).contains(&rises), "{rises} of 99 batches are longer than the one before");
    }

    #[test]
    fn labels_are_shifted_once_and_only_targets_carry_loss() {
        let completion = LossRow::new("a", &[5, 6, 7, 8, 9], [false, false, true, true, false]).unwrap();
        let all = LossRow::new("b", &[1, 2], [true, true]).unwrap();
        assert_eq!(completion.ids, [5, 6, 7, 8]);
        let micro = MicroBatch::new([&completion, &all], 0);
        assert_eq!((micro.rows, micro.length, micro.tokens), (2, 3, 4));
        assert_eq!(micro.ids, [5, 6, 7, 1, 0, 0]);
        assert_eq!(micro.positions, [1, 2, 3]);
        assert_eq!(micro.targets, [7, 8, 2]);
        assert_eq!(micro.losses, [2, 1]);
    }

    #[test]
    fn a_row_without_a_target_is_no_row() {
        assert_eq!(LossRow::new("a", &[1, 2], [true, false]), None);
        assert_eq!(LossRow::new("a", &[], []), None);
    }
}
