//! Attention over texts that stand one behind the other: what it takes at once is a block, and each text sees nothing of the
//! others. Knows no position and no model.

use tch::{Device, Tensor};

use super::attention::{AttentionMask, attend};
use super::in_front;
use crate::error::Result;

/// Which texts attention takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// Those of one length: none is filled up.
    OfOneLength,
    /// All, short ones filled up there: for devices that pay more for a call than for some padding.
    All,
}

impl Together {
    /// What suits a device.
    pub fn on(device: Device) -> Self {
        if device.is_cuda() { Self::All } else { Self::OfOneLength }
    }

    /// Whether texts of these lengths are taken at once.
    pub fn takes(self, one: usize, other: usize) -> bool {
        match self {
            Self::OfOneLength => one == other,
            Self::All => true,
        }
    }
}

/// Texts that attention takes at once.
#[derive(Debug)]
pub struct Block {
    /// How many texts.
    pub texts: i64,
    /// Their queries.
    pub queries: Side,
    /// Their own keys.
    pub keys: Side,
    /// What the queries of a text see of the keys before it and of its own.
    pub mask: AttentionMask,
}

/// The queries or the keys of a block's texts.
#[derive(Debug)]
pub struct Side {
    /// How many tokens they are, of all texts.
    pub tokens: i64,
    /// How many each text has, short ones filled up.
    pub length: i64,
    filling: Option<Filling>,
}

/// How texts of several lengths are filled up to one.
#[derive(Debug)]
struct Filling {
    /// The token that stands at each place, `[texts · length]`; the text's first one where it is filled up.
    tokens: Tensor,
    /// The place of each token, `[tokens]`.
    places: Tensor,
}

impl Side {
    /// Of texts of one length.
    pub fn even(texts: i64, length: i64) -> Self {
        Self { tokens: texts * length, length, filling: None }
    }

    /// Of texts of these lengths.
    pub fn of(lengths: &[usize], device: Device) -> Result<Self> {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if lengths.iter().all(|&length| length == longest) {
            return Ok(Self::even(lengths.len() as i64, longest as i64));
        }
        let (mut tokens, mut places, mut start) = (Vec::new(), Vec::new(), 0);
        for (text, &length) in lengths.iter().enumerate() {
            tokens.extend((0..longest).map(|at| (start + if at < length { at } else { 0 }) as i64));
            places.extend((0..length).map(|at| (text * longest + at) as i64));
            start += length;
        }
        let list = |values: &[i64]| -> Result<Tensor> { Ok(Tensor::f_from_slice(values)?.f_to_device(device)?) };
        let filling = Some(Filling { tokens: list(&tokens)?, places: list(&places)? });
        Ok(Self { tokens: start as i64, length: longest as i64, filling })
    }

    /// `[1, heads, tokens, width]` as `[texts, heads, length, width]`.
    fn apart(&self, states: &Tensor) -> Result<Tensor> {
        let filled = match &self.filling {
            Some(filling) => states.f_index_select(2, &filling.tokens)?,
            None => states.shallow_clone(),
        };
        let (_, heads, all, width) = filled.size4()?;
        match all / self.length.max(1) {
            1 => Ok(filled),
            texts => Ok(filled.f_view([heads, texts, self.length, width])?.f_transpose(0, 1)?),
        }
    }

    /// `[texts, heads, length, width]` as `[1, tokens, heads · width]`.
    fn behind_each_other(&self, states: &Tensor) -> Result<Tensor> {
        let (texts, heads, length, width) = states.size4()?;
        let all = states.f_transpose(1, 2)?.f_reshape([1, texts * length, heads * width])?;
        match &self.filling {
            Some(filling) => Ok(all.f_index_select(1, &filling.places)?),
            None => Ok(all),
        }
    }
}

