//! Texts that an encoder reads, one behind the other without their padding: which of the padded tokens are theirs, and what
//! attention takes at once. Knows no layer.

use tch::{Device, Kind, Tensor};

use super::attention::AttentionMask;
use super::blocks::{Block, Side, Together};
use crate::error::Result;

/// Texts one behind the other, short ones first.
#[derive(Debug)]
pub struct Unpadded {
    /// Rows of the padded texts, and their length.
    shape: (i64, i64),
    /// Which of the padded tokens, row after row, stand there, `[tokens]`; none where they are all of them, in order.
    tokens: Option<Tensor>,
    /// The first token of each text, `[texts]`.
    firsts: Tensor,
    /// Which of the texts each row is, `[rows]`.
    of_rows: Tensor,
    /// The lengths of the texts that attention takes at once.
    groups: Vec<Vec<usize>>,
}

impl Unpadded {
    /// Rows that hold so many tokens each, on the right of which there may be padding.
    pub fn new(lengths: &[usize], device: Device) -> Result<Self> {
        Self::grouped(lengths, Together::on(device), device)
    }

    fn grouped(lengths: &[usize], together: Together, device: Device) -> Result<Self> {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut order: Vec<(usize, usize)> = lengths.iter().copied().enumerate().collect();
        order.sort_by_key(|&(_, length)| length);
        let (mut tokens, mut firsts, mut of_rows) = (Vec::new(), Vec::new(), vec![0; lengths.len()]);
        for (text, &(row, length)) in order.iter().enumerate() {
            firsts.push(tokens.len() as i64);
            tokens.extend((0..length).map(|at| (row * longest + at) as i64));
            of_rows.iter_mut().skip(row).take(1).for_each(|of_row| *of_row = text as i64);
        }
        let sorted: Vec<usize> = order.iter().map(|(_, length)| *length).collect();
        let groups = sorted.chunk_by(|one, other| together.takes(*one, *other)).map(<[usize]>::to_vec).collect();
        let list = |values: &[i64]| -> Result<Tensor> { Ok(Tensor::f_from_slice(values)?.f_to_device(device)?) };
        let all = lengths.iter().all(|&length| length == longest);
        Ok(Self {
            shape: (lengths.len() as i64, longest as i64),
            tokens: (!all).then(|| list(&tokens)).transpose()?,
            firsts: list(&firsts)?,
            of_rows: list(&of_rows)?,
            groups,
        })
    }

    /// The tokens `[1, tokens, …]` of padded ones `[rows, length, …]`.
    pub fn pack(&self, padded: &Tensor) -> Result<Tensor> {
        let flat = padded.f_flatten(0, 1)?;
        Ok(match &self.tokens {
            Some(tokens) => flat.f_index_select(0, tokens)?,
            None => flat,
        }
        .f_unsqueeze(0)?)
    }

    /// The states `[1, tokens, width]` as padded ones, `[rows, length, width]`, zero where padding stands.
    pub fn unpack(&self, states: &Tensor) -> Result<Tensor> {
        let ((rows, length), states) = (self.shape, states.f_squeeze_dim(0)?);
        let width = states.size2()?.1;
        let padded = match &self.tokens {
            Some(tokens) => {
                let room = Tensor::f_zeros([rows * length, width], (states.f_kind()?, states.device()))?;
                room.f_index_copy(0, tokens, &states)?
            }
            None => states,
        };
        Ok(padded.f_view([rows, length, width])?)
    }

    /// Where the first token of each text stands, `[texts]`.
    pub fn firsts(&self) -> &Tensor {
        &self.firsts
    }

    /// The states `[1, texts, width]` of first tokens, row by row: `[rows, width]`.
    pub fn of_rows(&self, firsts: &Tensor) -> Result<Tensor> {
        Ok(firsts.f_squeeze_dim(0)?.f_index_select(0, &self.of_rows)?)
    }

