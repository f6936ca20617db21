//! How prompts are read so that what several of them begin with is read once: in waves over their columns, each over the
//! distinct beginnings up to its end. Knows ids alone.

use super::order::common;

/// What a wave costs beside its tokens, in tokens: the overhead of a pass, and the copies of the rows that part.
const PASS: usize = 64;

/// One pass over some columns of the prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// The columns.
    pub columns: std::ops::Range<usize>,
    /// For each of its rows: a prompt that has this beginning.
    pub prompts: Vec<usize>,
    /// For each of its rows: the row of the wave before with the columns before.
    pub parents: Vec<usize>,
    /// For each prompt: its row.
    pub row_of: Vec<usize>,
}

/// The waves that cost least. The last one has a row for each distinct prompt.
pub fn waves(prompts: &[&[i64]]) -> Vec<Wave> {
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    let ids = |at: usize| prompts.get(at).copied().unwrap_or_default();
    order.sort_by(|&one, &other| ids(one).cmp(ids(other)));
    // Up to how many columns a prompt is like the one before it; equal ones are always.
    let alike: Vec<usize> = order
        .windows(2)
        .map(|pair| match pair {
            &[one, other] if ids(one) != ids(other) => common(ids(one), ids(other)),
            _ => usize::MAX,
        })
        .collect();
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    let distinct = |columns: usize| 1 + alike.iter().filter(|&&alike| alike < columns).count();
    // The cheapest way to each place where prompts part.
    let mut places: Vec<usize> = alike.iter().copied().filter(|&at| at > 0 && at < longest).collect();
    places.extend([0, longest]);
    places.sort_unstable();
    places.dedup();
    let mut best = vec![(0, 0)];
    for (to, &end) in places.iter().enumerate().skip(1) {
        let rows = distinct(end);
        let costs = best
            .iter()
            .zip(&places)
            .enumerate()
            .take(to)
            .map(|(from, ((cost, _), &start))| (cost + rows * (end - start) + PASS, from));
        best.push(costs.min().unwrap_or((0, 0)));
    }
    let mut cuts = vec![places.len() - 1];
    while let Some(&at) = cuts.last().filter(|&&at| at > 0) {
        cuts.push(best.get(at).map_or(0, |&(_, from)| from));
    }
    cuts.reverse();
    let cuts: Vec<usize> = cuts.into_iter().filter_map(|at| places.get(at).copied()).collect();
    let mut before = vec![0; prompts.len()];
    let mut waves = Vec::new();
    for pair in cuts.windows(2) {
        let &[start, end] = pair else { continue };
        let (mut of_row, mut parents, mut row_of) = (Vec::new(), Vec::new(), vec![0; prompts.len()]);
        for (place, &prompt) in order.iter().enumerate() {
            if place == 0 || alike.get(place - 1).is_some_and(|&alike| alike < end) {
                of_row.push(prompt);
                parents.push(before.get(prompt).copied().unwrap_or(0));
            }
            if let Some(row) = row_of.get_mut(prompt) {
                *row = of_row.len() - 1;
            }
        }
        before.clone_from(&row_of);
        waves.push(Wave { columns: start..end, prompts: of_row, parents, row_of });
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every prompt, put together again from the rows of the waves.
    fn read(prompts: &[&[i64]], waves: &[Wave]) -> Vec<Vec<i64>> {
        let mut rows: Vec<Vec<i64>> = vec![Vec::new()];
        for wave in waves {
            rows = wave
                .prompts
                .iter()
                .zip(&wave.parents)
                .map(|(&prompt, &parent)| {
                    let mut row = rows[parent].clone();
                    row.extend(wave.columns.clone().filter_map(|at| prompts[prompt].get(at)));
                    row
                })
                .collect();
        }
        waves.last().unwrap().row_of.iter().map(|&row| rows[row].clone()).collect()
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
    fn equal_prompts_are_read_once_and_short_ones_are_no_beginning_of_others() {
        let long: Vec<i64> = (0..300).collect();
        let prompts: [&[i64]; 4] = [&long, &long[..200], &long, &long[..200]];
        let waves = waves(&prompts);
        assert_eq!(read(&prompts, &waves), prompts);
        assert_eq!(waves.last().unwrap().prompts.len(), 2);
        assert_eq!(waves.last().unwrap().row_of, [1, 0, 1, 0]);
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
