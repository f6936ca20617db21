//! The bytes of a tensor in parts of bounded size, so that a reader never holds more than one. Numbers that follow each
//! other in the file are borrowed; others are gathered, in the order in which they lie in the file.

use std::borrow::Cow;
use std::cmp::Reverse;

use crate::error::Damage;
use crate::stored::Stored;

/// A block of a tensor whose numbers stand in `bytes`, the last dimension first.
#[derive(Debug)]
pub struct Part<'a> {
    /// Where the block begins along each dimension, in the order of [`Parts::order`].
    pub at: Vec<usize>,
    /// How many numbers it has along each.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub bytes: Cow<'a, [u8]>,
}

/// Goes over a tensor.
#[derive(Debug)]
pub struct Parts<'a> {
    file: &'a [u8],
    start: usize,
    size: usize,
    order: Option<Vec<usize>>,
    shape: Vec<usize>,
    strides: Vec<usize>,
    /// How many numbers along each dimension are in one part.
    block: Vec<usize>,
    /// Where the next part begins; nothing after the last.
    next: Option<Vec<usize>>,
}

impl Stored {
    /// The tensor in parts of at most `most` bytes, or of one number where that is more.
    ///
    /// # Errors
    /// When its numbers are of a kind that cannot be read, or when it repeats them: a few bytes could stand for any number
    /// of them, so no memory should be asked for on their word.
    pub fn parts<'a>(&self, file: &'a [u8], most: usize) -> Result<Parts<'a>, Damage> {
        let Some(size) = self.dtype.size() else {
            return Err(Damage::new(
                format!("is stored as {}", self.dtype.name()),
                "only F32, F16 and BF16 weights can be read; take a checkpoint that is not quantized",
            ));
        };
        let (elements, span) = (self.elements(), self.span());
        let repeats = match (elements, span) {
            (Some(elements), Some(span)) => elements > span,
            _ => true,
        };
        if repeats {
            return Err(Damage::new(
                format!(
                    "of shape {:?} and strides {:?} repeats the numbers it is stored with",
                    self.shape, self.strides
                ),
                "load the checkpoint with torch, call `.contiguous()` on this tensor, and save it again",
            ));
        }
        let (order, shape, strides) = match elements {
            Some(elements) if self.is_contiguous() => (None, vec![elements], vec![1]),
            _ => {
                let mut order: Vec<usize> = (0..self.shape.len()).collect();
                order.sort_by_key(|&at| Reverse(self.strides[at]));
                let pick = |from: &[usize]| order.iter().map(|&at| from[at]).collect::<Vec<_>>();
                let (shape, strides) = (pick(&self.shape), pick(&self.strides));
                (Some(order), shape, strides)
            }
        };
        let block = block(&shape, (most / size).max(1));
        let next = (!shape.contains(&0)).then(|| vec![0; shape.len()]);
        Ok(Parts { file, start: self.start, size, order, shape, strides, block, next })
    }
}

/// The block that is taken at once: whole inner dimensions as far as they fit, some of the next, one of the others.
fn block(shape: &[usize], most: usize) -> Vec<usize> {
    let mut block = vec![1; shape.len()];
    let mut left = most;
    for (length, taken) in shape.iter().zip(&mut block).rev() {
        *taken = (*length).min(left).max(1);
        if *taken < *length {
            break;
        }
        left /= *taken;
    }
    block
}

impl<'a> Parts<'a> {
    /// Nothing where parts are of the tensor seen flat; else the order of dimensions in which parts are given.
    pub fn order(&self) -> Option<&[usize]> {
        self.order.as_deref()
    }

    /// The bytes of the numbers from `first` on that lie as `shape` says.
    fn bytes(&self, first: usize, shape: &[usize]) -> Option<Cow<'a, [u8]>> {
        // Dimensions that the block has one of say nothing about where numbers lie.
        let wide: Vec<(usize, usize)> =
            shape.iter().copied().zip(self.strides.iter().copied()).filter(|(length, _)| *length > 1).collect();
        let mut run = 1;
        let mut inner = wide.len();
        while inner > 0 && wide[inner - 1].1 == run {
            run *= wide[inner - 1].0;
            inner -= 1;
        }
        let outer = &wide[..inner];
        let slice = |number: usize| {
            let from = self.start.checked_add(number.checked_mul(self.size)?)?;
            self.file.get(from..from.checked_add(run.checked_mul(self.size)?)?)
        };
        if outer.is_empty() {
            return slice(first).map(Cow::Borrowed);
        }
        let mut gathered = Vec::with_capacity(shape.iter().product::<usize>() * self.size);
        let mut at = vec![0; outer.len()];
        loop {
            let steps: usize = at.iter().zip(outer).map(|(index, (_, stride))| index * stride).sum();
            gathered.extend_from_slice(slice(first + steps)?);
            if !advance(&mut at, |dimension| outer[dimension].0, |_| 1) {
                return Some(Cow::Owned(gathered));
            }
        }
    }
}

