//! A bottleneck beside a sublayer, of what came into it: `norm(h + a(x) + x)`. He et al., Towards a Unified View of
//! Parameter-Efficient Transfer Learning (arXiv 2110.04366), table 1, "scaled parallel adapter".

use tch::Tensor;

use super::neck::Block;
use crate::error::Result;
use crate::layers::{Join, Mode, Sum};

#[derive(Debug)]
pub(super) struct Beside {
    pub block: Block,
    pub plain: Sum,
}

impl Join for Beside {
    fn forward(&self, made: &Tensor, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.plain.forward(&made.f_add(&self.block.forward(x, mode)?)?, x, mode)
    }
}
