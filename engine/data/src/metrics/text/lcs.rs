//! Longest common subsequences, a machine word of columns at a time: Hyyrö 2004, "Bit-parallel LCS-length computation
//! revisited". Time is the product of both lengths over 64; memory is that of the shorter text, and for places its
//! product with the root of the longer. Knows numbers; no word.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// A table's row: bit `j` is set where the subsequence with `j + 1` items is no longer than that with `j`.
type Row = Vec<u64>;

/// Where each item stands in a sequence: the machine words in which it does, and its bits there.
struct Places {
    of: HashMap<u32, Vec<(usize, u64)>, FixedState>,
    words: usize,
}

impl Places {
    fn new(items: &[u32]) -> Self {
        let mut of: HashMap<u32, Vec<(usize, u64)>, FixedState> = HashMap::default();
        for (at, item) in items.iter().enumerate() {
            let places = of.entry(*item).or_default();
            match places.last_mut() {
                Some((word, bits)) if *word == at / 64 => *bits |= 1 << (at % 64),
                _ => places.push((at / 64, 1 << (at % 64))),
            }
        }
        Self { of, words: items.len().div_ceil(64) }
    }

    /// The row below `row`, for one more item of the other sequence.
    fn step(&self, row: &mut [u64], item: u32) {
        let Some(places) = self.of.get(&item) else { return };
        let mut carry = false;
        let mut next = 0;
        let run = |row: &mut [u64], carry: &mut bool, from: usize, to: usize| {
            for bits in row.iter_mut().take(to).skip(from) {
                if !*carry {
                    break;
                }
                let (sum, over) = bits.overflowing_add(1);
                *bits |= sum;
                *carry = over;
            }
        };
        for &(word, place) in places {
            run(row, &mut carry, next, word);
            let bits = row[word];
            let (sum, first) = bits.overflowing_add(bits & place);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            row[word] = sum | (bits & !place);
            next = word + 1;
        }
        run(row, &mut carry, next, self.words);
    }

    fn first_row(&self) -> Row {
        vec![u64::MAX; self.words]
    }
}

/// How many of the first `columns` bits are not set: the length of the common subsequence.
fn unset(row: &[u64], columns: usize) -> usize {
    let whole = row.iter().take(columns / 64).map(|bits| bits.count_zeros() as usize).sum::<usize>();
    let rest = match columns % 64 {
        0 => 0,
        some => row.get(columns / 64).map_or(0, |bits| (!bits & ((1 << some) - 1)).count_ones() as usize),
    };
    whole + rest
}

/// The length of the longest common subsequence.
pub fn length(one: &[u32], other: &[u32]) -> usize {
    let (long, short) = if one.len() < other.len() { (other, one) } else { (one, other) };
    let places = Places::new(short);
    let mut row = places.first_row();
    for item in long {
        places.step(&mut row, *item);
    }
    unset(&row, short.len())
}

/// The places in `reference` of one longest common subsequence with `candidate`, ascending: of several the one that is found
/// from the ends, going back in the candidate only where that alone keeps the length.
pub fn places(reference: &[u32], candidate: &[u32]) -> Vec<usize> {
    let bits = Places::new(candidate);
    // Every `apart`-th row is kept; those between are computed again from the one above, one block at a time.
    let apart = (reference.len() as f64).sqrt().ceil().max(64.0) as usize;
    let mut kept = vec![bits.first_row()];
    let mut row = bits.first_row();
    for (at, item) in reference.iter().enumerate() {
        bits.step(&mut row, *item);
        if (at + 1) % apart == 0 {
            kept.push(row.clone());
        }
    }
    let is_unset = |row: &[u64], column: usize| row[column / 64] >> (column % 64) & 1 == 0;
    let mut found = Vec::new();
    let mut j = candidate.len();
    for (number, first) in kept.iter().enumerate().rev() {
        let begin = number * apart;
        let end = (begin + apart).min(reference.len());
        let mut rows = vec![first.clone()];
        for item in &reference[begin..end] {
            let mut next = rows[rows.len() - 1].clone();
            bits.step(&mut next, *item);
            rows.push(next);
        }
        let mut i = end;
        while i > begin && j > 0 {
            let (above, here) = (&rows[i - begin - 1], &rows[i - begin]);
            // How much longer the subsequence is than with one item of the reference less: one or nothing.
            let mut gain = unset(here, j) - unset(above, j);
            while j > 0 {
                if reference[i - 1] == candidate[j - 1] {
                    found.push(i - 1);
                    j -= 1;
                    break;
                }
                let (grows_here, grows_above) = (is_unset(here, j - 1), is_unset(above, j - 1));
                if grows_here || gain == 0 {
                    break;
                }
                gain = (gain + usize::from(grows_above)) - usize::from(grows_here);
                j -= 1;
            }
            i -= 1;
        }
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain table, and the way back through it.
    fn plain(reference: &[u32], candidate: &[u32]) -> (usize, Vec<usize>) {
        let mut table = vec![vec![0_usize; candidate.len() + 1]; reference.len() + 1];
        for (i, one) in reference.iter().enumerate() {
            for (j, other) in candidate.iter().enumerate() {
                table[i + 1][j + 1] = if one == other { table[i][j] + 1 } else { table[i][j + 1].max(table[i + 1][j]) };
            }
        }
        let (mut i, mut j, mut found) = (reference.len(), candidate.len(), Vec::new());
        while i > 0 && j > 0 {
            if reference[i - 1] == candidate[j - 1] {
                found.insert(0, i - 1);
                i -= 1;
                j -= 1;
            } else if table[i][j - 1] > table[i - 1][j] {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        (table[reference.len()][candidate.len()], found)
    }

    #[test]
    fn lengths_and_places_are_those_of_the_plain_table() {
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for case in 0..400 {
            let kinds = 1 + random(12);
            let (m, n) = if case % 10 == 0 { (random(300), random(300)) } else { (random(20), random(20)) };
            let one: Vec<u32> = (0..m).map(|_| random(kinds)).collect();
            let other: Vec<u32> = (0..n).map(|_| random(kinds)).collect();
            let (wanted, way) = plain(&one, &other);
            assert_eq!(length(&one, &other), wanted, "{one:?} {other:?}");
            assert_eq!(places(&one, &other), way, "{one:?} {other:?}");
        }
    }
}