/// The next place, the last dimension first; false after the last.
fn advance(at: &mut [usize], length: impl Fn(usize) -> usize, step: impl Fn(usize) -> usize) -> bool {
    for dimension in (0..at.len()).rev() {
        at[dimension] += step(dimension);
        if at[dimension] < length(dimension) {
            return true;
        }
        at[dimension] = 0;
    }
    false
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.next.take()?;
        let lengths = at.iter().zip(&self.block).zip(&self.shape);
        let shape: Vec<usize> = lengths.map(|((&at, &block), &length)| block.min(length - at)).collect();
        let first: usize = at.iter().zip(&self.strides).map(|(index, stride)| index * stride).sum();
        let Some(bytes) = self.bytes(first, &shape) else {
            return Some(Err(Damage::new("does not lie in the file", "fetch the file again")));
        };
        let mut next = at.clone();
        if advance(&mut next, |dimension| self.shape[dimension], |dimension| self.block[dimension]) {
            self.next = Some(next);
        }
        Some(Ok(Part { at, shape, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::Dtype;

    /// What a reader puts together of the parts of a view of the numbers 0, 1, 2, … as bf16.
    fn read(shape: &[usize], strides: &[usize], offset: usize, most: usize) -> Vec<u16> {
        let file: Vec<u8> = (0..200u16).flat_map(u16::to_le_bytes).collect();
        let stored = Stored::view(Dtype::BF16, shape.to_vec(), strides.to_vec(), &(0..400), offset).unwrap();
        let parts = stored.parts(&file, most).unwrap();
        let order = parts.order().map(<[usize]>::to_vec);
        let mut found = vec![u16::MAX; stored.elements().unwrap()];
        let lengths: Vec<usize> = match &order {
            Some(_) => shape.to_vec(),
            None => vec![found.len()],
        };
        let order = order.unwrap_or_else(|| vec![0]);
        let outer = row_strides(&lengths);
        for part in parts {
            let part = part.unwrap();
            assert!(part.bytes.len() <= most.max(2), "{} bytes at once", part.bytes.len());
            let mut at = vec![0; part.shape.len()];
            for bytes in part.bytes.chunks_exact(2) {
                let place: usize =
                    order.iter().enumerate().map(|(own, &dimension)| (part.at[own] + at[own]) * outer[dimension]).sum();
                assert_eq!(found[place], u16::MAX, "given twice");
                found[place] = u16::from_le_bytes([bytes[0], bytes[1]]);
                advance(&mut at, |dimension| part.shape[dimension], |_| 1);
            }
        }
        found
    }

    fn row_strides(shape: &[usize]) -> Vec<usize> {
        (0..shape.len()).map(|at| shape[at + 1..].iter().product()).collect()
    }

    /// The same, number by number.
    fn expected(shape: &[usize], strides: &[usize], offset: usize) -> Vec<u16> {
        let mut all = Vec::new();
        let mut at = vec![0; shape.len()];
        loop {
            all.push((offset + at.iter().zip(strides).map(|(a, b)| a * b).sum::<usize>()) as u16);
            if !advance(&mut at, |dimension| shape[dimension], |_| 1) {
                return all;
            }
        }
    }

    #[test]
    fn parts_of_every_size_give_what_the_strides_mean() {
        let views: [(&[usize], &[usize], usize); 9] = [
            (&[4, 5], &[5, 1], 3),
            (&[5, 4], &[1, 5], 0),
            (&[3, 4, 5], &[1, 15, 3], 7),
            (&[3, 4], &[20, 2], 1),
            (&[2, 3, 4], &[40, 8, 1], 2),
            (&[6, 1, 3], &[3, 99, 1], 0),
            (&[4, 3], &[1, 1], 5),
            (&[], &[], 9),
            (&[7], &[11], 4),
        ];
        for (shape, strides, offset) in views {
            // One that overlaps itself has more numbers than it spans: refused.
            if shape == [4, 3] {
                let stored = Stored::view(Dtype::F16, shape.to_vec(), strides.to_vec(), &(0..400), offset).unwrap();
                assert!(stored.parts(&[0; 400], 8).unwrap_err().problem.contains("repeats the numbers"));
                continue;
            }
            for most in [1, 2, 6, 10, 16, 1 << 20] {
                assert_eq!(read(shape, strides, offset, most), expected(shape, strides, offset), "{shape:?} {most}");
            }
        }
    }

    #[test]
    fn an_empty_tensor_has_no_parts() {
        let stored = Stored::view(Dtype::F32, vec![3, 0], vec![0, 1], &(8..8), 0).unwrap();
        assert_eq!(stored.parts(&[], 8).unwrap().count(), 0);
    }

    #[test]
    fn what_lies_outside_of_its_storage_is_refused() {
        let view = |shape: &[usize], strides: &[usize], offset| {
            Stored::view(Dtype::F32, shape.to_vec(), strides.to_vec(), &(100..140), offset)
        };
        assert!(view(&[10], &[1], 0).is_ok());
        assert!(view(&[2, 5], &[5, 1], 0).is_ok());
        assert!(view(&[0, 5], &[usize::MAX, 1], 10).is_ok());
        let cases: [(&[usize], &[usize], usize); 7] = [
            (&[11], &[1], 0),
            (&[10], &[1], 1),
            (&[2], &[10], 0),
            (&[0], &[1], 11),
            (&[usize::MAX], &[usize::MAX], 0),
            (&[3], &[usize::MAX / 2], 2),
            (&[2], &[1], usize::MAX),
        ];
        for (shape, strides, offset) in cases {
            let damage = view(shape, strides, offset).unwrap_err();
            assert!(damage.problem.contains("does not lie in its storage of 40 bytes"), "{damage:?}");
        }
        assert!(view(&[1, 2], &[1], 0).unwrap_err().problem.contains("2 dimensions and 1 strides"));
        assert!(view(&[1; 17], &[1; 17], 0).unwrap_err().problem.contains("17 dimensions"));
        let repeated = view(&[1 << 30, 10], &[0, 1], 0).unwrap();
        assert!(repeated.parts(&[], 8).unwrap_err().problem.contains("repeats the numbers"));
        let beyond = view(&[usize::MAX, usize::MAX], &[0, 0], 0).unwrap();
        assert!(beyond.parts(&[], 8).unwrap_err().problem.contains("repeats the numbers"));
    }
}
