//! Which prompts are continued together: those that have much in common, and of those that have not, the ones of like
//! length. Knows ids alone.

use std::cmp::Reverse;

use super::Prompt;

/// The prompts by index, in batches of at most `size`. It depends on the prompts alone.
pub fn batches(prompts: &[Prompt], size: usize) -> Vec<Vec<usize>> {
    let mut sorted: Vec<(usize, &[i64])> =
        prompts.iter().enumerate().map(|(at, prompt)| (at, prompt.ids.as_slice())).collect();
    sorted.sort_by_key(|&(_, ids)| ids);
    // A family has at least half of its ids in common, from neighbour to neighbour.
    let mut families = sorted
        .chunk_by(|(_, one), (_, other)| 2 * common(one, other) >= one.len().max(other.len()))
        .map(|family| (family.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0), family))
        .collect::<Vec<_>>();
    families.sort_by_key(|(longest, _)| Reverse(*longest));
    let ordered: Vec<usize> = families.into_iter().flat_map(|(_, family)| family.iter().map(|(at, _)| *at)).collect();
    ordered.chunks(size.max(1)).map(<[usize]>::to_vec).collect()
}

/// How many ids two texts begin with alike.
pub fn common(one: &[i64], other: &[i64]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stay_together_and_long_ones_come_first() {
        let prompt = |ids: &[i64]| Prompt { name: String::new(), ids: ids.to_vec() };
        let prompts = [
            prompt(&[9, 9]),
            prompt(&[1, 2, 3, 4, 5]),
            prompt(&[7, 1, 1, 1, 1, 1, 1]),
            prompt(&[1, 2, 3, 8]),
            prompt(&[9, 8]),
        ];
        assert_eq!(batches(&prompts, 2), [vec![2, 1], vec![3, 4], vec![0]]);
        assert_eq!(batches(&prompts, 100), [vec![2, 1, 3, 4, 0]]);
        assert!(batches(&[], 3).is_empty());
    }
}
