//! Texts on the device one behind the other, without padding, what several begin with once: token ids, the position of each
//! in its text, what each sees, and which of their states are asked for. Knows no layer.

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use super::attention::AttentionMask;
use super::blocks::{Block, Side, Together};
use super::virtual_tokens::VirtualTokens;
use crate::error::Result;
use crate::prefix_tree::{Forest, Piece};

/// What a method puts before every text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Front {
    /// Virtual tokens.
    pub tokens: usize,
    /// Keys and values, before the virtual tokens.
    pub keys: usize,
}

/// Texts one behind the other.
#[derive(Debug)]
pub struct Packed {
    /// Token ids, `[1, tokens]`.
    ids: Tensor,
    /// The position of each token in its text, virtual ones among them, `[1, length]`.
    pub places: Tensor,
    /// Where each of those comes from: of the virtual tokens with the texts' own behind them. None without virtual ones.
    order: Option<Tensor>,
    groups: Vec<Group>,
    keys: i64,
    /// For each state that is asked for, where it stands: among all, or among [`few`](Self::few). None: all, in order.
    asked: Option<Tensor>,
    few: Option<Tensor>,
}

/// Texts that attention takes at once, or pieces that see each other.
#[derive(Debug)]
struct Group {
    /// How many tokens each text has.
    lengths: Vec<usize>,
    start: i64,
    /// For pieces that see each other: the piece of each token, and which pieces each piece sees, `[pieces, pieces]`.
    branches: Option<(Tensor, Tensor)>,
    /// Where the few stand in each text, `[texts, few]`.
    few: Option<Tensor>,
}

/// What the tokens see of their texts.
#[derive(Debug)]
pub struct Sight {
    /// Of all tokens.
    pub all: Vec<Block>,
    /// Of the few whose states are asked for, where these are few.
    pub few: Option<Vec<Block>>,
}

impl Packed {
    /// The texts of a micro-batch, of which the states at the forest's positions are asked for.
    pub fn new(forest: &Forest, front: Front, device: Device) -> Result<Self> {
        Self::grouped(forest, front, Together::on(device), device)
    }

