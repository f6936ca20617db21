//! LoRA on a table of embeddings: `E[id] + s · B A[:, id]`, A `[rank, count]` zero and B `[width, rank]` normal at first, as
//! in PEFT; without dropout.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::layers::{Lookup, Mode, Table};

/// A table with factors beside it.
#[derive(Debug)]
pub struct LoraLookup {
    /// The table itself.
    pub plain: Table,
    /// `[rank, count]`
    pub a: Tensor,
    /// `[width, rank]`
    pub b: Tensor,
    /// s.
    pub scale: f64,
}

impl Lookup for LoraLookup {
    fn forward(&self, ids: &Tensor, mode: Mode) -> Result<Tensor> {
        let rows = self.plain.forward(ids, mode)?;
        let low = Tensor::f_embedding(&self.a.f_transpose(0, 1)?, ids, self.plain.padding, false, false)?;
        let update = low.f_linear(&self.b, None::<&Tensor>)?.f_mul_scalar(self.scale)?;
        Ok(rows.f_add(&update.f_to_kind(rows.f_kind()?)?)?)
    }

    fn merged(&self) -> Result<Tensor> {
        let weight = self.plain.weight.f_detach()?;
        let product = self.b.f_detach()?.f_matmul(&self.a.f_detach()?)?.f_transpose(0, 1)?;
        let sum = weight.f_to_kind(Kind::Float)?.f_add(&product.f_mul_scalar(self.scale)?)?;
        Ok(sum.f_to_kind(weight.f_kind()?)?)
    }
}
