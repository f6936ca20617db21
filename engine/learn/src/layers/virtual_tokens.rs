//! Virtual tokens: vectors that stand among the embedded tokens of every text (Lester et al., arXiv 2104.08691, section
//! 2). What they become is taken out again before anyone reads it. Knows no model.

use tch::{Kind, Tensor};

use crate::error::Result;

/// Vectors among the embedded tokens of every text.
#[derive(Debug)]
pub struct VirtualTokens {
    /// `[count or more, width]`; the first ones stand there.
    vectors: Tensor,
    /// How many of a text's own tokens stand before them.
    after: i64,
    count: i64,
}

impl VirtualTokens {
    /// The first `count` of `vectors` `[…, width]`, behind so many of a text's own tokens.
    pub fn new(vectors: Tensor, count: i64, after: i64) -> Self {
        Self { vectors, after, count }
    }

    /// How many there are.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// How many of a text's own tokens stand before them.
    pub fn after(&self) -> i64 {
        self.after
    }

    /// The vectors, `[1, count, width]`, in this kind.
    pub fn vectors(&self, kind: Kind) -> Result<Tensor> {
        Ok(self.vectors.f_narrow(0, 0, self.count)?.f_to_kind(kind)?.f_unsqueeze(0)?)
    }

    /// Embedded texts `[rows, length, width]` with the vectors in their place: `[rows, length + count, width]`, of the kind
    /// that came in.
    pub fn insert(&self, embedded: &Tensor) -> Result<Tensor> {
        let (rows, _, width) = embedded.size3()?;
        let vectors = self.vectors(embedded.f_kind()?)?;
        self.join(embedded, &vectors.f_expand([rows, self.count, width], false)?)
    }

    /// One number or mark for each token, `[rows, length]`, with `mark` for each virtual one in its place.
    pub fn marked(&self, marks: &Tensor, mark: i64) -> Result<Tensor> {
        let rows = marks.size2()?.0;
        self.join(marks, &Tensor::f_full([rows, self.count], mark, (marks.f_kind()?, marks.device()))?)
    }

    /// The states of the text's own tokens, `[rows, length, width]` of `[rows, length + count, width]`.
    pub fn remove(&self, states: &Tensor) -> Result<Tensor> {
        let rest = self.after + self.count;
        let behind = states.f_narrow(1, rest, states.size3()?.1 - rest)?;
        match self.after {
            0 => Ok(behind),
            after => Ok(Tensor::f_cat(&[states.f_narrow(1, 0, after)?, behind], 1)?),
        }
    }

    /// The mask `[rows, 1, 1, length]` of the texts, in which every virtual token may be seen.
    pub fn seen(&self, mask: &Tensor) -> Result<Tensor> {
        let (rows, _, _, length) = mask.size4()?;
        let marked = self.marked(&mask.f_reshape([rows, length])?.f_to_kind(Kind::Bool)?, 1)?;
        Ok(marked.f_unsqueeze(1)?.f_unsqueeze(1)?)
    }

    fn join(&self, own: &Tensor, virtual_ones: &Tensor) -> Result<Tensor> {
        Ok(match self.after {
            0 => Tensor::f_cat(&[virtual_ones, own], 1)?,
            after => {
                let behind = own.f_narrow(1, after, own.size()[1] - after)?;
                Tensor::f_cat(&[&own.f_narrow(1, 0, after)?, virtual_ones, &behind], 1)?
            }
        })
    }
}
