//! Rows as a tree, so that what several of them begin with is there once: the pieces of a micro-batch, and the order of an
//! epoch that keeps such rows together. Pure functions of rows, seed and epoch; knows no tensor and no model.

use crate::batches::{LossRow, Row};

/// The fewest tokens that are worth being shared: a shared piece makes the attention of its rows one block.
const LEAST: usize = 16;

/// A piece of text that stands behind another, or begins a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins among all ids.
    pub start: usize,
    /// How many ids it has.
    pub length: usize,
    /// Its number among all pieces.
    pub number: usize,
    /// The number of the piece that it goes on from; that stands before this one.
    pub parent: Option<usize>,
}

/// The rows of a micro-batch, each shared piece once, one piece behind the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forest {
    /// Token ids.
    pub ids: Vec<i64>,
    /// The position of each id in its text.
    pub places: Vec<i64>,
    /// The pieces, in the order of their ids, each after its parent.
    pub pieces: Vec<Piece>,
    /// Where in [`ids`](Self::ids) the targets are predicted, row after row.
    pub positions: Vec<i64>,
    /// The id that follows at each of [`positions`](Self::positions).
    pub targets: Vec<i64>,
}

/// Rows of a sorted list that begin alike, and how many of their ids do.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: usize,
    end: usize,
    alike: usize,
}

impl Group {
    fn is_single(&self) -> bool {
        self.end - self.first == 1
    }
}

/// The ids of a row that are read.
fn read(row: &LossRow) -> &[i32] {
    row.ids.get(..row.inputs()).unwrap_or_default()
}

/// How many ids two lists have in common at their front.
fn common(a: &[i32], b: &[i32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The groups that a group of sorted rows falls into behind its first `depth` ids: each of one row, or of rows that have
/// [`LEAST`] ids or more in common behind those.
fn groups(rows: &[&[i32]], Group { first, end, .. }: Group, depth: usize) -> Vec<Group> {
    let mut found = Vec::new();
    let mut open = vec![(first, end)];
    while let Some((first, end)) = open.pop() {
        let (Some(row), Some(last)) = (rows.get(first), rows.get(end.wrapping_sub(1))) else { continue };
        if end - first == 1 {
            found.push(Group { first, end, alike: row.len() });
            continue;
        }
        // The rows are sorted: what the first and the last have in common all have.
        let alike = common(row, last);
        if alike >= depth + LEAST {
            found.push(Group { first, end, alike });
            continue;
        }
        let next = |at: usize| rows.get(at).and_then(|row| row.get(alike));
        let mut begun = first;
        for at in first + 1..=end {
            // Rows that end here are alone, all others go together by their next id.
            if at == end || next(at) != next(begun) || next(begun).is_none() {
                open.push((begun, at));
                begun = at;
            }
        }
    }
    found.sort_unstable_by_key(|group| group.first);
    found
}

/// All rows, sorted by their ids: their numbers, and what is read of them.
fn sorted<'a>(rows: &[&'a LossRow]) -> (Vec<usize>, Vec<&'a [i32]>) {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let of = |number: &usize| rows.get(*number).map(|row| (read(row), row.id.as_str()));
    order.sort_by(|a, b| of(a).cmp(&of(b)));
    let ids = order.iter().filter_map(|number| rows.get(*number)).map(|row| read(row)).collect();
    (order, ids)
}

impl Forest {
    /// Puts rows together, each by itself, short ones first. Targets stand in the order of the rows.
    pub fn apart(rows: &[&LossRow]) -> Self {
        let mut order: Vec<(usize, &LossRow)> = rows.iter().copied().enumerate().collect();
        order.sort_by_key(|(_, row)| row.inputs());
        let mut forest = Self::default();
        let mut pieces = vec![0; rows.len()];
        for (number, row) in order {
            let piece = forest.add(read(row), 0, None);
            pieces.iter_mut().skip(number).take(1).for_each(|of_row| *of_row = piece);
        }
        for (row, piece) in rows.iter().zip(pieces) {
            forest.predict(row, &[piece]);
        }
        forest
    }