    /// All tokens see all of their text, and so many keys before it.
    pub fn all(&self, keys: i64) -> Result<Vec<Block>> {
        let device = self.firsts.device();
        self.blocks(keys, |lengths| Side::of(lengths, device))
    }

    /// The first token of each text sees all of it, and so many keys before it.
    pub fn first(&self, keys: i64) -> Result<Vec<Block>> {
        self.blocks(keys, |lengths| Ok(Side::even(lengths.len() as i64, 1)))
    }

    fn blocks(&self, keys: i64, queries: impl Fn(&[usize]) -> Result<Side>) -> Result<Vec<Block>> {
        let device = self.firsts.device();
        let block = |lengths: &Vec<usize>| {
            let (texts, own) = (lengths.len() as i64, Side::of(lengths, device)?);
            let mask = if lengths.iter().all(|&length| length as i64 == own.length) {
                AttentionMask::All
            } else {
                let seen: Vec<i64> = lengths.iter().map(|&length| keys + length as i64).collect();
                let seen = Tensor::f_from_slice(&seen)?.f_to_device(device)?.f_view([texts, 1, 1, 1])?;
                let columns = Tensor::f_arange(keys + own.length, (Kind::Int64, device))?;
                AttentionMask::Seen(columns.f_lt_tensor(&seen)?)
            };
            Ok(Block { texts, queries: queries(lengths)?, keys: own, mask })
        };
        self.groups.iter().map(block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(tensor: &Tensor) -> Vec<i64> {
        Vec::try_from(tensor.reshape(-1)).unwrap()
    }

    #[test]
    fn padding_goes_and_comes_back_as_zeros() {
        let padded = Tensor::from_slice(&[11i64, 12, 13, 21, 0, 0, 31, 32, 33]).view([3, 3]);
        let texts = Unpadded::new(&[3, 1, 3], Device::Cpu).unwrap();
        let packed = texts.pack(&padded).unwrap();
        assert_eq!(packed.size(), [1, 7]);
        assert_eq!(numbers(&packed), [21, 11, 12, 13, 31, 32, 33]);
        assert_eq!(numbers(texts.firsts()), [0, 1, 4]);
        let firsts = packed.index_select(1, texts.firsts()).unsqueeze(-1);
        assert_eq!(numbers(&texts.of_rows(&firsts).unwrap()), [11, 21, 31]);
        let states = packed.unsqueeze(-1).to_kind(Kind::Float);
        let back = texts.unpack(&states).unwrap();
        assert_eq!(back.size(), [3, 3, 1]);
        assert_eq!(numbers(&back.to_kind(Kind::Int64)), numbers(&padded));
        let whole = Unpadded::new(&[3, 3], Device::Cpu).unwrap();
        assert_eq!(numbers(&whole.pack(&padded.narrow(0, 1, 2)).unwrap()), [21, 0, 0, 31, 32, 33]);
    }

    #[test]
    fn what_attention_takes_at_once() {
        let sizes = |blocks: Vec<Block>| -> Vec<(i64, i64, i64)> {
            blocks.iter().map(|block| (block.texts, block.queries.length, block.keys.length)).collect()
        };
        let texts = Unpadded::new(&[3, 1, 3], Device::Cpu).unwrap();
        assert_eq!(sizes(texts.all(0).unwrap()), [(1, 1, 1), (2, 3, 3)]);
        assert_eq!(sizes(texts.first(0).unwrap()), [(1, 1, 1), (2, 1, 3)]);
        let texts = Unpadded::grouped(&[3, 1, 2], Together::All, Device::Cpu).unwrap();
        let blocks = texts.first(2).unwrap();
        let AttentionMask::Seen(seen) = &blocks[0].mask else { panic!("{blocks:?}") };
        assert_eq!(numbers(&seen.to_kind(Kind::Int64)), [1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1]);
        assert_eq!(sizes(blocks), [(3, 1, 3)]);
    }
}