/// Attention `softmax(scale · q kᵀ) v` within each text of the blocks, which follow one another in the queries, keys and values
/// `[1, heads, length, width]`; `before` are keys and values that stand before those of every text. The result is
/// `[1, length, heads · width]`. See [`attend`].
pub fn attend_blocks(
    [q, k, v]: [&Tensor; 3],
    before: Option<(&Tensor, &Tensor)>,
    blocks: &[Block],
    scale: Option<f64>,
    dropout: f64,
) -> Result<Tensor> {
    let split = |states: &Tensor, tokens: &dyn Fn(&Block) -> i64| -> Result<Vec<Tensor>> {
        match blocks {
            [_] => Ok(vec![states.shallow_clone()]),
            blocks => Ok(states.f_split_with_sizes(blocks.iter().map(tokens).collect::<Vec<_>>(), 2)?),
        }
    };
    let of_keys = |block: &Block| block.keys.tokens;
    let (q, k, v) = (split(q, &|block| block.queries.tokens)?, split(k, &of_keys)?, split(v, &of_keys)?);
    let parts = blocks.iter().zip(q).zip(k.into_iter().zip(v)).map(|((block, q), (k, v))| {
        let (k, v) = in_front(before, (block.keys.apart(&k)?, block.keys.apart(&v)?))?;
        block.queries.behind_each_other(&attend(&block.queries.apart(&q)?, &k, &v, &block.mask, scale, dropout)?)
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    match parts.as_slice() {
        [only] => Ok(only.shallow_clone()),
        parts => Ok(Tensor::f_cat(parts, 1)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn each_text_sees_itself_and_what_is_before_all() {
        let states = |shape: &[i64], step: f64| {
            let count = shape.iter().product::<i64>();
            (Tensor::arange(count, (Kind::Double, Device::Cpu)) * step).sin().view(shape) * 2.0
        };
        // Two texts of three, one of four of which the last two ask; the middle of each stands in memory as a projection
        // leaves it.
        let of_heads = |length: i64, step| states(&[1, length, 2, 4], step).transpose(1, 2);
        let (k, v) = (of_heads(10, 2.3), of_heads(10, 2.9));
        let q = of_heads(8, 1.7);
        let front = (states(&[1, 2, 5, 4], 1.1), states(&[1, 2, 5, 4], 1.3));
        let seen = AttentionMask::Seen(Tensor::ones([2, 9], (Kind::Bool, Device::Cpu)).tril(7));
        let blocks = [
            Block { texts: 2, queries: Side::even(2, 3), keys: Side::even(2, 3), mask: AttentionMask::All },
            Block { texts: 1, queries: Side::even(1, 2), keys: Side::even(1, 4), mask: seen },
        ];
        let found = attend_blocks([&q, &k, &v], Some((&front.0, &front.1)), &blocks, None, 0.0).unwrap();
        assert_eq!(found.size(), [1, 8, 8]);
        for (queries, keys, block) in [((0, 3), (0, 3), 0), ((3, 3), (3, 3), 0), ((6, 2), (6, 4), 1)] {
            let of = |states: &Tensor, (start, length)| states.narrow(2, start, length);
            let with = |front: &Tensor, own: &Tensor| Tensor::cat(&[front, &of(own, keys)], 2);
            let (k, v) = (with(&front.0, &k), with(&front.1, &v));
            let one = attend(&of(&q, queries), &k, &v, &blocks[block].mask, None, 0.0).unwrap();
            let one = one.transpose(1, 2).reshape([1, queries.1, 8]);
            let part = found.narrow(1, queries.0, queries.1);
            assert!((part - one).abs().max().double_value(&[]) < 1e-12, "{queries:?}");
        }
    }

    #[test]
    fn texts_of_several_lengths_at_once_are_as_one_by_one() {
        let states = |length: i64, step: f64| {
            let count = length * 8;
            let made = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * step).sin().view([1, length, 2, 4]) * 2.0;
            made.transpose(1, 2).set_requires_grad(true)
        };
        let (q, k, v) = (states(9, 1.7), states(9, 2.3), states(9, 2.9));
        let side = |lengths: &[usize]| Side::of(lengths, Device::Cpu).unwrap();
        let run = |lengths: &[&[usize]]| {
            let block = |lengths: &&[usize]| Block {
                texts: lengths.len() as i64,
                queries: side(lengths),
                keys: side(lengths),
                mask: AttentionMask::Causal,
            };
            let blocks: Vec<Block> = lengths.iter().map(block).collect();
            let found = attend_blocks([&q, &k, &v], None, &blocks, None, 0.0).unwrap();
            let weighed = (&found * found.sin()).sum(Kind::Double);
            (found, Tensor::run_backward(&[weighed], &[&q, &k, &v], false, false))
        };
        let (one_by_one, gradients) = run(&[&[2], &[4], &[3]]);
        let (at_once, other_gradients) = run(&[&[2, 4, 3]]);
        let close = |one: &Tensor, other: &Tensor| assert!((one - other).abs().max().double_value(&[]) < 1e-12);
        close(&one_by_one, &at_once);
        gradients.iter().zip(&other_gradients).for_each(|(one, other)| close(one, other));
    }
}
