//! How prompts are read so that what several of them begin with is read once: in waves over their columns, each over the
//! distinct beginnings up to its end. Knows ids alone.

use std::ops::Range;

use super::order::common;

/// What a wave costs beside its tokens, in tokens: the overhead of a pass, and the copies of the rows that part.
const PASS: usize = 64;

/// Places that are considered as ends of waves.
const PLACES: usize = 96;

/// One pass over some columns of those prompts that have any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// The columns.
    pub columns: Range<usize>,
    /// For each of its rows: a prompt that has this beginning.
    pub prompts: Vec<usize>,
    /// For each of its rows: the row of the wave before with the columns before.
    pub parents: Vec<usize>,
    /// For each prompt: its row, if it has one.
    pub row_of: Vec<Option<usize>>,
}

/// Prompts in the order of their ids, with how far each is like the one before it.
struct Sorted<'a> {
    /// A prompt's index and ids, and how many of them it has in common with the one before it; equal ones have all.
    texts: Vec<(usize, &'a [i64], usize)>,
}

impl<'a> Sorted<'a> {
    fn new(prompts: &[&'a [i64]]) -> Self {
        let mut order: Vec<(usize, &[i64])> = prompts.iter().copied().enumerate().collect();
        order.sort_by_key(|&(_, ids)| ids);
        let mut texts: Vec<(usize, &[i64], usize)> = Vec::new();
        for (at, ids) in order {
            let alike = match texts.last() {
                None => 0,
                Some((_, before, _)) if *before == ids => usize::MAX,
                Some((_, before, _)) => common(before, ids),
            };
            texts.push((at, ids, alike));
        }
        Self { texts }
    }

    /// Those that have some of these columns, each with whether it is the first with its beginning up to their end.
    fn rows(&self, columns: Range<usize>) -> impl Iterator<Item = (usize, bool)> + '_ {
        // Of prompts in order, two have in common what all between them have.
        let mut alike = 0;
        self.texts.iter().filter_map(move |(at, ids, with_last)| {
            alike = alike.min(*with_last);
            if ids.len() <= columns.start {
                return None;
            }
            let first = alike < columns.end;
            alike = usize::MAX;
            Some((*at, first))
        })
    }

    /// Where waves may end: where prompts part, and where they end.
    fn places(&self) -> Vec<usize> {
        let longest = self.texts.iter().map(|(_, ids, _)| ids.len()).max().unwrap_or(0);
        let mut places: Vec<usize> = self.texts.iter().flat_map(|(_, ids, alike)| [ids.len(), *alike]).collect();
        places.retain(|&place| place > 0 && place < longest);
        places.sort_unstable();
        places.dedup();
        let step = places.len().div_ceil(PLACES).max(1);
        let mut places: Vec<usize> = places.into_iter().step_by(step).collect();
        places.insert(0, 0);
        places.push(longest);
        places
    }
}

