//! A bottleneck of what joined the hidden states already and was normed: `norm(h + a(norm(h + x)) + x)`. Pfeiffer et al.,
//! AdapterFusion (arXiv 2005.00247), figure 5, as adapter-hub has it; without a norm in the family, `h + a(h + x) + x`.

use tch::Tensor;

use super::neck::Block;
use crate::error::Result;
use crate::layers::{Join, Mode, Sum};

#[derive(Debug)]
pub(super) struct BehindNorm {
    pub block: Block,
    pub plain: Sum,
}

impl Join for BehindNorm {
    fn forward(&self, made: &Tensor, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let joined = self.plain.forward(made, x, mode)?;
        self.plain.forward(&made.f_add(&self.block.forward(&joined, mode)?)?, x, mode)
    }
}