    /// Puts rows together, what several begin with once. Targets stand in the order of the rows.
    pub fn shared(rows: &[&LossRow]) -> Self {
        let (order, sorted) = sorted(rows);
        let mut forest = Self::default();
        // The pieces that make up each row.
        let mut paths: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
        let mut open: Vec<(Group, usize, Vec<usize>)> = Vec::new();
        let all = Group { first: 0, end: sorted.len(), alike: 0 };
        open.extend(groups(&sorted, all, 0).into_iter().rev().map(|group| (group, 0, Vec::new())));
        while let Some((group, depth, mut path)) = open.pop() {
            let Some(ids) = sorted.get(group.first).and_then(|ids| ids.get(depth..group.alike)) else { continue };
            if !ids.is_empty() {
                path.push(forest.add(ids, depth, path.last().copied()));
            }
            if group.is_single() {
                if let Some(of_row) = order.get(group.first).and_then(|&number| paths.get_mut(number)) {
                    *of_row = path;
                }
            } else {
                // The last that is put on comes next: what stands behind a piece follows it at once.
                let below = groups(&sorted, group, group.alike);
                open.extend(below.into_iter().rev().map(|below| (below, group.alike, path.clone())));
            }
        }
        for (row, path) in rows.iter().zip(&paths) {
            forest.predict(row, path);
        }
        forest
    }

    fn add(&mut self, ids: &[i32], depth: usize, parent: Option<usize>) -> usize {
        let number = self.pieces.len();
        self.pieces.push(Piece { start: self.ids.len(), length: ids.len(), number, parent });
        self.ids.extend(ids.iter().copied().map(i64::from));
        self.places.extend((depth..depth + ids.len()).map(|place| place as i64));
        number
    }

    /// The position before a target predicts it: this is where labels are shifted.
    fn predict(&mut self, row: &LossRow, path: &[usize]) {
        let pieces = path.iter().filter_map(|&piece| self.pieces.get(piece));
        let places: Vec<usize> = pieces.flat_map(|piece| piece.start..piece.start + piece.length).collect();
        for ((&id, &target), &place) in row.ids.iter().zip(&row.targets).skip(1).zip(&places) {
            if target {
                self.positions.push(place as i64);
                self.targets.push(i64::from(id));
            }
        }
    }

    /// The pieces that see each other, with what follows them: the pieces of one tree stand together.
    pub fn trees(&self) -> Vec<&[Piece]> {
        self.pieces.chunk_by(|_, next| next.parent.is_some()).collect()
    }
}