/// The waves that cost least.
pub fn waves(prompts: &[&[i64]]) -> Vec<Wave> {
    let sorted = Sorted::new(prompts);
    let places = sorted.places();
    // The cheapest way to each place: what it costs, and the place before.
    let mut best = vec![(0, 0)];
    for (to, &end) in places.iter().enumerate().skip(1) {
        let ways = best.iter().zip(&places).enumerate().take(to).map(|(from, ((cost, _), &start))| {
            let rows = sorted.rows(start..end).filter(|(_, first)| *first).count();
            (cost + rows * (end - start) + PASS, from)
        });
        best.push(ways.min().unwrap_or((0, 0)));
    }
    let mut cuts = vec![places.len() - 1];
    while let Some(&at) = cuts.last().filter(|&&at| at > 0) {
        cuts.push(best.get(at).map_or(0, |&(_, from)| from));
    }
    cuts.reverse();
    let cuts: Vec<usize> = cuts.into_iter().filter_map(|at| places.get(at).copied()).collect();
    let mut before = vec![Some(0); prompts.len()];
    let mut waves = Vec::new();
    for pair in cuts.windows(2) {
        let &[start, end] = pair else { continue };
        // The distinct beginnings in the order of the first prompts that have them, so that prompts without much in common
        // stay where they are.
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (prompt, first) in sorted.rows(start..end) {
            match groups.last_mut() {
                Some(group) if !first => group.push(prompt),
                _ => groups.push(vec![prompt]),
            }
        }
        groups.sort_by_key(|group| group.iter().min().copied());
        let with: Vec<usize> = groups.iter().filter_map(|group| group.iter().min().copied()).collect();
        let parents = with.iter().map(|&prompt| before.get(prompt).copied().flatten().unwrap_or(0)).collect();
        let mut row_of = vec![None; prompts.len()];
        for (row, group) in groups.iter().enumerate() {
            for &prompt in group {
                if let Some(slot) = row_of.get_mut(prompt) {
                    *slot = Some(row);
                }
            }
        }
        before.clone_from(&row_of);
        waves.push(Wave { columns: start..end, prompts: with, parents, row_of });
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The prompts that end in a wave, each with its row.
    fn ending<'a>(wave: &'a Wave, prompts: &'a [&[i64]]) -> impl Iterator<Item = (usize, usize)> + 'a {
        let rows = prompts.iter().zip(&wave.row_of).enumerate();
        rows.filter(|(_, (ids, _))| ids.len() <= wave.columns.end).filter_map(|(at, (_, row))| Some((at, (*row)?)))
    }

    /// Every prompt, put together again from the rows of the waves.
    fn read(prompts: &[&[i64]], waves: &[Wave]) -> Vec<Vec<i64>> {
        let mut rows: Vec<Vec<i64>> = vec![Vec::new()];
        let mut found = vec![Vec::new(); prompts.len()];
        for wave in waves {
            let row = |(&prompt, &parent): (&usize, &usize)| {
                let mut row: Vec<i64> = rows[parent].clone();
                row.extend(wave.columns.clone().filter_map(|at| prompts[prompt].get(at)));
                row
            };
            rows = wave.prompts.iter().zip(&wave.parents).map(row).collect();
            for (prompt, row) in ending(wave, prompts) {
                assert!(found[prompt].is_empty());
                found[prompt].clone_from(&rows[row]);
            }
        }
        found
    }

    fn cost(waves: &[Wave]) -> usize {
        waves.iter().map(|wave| wave.prompts.len() * wave.columns.len()).sum()
    }

    #[test]
    fn what_prompts_share_is_read_once() {
        // An instruction of 100, two contexts of 80 and 90, three questions each.
        let text = |context: i64, length: usize, question: i64| {
            let mut ids: Vec<i64> = (0..100).collect();
            ids.extend(std::iter::repeat_n(1000 + context, length));
            ids.extend(std::iter::repeat_n(2000 + question, 10));
            ids
        };
        let texts = [text(0, 80, 0), text(1, 90, 1), text(0, 80, 2), text(1, 90, 3), text(0, 80, 4), text(1, 90, 5)];
        let prompts: Vec<&[i64]> = texts.iter().map(Vec::as_slice).collect();
        let waves = waves(&prompts);
        assert_eq!(read(&prompts, &waves), texts);
        assert_eq!(waves[0].columns, 0..100);
        assert_eq!(waves[0].prompts.len(), 1);
        assert!(cost(&waves) <= 100 + 2 * 80 + 6 * 20, "{waves:?}");
    }

    #[test]
    fn texts_without_much_in_common_are_read_in_one_pass() {
        let prompts: [&[i64]; 3] = [&[1, 2, 3], &[1, 2, 4, 5], &[7]];
        let waves = waves(&prompts);
        assert_eq!(waves.len(), 1);
        assert_eq!(read(&prompts, &waves), prompts);
    }

    #[test]
    fn a_prompt_that_has_ended_is_not_read_on() {
        let long: Vec<i64> = (0..500).collect();
        let short: Vec<Vec<i64>> = (0..20).map(|at| vec![1000 + at; 10]).collect();
        let mut prompts: Vec<&[i64]> = short.iter().map(Vec::as_slice).collect();
        prompts.push(&long);
        let waves = waves(&prompts);
        assert_eq!(read(&prompts, &waves), prompts);
        assert_eq!(cost(&waves), 21 * 10 + 490);
    }

    #[test]
    fn equal_prompts_are_read_once_and_short_ones_are_no_beginning_of_others() {
        let long: Vec<i64> = (0..300).collect();
        let prompts: [&[i64]; 4] = [&long, &long[..200], &long, &long[..200]];
        let waves = waves(&prompts);
        assert_eq!(read(&prompts, &waves), prompts);
        assert!(cost(&waves) <= 300, "{waves:?}");
        assert_eq!(waves.last().unwrap().row_of, [Some(0), None, Some(0), None]);
        assert_eq!(read(&[&[5]], &super::waves(&[&[5]])), [[5]]);
    }

    #[test]
    fn any_prompts_are_put_together_again() {
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % below) as usize
        };
        for _ in 0..200 {
            let mut texts: Vec<Vec<i64>> = Vec::new();
            for _ in 0..1 + next(12) {
                let kept = texts.get(next(12)).map(|text| text[..next(text.len() as u64 + 1)].to_vec());
                let mut text = kept.unwrap_or_default();
                text.extend((0..1 + next(60)).map(|_| next(3) as i64));
                texts.push(text);
            }
            let prompts: Vec<&[i64]> = texts.iter().map(Vec::as_slice).collect();
            assert_eq!(read(&prompts, &waves(&prompts)), texts);
        }
    }
}