    fn grouped(forest: &Forest, front: Front, together: Together, device: Device) -> Result<Self> {
        let trees = forest.trees();
        let starts: Vec<usize> = trees.iter().filter_map(|pieces| pieces.first()).map(|piece| piece.start).collect();
        let length = |pieces: &[Piece]| front.tokens + pieces.iter().map(|piece| piece.length).sum::<usize>();
        // In the tree of each target, where it stands.
        let wanted: Vec<(usize, usize)> = forest
            .positions
            .iter()
            .map(|&position| {
                let position = position as usize;
                let tree = starts.partition_point(|&start| start <= position).saturating_sub(1);
                (tree, position - starts.get(tree).copied().unwrap_or(0) + front.tokens)
            })
            .collect();
        let mut of_tree = vec![BTreeSet::new(); trees.len()];
        for &(tree, place) in &wanted {
            of_tree.iter_mut().skip(tree).take(1).for_each(|places| {
                places.insert(place);
            });
        }
        let total: usize = trees.iter().map(|pieces| length(pieces)).sum();
        let are_few = 2 * of_tree.iter().map(BTreeSet::len).sum::<usize>() <= total;
        let (mut groups, mut begun, mut start) = (Vec::new(), 0, 0);
        // Where each tree begins, virtual tokens with it, and where its few begin among all few.
        let (mut begins, mut few_begin, mut few) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(&first) = trees.get(begun) {
            let joins = |pieces: &&[Piece]| {
                first.len() == 1 && pieces.len() == 1 && together.takes(length(first), length(pieces))
            };
            let count = trees.iter().skip(begun + 1).take_while(|pieces| joins(pieces)).count() + 1;
            let lengths: Vec<usize> = trees.iter().skip(begun).take(count).map(|pieces| length(pieces)).collect();
            let asking: Vec<&BTreeSet<usize>> = of_tree.iter().skip(begun).take(count).collect();
            let most = asking.iter().map(|places| places.len()).max().unwrap_or(0);
            let mut within = Vec::with_capacity(count * most);
            let mut begin = start;
            for (&length, places) in lengths.iter().zip(asking) {
                begins.push(begin);
                few_begin.push(few.len());
                // A text with fewer than another asks for its first token, which nobody reads.
                for place in places.iter().copied().chain(std::iter::repeat(0)).take(most) {
                    within.push(place as i64);
                    few.push((begin + place) as i64);
                }
                begin += length;
            }
            let mut group = Group::new(first, front.tokens, (lengths, start), device)?;
            if are_few {
                let within = Tensor::f_from_slice(&within)?.f_view([count as i64, most as i64])?;
                group.few = Some(within.f_to_device(device)?);
            }
            groups.push(group);
            start = begin;
            begun += count;
        }
        let asked: Vec<i64> = wanted
            .iter()
            .filter_map(|&(tree, place)| match are_few {
                true => Some((few_begin.get(tree)? + of_tree.get(tree)?.range(..place).count()) as i64),
                false => Some((begins.get(tree)? + place) as i64),
            })
            .collect();
        let mut places = Vec::with_capacity(total);
        let mut order = Vec::with_capacity(total);
        for (pieces, &start) in trees.iter().zip(&starts) {
            let own = start..start + length(pieces) - front.tokens;
            places.extend((0..front.tokens).map(|place| (front.keys + place) as i64));
            let behind = (front.keys + front.tokens) as i64;
            places.extend(forest.places.get(own.clone()).unwrap_or_default().iter().map(|place| place + behind));
            order.extend((0..front.tokens).chain(own.map(|at| at + front.tokens)).map(|at| at as i64));
        }
        let list = |values: &[i64]| -> Result<Tensor> { Ok(Tensor::f_from_slice(values)?.f_to_device(device)?) };
        Ok(Self {
            ids: list(&forest.ids)?.f_unsqueeze(0)?,
            places: list(&places)?.f_unsqueeze(0)?,
            order: (front.tokens > 0).then(|| list(&order)).transpose()?,
            groups,
            keys: front.keys as i64,
            asked: Some(list(&asked)?),
            few: are_few.then(|| list(&few)).transpose()?,
        })
    }

    /// Texts of one length, `[texts, length]`, of which all states are asked for, text by text.
    pub fn rectangle(ids: &Tensor, front: Front) -> Result<Self> {
        let (texts, own) = ids.size2()?;
        let (tokens, keys) = (front.tokens as i64, front.keys as i64);
        let (length, kind) = (tokens + own, (Kind::Int64, ids.device()));
        let places = Tensor::f_arange_start(keys, keys + length, kind)?.f_repeat([texts])?.f_unsqueeze(0)?;
        let (mut order, mut asked) = (None, None);
        if tokens > 0 {
            let virtual_ones = Tensor::f_arange(tokens, kind)?.f_unsqueeze(0)?.f_expand([texts, tokens], false)?;
            let own_ones = Tensor::f_arange_start(tokens, tokens + texts * own, kind)?.f_view([texts, own])?;
            order = Some(Tensor::f_cat(&[virtual_ones, own_ones], 1)?.f_reshape([-1])?);
            let all = Tensor::f_arange(texts * length, kind)?.f_view([texts, length])?;
            asked = Some(all.f_narrow(1, tokens, own)?.f_reshape([-1])?);
        }
        let groups = vec![Group {
            lengths: vec![usize::try_from(length).unwrap_or_default(); usize::try_from(texts).unwrap_or_default()],
            start: 0,
            branches: None,
            few: None,
        }];
        Ok(Self { ids: ids.f_reshape([1, -1])?, places, order, groups, keys, asked, few: None })
    }

