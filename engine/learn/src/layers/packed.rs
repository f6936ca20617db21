//! Texts on the device one behind the other, without padding, what several begin with once: token ids, the position of each
//! in its text, and what each sees. Knows no layer.

use tch::{Device, Tensor};

use super::attention::{AttentionMask, Block};
use crate::error::Result;
use crate::prefix_tree::{Forest, Piece};

/// Texts one behind the other.
#[derive(Debug)]
pub struct Packed {
    /// Token ids, `[1, length]`.
    pub ids: Tensor,
    /// The position of each in its text, `[1, length]`.
    pub places: Tensor,
    trees: Vec<Tree>,
}

/// Pieces that see each other.
#[derive(Debug)]
struct Tree {
    start: i64,
    length: i64,
    /// For a tree of several pieces: the piece of each token, and which pieces each piece sees, `[pieces, pieces]`.
    branches: Option<(Tensor, Tensor)>,
}

impl Packed {
    /// Copies a micro-batch to `device`.
    pub fn new(forest: &Forest, device: Device) -> Result<Self> {
        let row = |values: &[i64]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_unsqueeze(0)?.f_to_device(device)?)
        };
        let mut trees = Vec::new();
        let mut first = 0;
        for pieces in forest.trees() {
            trees.push(Tree::new(pieces, first, device)?);
            first += pieces.len();
        }
        Ok(Self { ids: row(&forest.ids)?, places: row(&forest.places)?, trees })
    }

    /// What each token sees: itself and what stands before it in its text, or of that the last `window` tokens.
    pub fn mask(&self, window: Option<i64>) -> Result<AttentionMask> {
        let blocks = self
            .trees
            .iter()
            .map(|tree| Ok(Block { start: tree.start, length: tree.length, mask: tree.mask(&self.places, window)? }));
        Ok(AttentionMask::Blocks(blocks.collect::<Result<_>>()?))
    }
}

impl Tree {
    /// Of pieces whose first is number `first` of all.
    fn new(pieces: &[Piece], first: usize, device: Device) -> Result<Self> {
        let start = pieces.first().map_or(0, |piece| piece.start);
        let length = pieces.iter().map(|piece| piece.length).sum::<usize>();
        let branches = match pieces {
            [] | [_] => None,
            _ => {
                let count = pieces.len();
                let mut seen = Vec::with_capacity(count * count);
                for number in 0..count {
                    let mut row = vec![false; count];
                    let mut above = Some(number);
                    while let Some(one) = above {
                        row.iter_mut().skip(one).take(1).for_each(|seen| *seen = true);
                        above = pieces.get(one).and_then(|piece| piece.parent?.checked_sub(first));
                    }
                    seen.extend(row);
                }
                let numbers: Vec<i64> =
                    (0..).zip(pieces).flat_map(|(number, piece)| std::iter::repeat_n(number, piece.length)).collect();
                let seen = Tensor::f_from_slice(&seen)?.f_view([count as i64, count as i64])?;
                Some((Tensor::f_from_slice(&numbers)?.f_to_device(device)?, seen.f_to_device(device)?))
            }
        };
        Ok(Self { start: start as i64, length: length as i64, branches })
    }

    fn mask(&self, places: &Tensor, window: Option<i64>) -> Result<AttentionMask> {
        let device = places.device();
        let Some((pieces, seen)) = &self.branches else {
            return AttentionMask::behind(0, self.length, window, device);
        };
        let seen = seen.f_index_select(0, pieces)?.f_index_select(1, pieces)?.f_tril(0)?;
        let Some(window) = window else { return Ok(AttentionMask::Seen(seen)) };
        let places = places.f_narrow(1, self.start, self.length)?;
        let distance = places.f_transpose(0, 1)?.f_sub(&places)?;
        Ok(AttentionMask::Seen(seen.f_logical_and(&distance.f_lt(window)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::LossRow;

    fn shown(mask: &AttentionMask) -> Vec<String> {
        let AttentionMask::Seen(seen) = mask else { panic!("{mask:?}") };
        let rows = Vec::<Vec<bool>>::try_from(seen).unwrap();
        rows.iter().map(|row| row.iter().map(|&seen| if seen { 'x' } else { '.' }).collect()).collect()
    }

    #[test]
    fn branches_see_what_they_go_on_from_and_not_each_other() {
        let shared: Vec<i32> = (0..16).collect();
        let row = |id: &str, tail: &[i32]| {
            let ids = [&shared, tail].concat();
            LossRow::new(id, &ids, vec![true; ids.len()]).unwrap()
        };
        let rows = [row("a", &[20, 21, 22]), row("b", &[30, 31, 32])];
        let packed = Packed::new(&Forest::new(&rows.each_ref()), Device::Cpu).unwrap();
        assert_eq!(packed.ids.size(), [1, 20]);
        let AttentionMask::Blocks(blocks) = packed.mask(None).unwrap() else { panic!() };
        let all = shown(&blocks[0].mask);
        let line = |shared: usize, tail: &str| format!("{}{}{tail}", "x".repeat(shared), ".".repeat(16 - shared));
        assert_eq!(
            all[15..],
            [line(16, "...."), line(16, "x..."), line(16, "xx.."), line(16, "..x."), line(16, "..xx")]
        );
        // Of a window of three, both second tokens behind the shared ones see the last of these.
        let AttentionMask::Blocks(blocks) = packed.mask(Some(3)).unwrap() else { panic!() };
        let near = shown(&blocks[0].mask);
        let behind = |count: usize, tail: &str| format!("{}{}{tail}", ".".repeat(16 - count), "x".repeat(count));
        assert_eq!(near[16..], [behind(2, "x..."), behind(1, "xx.."), behind(2, "..x."), behind(1, "..xx")]);
    }
}