/// The batches of an epoch, as indices of `rows`; every row stands in exactly one, and one batch may be smaller than
/// `size`. Rows that begin alike stand together, as far as that goes; what goes on from the same ids comes in shuffled
/// order, and so do the batches. The order of the file plays no part.
pub fn epoch(rows: &[LossRow], seed: u64, epoch: u64, size: usize) -> Vec<Vec<usize>> {
    let place = |what: &str, id: &str| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&epoch.to_le_bytes()).update(what.as_bytes()).update(id.as_bytes());
        *hasher.finalize().as_bytes()
    };
    let rows: Vec<&LossRow> = rows.iter().collect();
    let (order, sorted) = sorted(&rows);
    let name = |at: usize| order.get(at).and_then(|&number| rows.get(number)).map_or("", |row| row.id.as_str());
    let mut walked = Vec::with_capacity(rows.len());
    let mut open = vec![(Group { first: 0, end: sorted.len(), alike: 0 }, 0)];
    while let Some((group, depth)) = open.pop() {
        if group.is_single() {
            walked.extend(order.get(group.first).copied());
            continue;
        }
        let mut below = groups(&sorted, group, depth);
        below.sort_by_cached_key(|below| place("row", name(below.first)));
        open.extend(below.into_iter().map(|below| (below, below.alike)));
    }
    let mut batches: Vec<Vec<usize>> = walked.chunks(size.max(1)).map(<[usize]>::to_vec).collect();
    let first = |batch: &Vec<usize>| batch.first().and_then(|&number| rows.get(number)).map(|row| row.id.as_str());
    batches.sort_by_cached_key(|batch| place("batch", first(batch).unwrap_or_default()));
    batches
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn row(id: usize, parts: &[(i32, usize)], targets: usize) -> LossRow {
        let ids: Vec<i32> = parts.iter().flat_map(|&(first, count)| (first..).take(count)).collect();
        let loss = (0..ids.len()).map(|at| at + targets >= ids.len());
        LossRow::new(format!("row-{id}"), &ids, loss).unwrap()
    }

    /// What each target sees, itself with it: read off the forest, and off its row.
    #[track_caller]
    fn reads_as_its_rows(rows: &[LossRow]) -> Forest {
        let forest = Forest::shared(&rows.iter().collect::<Vec<_>>());
        let mut found = forest.positions.iter().zip(&forest.targets);
        for row in rows {
            for (place, _) in row.targets.iter().enumerate().filter(|(_, target)| **target) {
                let (&position, &target) = found.next().unwrap();
                assert_eq!(target, i64::from(row.ids[place]));
                let mut seen = Vec::new();
                let mut position = position as usize;
                let mut piece = forest.pieces.iter().position(|p| (p.start..p.start + p.length).contains(&position));
                while let Some(at) = piece {
                    let Piece { start, parent, .. } = forest.pieces[at];
                    seen.extend((start..=position).rev().map(|at| (forest.places[at], forest.ids[at])));
                    position =
                        parent.map_or(0, |parent| forest.pieces[parent].start + forest.pieces[parent].length - 1);
                    assert!(parent.is_none_or(|parent| parent < at));
                    piece = parent;
                }
                seen.reverse();
                let wanted: Vec<(i64, i64)> = (0..).zip(row.ids[..place].iter().map(|&id| i64::from(id))).collect();
                assert_eq!(seen, wanted);
            }
        }
        assert!(found.next().is_none());
        forest
    }

    #[test]
    fn what_rows_begin_with_is_there_once() {
        // Two contexts behind one beginning of 20 ids, three questions each; one row of its own; one that goes on from
        // another; one with a beginning that is too short to be shared.
        let mut rows = Vec::new();
        for context in [100, 200] {
            for question in [1000, 2000, 3000] {
                rows.push(row(rows.len(), &[(0, 20), (context, 50), (question, 9)], 3));
            }
        }
        rows.push(row(rows.len(), &[(500, 40)], 2));
        rows.push(row(rows.len(), &[(500, 70)], 60));
        rows.push(row(rows.len(), &[(0, 5), (700, 30)], 1));
        let forest = reads_as_its_rows(&rows);
        let read: usize = rows.iter().map(Row::inputs).sum();
        let once = 20 + 2 * 50 + 6 * 8 + 69 + 34;
        assert_eq!((forest.ids.len(), read), (once, 6 * 78 + 39 + 69 + 34));
        let trees: Vec<usize> = forest.trees().iter().map(|tree| tree.len()).collect();
        assert_eq!(trees, [9, 1, 2]);
    }

    #[test]
    fn rows_that_are_alike_and_rows_of_one_token() {
        let rows = [
            row(0, &[(0, 30)], 4),
            row(1, &[(0, 30)], 9),
            row(2, &[(0, 2)], 1),
            row(3, &[(7, 2)], 1),
            row(4, &[(0, 30)], 29),
        ];
        let forest = reads_as_its_rows(&rows);
        assert_eq!(forest.ids.len(), 29 + 1 + 1);
    }

    fn many() -> Vec<LossRow> {
        let row = |n: usize| row(n, &[(0, 20), (1000 * (n / 7) as i32, 40), (100_000 + n as i32, 3 + n % 5)], 2);
        (0..203).map(row).collect()
    }

    #[test]
    fn an_epoch_has_each_row_once_and_keeps_what_begins_alike_together() {
        let rows = many();
        let batches = epoch(&rows, 1, 0, 7);
        let all: BTreeSet<usize> = batches.iter().flatten().copied().collect();
        assert_eq!((all.len(), batches.iter().map(Vec::len).sum::<usize>()), (203, 203));
        assert!(batches.iter().all(|batch| batch.iter().all(|n| n / 7 == batch[0] / 7)), "{batches:?}");
        let contexts: Vec<usize> = batches.iter().map(|batch| batch[0] / 7).collect();
        let rises = contexts.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((8..=20).contains(&rises), "{contexts:?}");
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch_and_not_on_the_file() {
        let rows = many();
        let names = |rows: &[LossRow], batches: Vec<Vec<usize>>| -> Vec<Vec<String>> {
            batches.iter().map(|batch| batch.iter().map(|&row| rows[row].id.clone()).collect()).collect()
        };
        let here = names(&rows, epoch(&rows, 3, 1, 8));
        let mut turned = rows.clone();
        turned.reverse();
        turned.rotate_left(17);
        assert_eq!(names(&turned, epoch(&turned, 3, 1, 8)), here);
        assert_ne!(names(&rows, epoch(&rows, 4, 1, 8)), here);
        assert_ne!(names(&rows, epoch(&rows, 3, 2, 8)), here);
    }
}