    /// The embedded tokens `[1, length, width]`, by what embeds ids, with the method's virtual tokens before every text.
    pub fn embedded(
        &self,
        embed: impl FnOnce(&Tensor) -> Result<Tensor>,
        prompt: Option<&VirtualTokens>,
    ) -> Result<Tensor> {
        let own = embed(&self.ids)?;
        match (prompt, &self.order) {
            (Some(prompt), Some(order)) => {
                Ok(Tensor::f_cat(&[&prompt.vectors(own.f_kind()?)?, &own], 1)?.f_index_select(1, order)?)
            }
            _ => Ok(own),
        }
    }

    /// Where those stand whose states are asked for, `[few]`, each but once; none where these are many.
    pub fn few(&self) -> Option<&Tensor> {
        self.few.as_ref()
    }

    /// The states that are asked for, `[asked, width]`: of the states `[1, length, width]` of all tokens, or of the few.
    pub fn asked(&self, states: &Tensor) -> Result<Tensor> {
        let states = states.f_squeeze_dim(0)?;
        match &self.asked {
            Some(asked) => Ok(states.f_index_select(0, asked)?),
            None => Ok(states),
        }
    }

    /// What each token sees: itself and what stands before it in its text, or of that the last `window` tokens.
    pub fn sight(&self, window: Option<i64>) -> Result<Sight> {
        let mut all = Vec::with_capacity(self.groups.len());
        let mut few = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let texts = group.lengths.len() as i64;
            let side = || Side::of(&group.lengths, self.places.device());
            let mask = group.mask(&self.places, self.keys, window)?;
            if let Some(within) = &group.few {
                let queries = Side::even(texts, within.size2()?.1);
                let mask = group.mask_of_few(within, &mask, self.keys, window)?;
                few.push(Block { texts, queries, keys: side()?, mask });
            }
            all.push(Block { texts, queries: side()?, keys: side()?, mask });
        }
        Ok(Sight { all, few: self.few.as_ref().map(|_| few) })
    }
}

impl Group {
    /// Texts of these lengths, one behind the other from `start` on; a single one of these pieces where there are several.
    fn new(
        pieces: &[Piece],
        virtual_tokens: usize,
        (lengths, start): (Vec<usize>, usize),
        device: Device,
    ) -> Result<Self> {
        let branches = match pieces {
            [] | [_] => None,
            [root, ..] => {
                let count = pieces.len();
                let mut seen = Vec::with_capacity(count * count);
                for number in 0..count {
                    let mut row = vec![false; count];
                    let mut above = Some(number);
                    while let Some(one) = above {
                        row.iter_mut().skip(one).take(1).for_each(|seen| *seen = true);
                        above = pieces.get(one).and_then(|piece| piece.parent?.checked_sub(root.number));
                    }
                    seen.extend(row);
                }
                let numbers = (0..).zip(pieces).flat_map(|(number, piece)| std::iter::repeat_n(number, piece.length));
                let numbers: Vec<i64> = std::iter::repeat_n(0, virtual_tokens).chain(numbers).collect();
                let seen = Tensor::f_from_slice(&seen)?.f_view([count as i64, count as i64])?;
                Some((Tensor::f_from_slice(&numbers)?.f_to_device(device)?, seen.f_to_device(device)?))
            }
        };
        Ok(Self { lengths, start: start as i64, branches, few: None })
    }

    /// Tokens of the longest text.
    fn length(&self) -> i64 {
        self.lengths.iter().copied().max().unwrap_or(0) as i64
    }

    /// What the tokens of a text see, where so many keys stand before it.
    fn mask(&self, places: &Tensor, keys: i64, window: Option<i64>) -> Result<AttentionMask> {
        let device = places.device();
        let Some((pieces, seen)) = &self.branches else {
            return AttentionMask::behind(keys, self.length(), window, device);
        };
        let mut seen = seen.f_index_select(0, pieces)?.f_index_select(1, pieces)?.f_tril(0)?;
        if keys > 0 {
            let before = Tensor::f_ones([self.length(), keys], (Kind::Bool, device))?;
            seen = Tensor::f_cat(&[before, seen], 1)?;
        }
        let Some(window) = window else { return Ok(AttentionMask::Seen(seen)) };
        let own = places.f_narrow(1, self.start, self.length())?;
        let before = Tensor::f_arange(keys, (Kind::Int64, device))?.f_unsqueeze(0)?;
        let distance = own.f_transpose(0, 1)?.f_sub(&Tensor::f_cat(&[&before, &own], 1)?)?;
        Ok(AttentionMask::Seen(seen.f_logical_and(&distance.f_lt(window)?)?))
    }

    /// What the few tokens `within` see, where `all` is what all do.
    fn mask_of_few(
        &self,
        within: &Tensor,
        all: &AttentionMask,
        keys: i64,
        window: Option<i64>,
    ) -> Result<AttentionMask> {
        if let (Some(_), AttentionMask::Seen(all)) = (&self.branches, all) {
            return Ok(AttentionMask::Seen(all.f_index_select(0, &within.f_reshape([-1])?)?));
        }
        let places = within.f_add_scalar(keys)?.f_unsqueeze(1)?.f_unsqueeze(-1)?;
        let of_keys = Tensor::f_arange(keys + self.length(), (Kind::Int64, within.device()))?;
        let seen = of_keys.f_le_tensor(&places)?;
        Ok(AttentionMask::Seen(match window {
            Some(window) => seen.f_logical_and(&of_keys.f_gt_tensor(&places.f_sub_scalar(window)?)?)?,
            None => seen,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::LossRow;

    fn shown(mask: &AttentionMask) -> Vec<String> {
        let AttentionMask::Seen(seen) = mask else { panic!("{mask:?}") };
        let (columns, seen) = (*seen.size().last().unwrap(), seen.view([-1, *seen.size().last().unwrap()]));
        assert_eq!(seen.size2().unwrap().1, columns);
        let rows = Vec::<Vec<bool>>::try_from(seen).unwrap();
        rows.iter().map(|row| row.iter().map(|&seen| if seen { 'x' } else { '.' }).collect()).collect()
    }

    fn row(id: &str, ids: &[i32], targets: usize) -> LossRow {
        LossRow::new(id, ids, (0..ids.len()).map(|at| at + targets >= ids.len())).unwrap()
    }

    fn sizes(blocks: &[Block]) -> Vec<(i64, i64, i64)> {
        blocks.iter().map(|block| (block.texts, block.queries.length, block.keys.length)).collect()
    }

    fn numbers(tensor: &Tensor) -> Vec<i64> {
        Vec::try_from(tensor.reshape(-1)).unwrap()
    }

    #[test]
    fn branches_see_what_they_go_on_from_and_not_each_other() {
        let shared: Vec<i32> = (0..16).collect();
        let rows = [[20, 21, 22], [30, 31, 32]].map(|tail| row("", &[&shared, tail.as_slice()].concat(), 18));
        let forest = Forest::shared(&rows.each_ref());
        let packed = Packed::new(&forest, Front::default(), Device::Cpu).unwrap();
        assert_eq!(packed.ids.size(), [1, 20]);
        assert!(packed.few.is_none());
        let all = shown(&packed.sight(None).unwrap().all[0].mask);
        let line = |shared: usize, tail: &str| format!("{}{}{tail}", "x".repeat(shared), ".".repeat(16 - shared));
        assert_eq!(
            all[15..],
            [line(16, "...."), line(16, "x..."), line(16, "xx.."), line(16, "..x."), line(16, "..xx")]
        );
        // Of a window of three, both second tokens behind the shared ones see the last of these.
        let near = shown(&packed.sight(Some(3)).unwrap().all[0].mask);
        let behind = |count: usize, tail: &str| format!("{}{}{tail}", ".".repeat(16 - count), "x".repeat(count));
        assert_eq!(near[16..], [behind(2, "x..."), behind(1, "xx.."), behind(2, "..x."), behind(1, "..xx")]);
    }

    #[test]
    fn a_method_has_its_own_before_every_text() {
        let shared: Vec<i32> = (0..16).collect();
        let rows = [row("a", &[&shared, [20, 21].as_slice()].concat(), 1), row("b", &[1, 2, 3], 1)];
        let rows = [&rows[0], &row("c", &[&shared, [40, 41, 42].as_slice()].concat(), 1), &rows[1]];
        let packed = Packed::new(&Forest::shared(&rows), Front { tokens: 2, keys: 3 }, Device::Cpu).unwrap();
        // The shared ones with a token of the first row and two of the second, then the two that are read of the third.
        assert_eq!(packed.places.size(), [1, 2 + 16 + 1 + 2 + 2 + 2]);
        let places: Vec<i64> = (3..21).chain([21]).chain([21, 22]).chain(3..7).collect();
        assert_eq!(numbers(&packed.places), places);
        let own = |start, length: i64| (start..start + length).collect::<Vec<_>>();
        assert_eq!(numbers(packed.order.as_ref().unwrap()), [vec![0, 1], own(2, 19), vec![0, 1], own(21, 2)].concat());
        // What is asked for: the ends of the three, in the order of the rows.
        assert_eq!(numbers(packed.few().unwrap()), [18, 20, 24]);
        assert_eq!(numbers(packed.asked.as_ref().unwrap()), [0, 1, 2]);
        let Sight { all, few } = packed.sight(Some(4)).unwrap();
        let few = few.unwrap();
        assert_eq!(sizes(&all), [(1, 21, 21), (1, 4, 4)]);
        assert_eq!(sizes(&few), [(1, 2, 21), (1, 1, 4)]);
        let line = |hidden: usize, rest: &str| format!("{}{rest}", ".".repeat(hidden));
        assert_eq!(shown(&few[0].mask), [line(3 + 2 + 13, "xxxx.."), line(3 + 2 + 14, "xx.xx")]);
        assert_eq!(shown(&few[1].mask), ["...xxxx"]);
        assert_eq!(shown(&all[1].mask)[0], "xxxx...");
    }

    #[test]
    fn texts_of_one_length_are_a_block_and_ask_for_as_many_as_the_one_that_asks_for_most() {
        let ids: Vec<i32> = (0..9).collect();
        let rows = [row("a", &ids, 1), row("b", &ids[..5], 1), row("c", &ids, 3)];
        let packed = Packed::new(&Forest::apart(&rows.each_ref()), Front::default(), Device::Cpu).unwrap();
        let Sight { all, few } = packed.sight(None).unwrap();
        // The shorter one first: the four tokens of it that are read, then eight of each of the others.
        assert_eq!(sizes(&all), [(1, 4, 4), (2, 8, 8)]);
        assert_eq!(sizes(&few.unwrap()), [(1, 1, 4), (2, 3, 8)]);
        assert_eq!(numbers(packed.few().unwrap()), [3, 11, 4, 4, 12 + 5, 12 + 6, 12 + 7]);
        assert_eq!(numbers(packed.asked.as_ref().unwrap()), [1, 0, 4, 5, 6]);
    }

    #[test]
    fn all_texts_at_once_ask_for_the_same() {
        let ids: Vec<i32> = (0..9).collect();
        let rows = [row("a", &ids, 1), row("b", &ids[..5], 1), row("c", &ids, 3)];
        let forest = Forest::apart(&rows.each_ref());
        let packed = Packed::grouped(&forest, Front::default(), Together::All, Device::Cpu).unwrap();
        let Sight { all, few } = packed.sight(None).unwrap();
        assert_eq!(sizes(&all), [(3, 8, 8)]);
        assert_eq!((all[0].queries.tokens, all[0].keys.tokens), (20, 20));
        assert_eq!(sizes(&few.unwrap()), [(3, 3, 8)]);
        assert_eq!(numbers(packed.few().unwrap()), [3, 0, 0, 11, 4, 4, 12 + 5, 12 + 6, 12 + 7]);
        assert_eq!(numbers(packed.asked.as_ref().unwrap()), [3, 0, 6, 7, 8]);
    }
}
