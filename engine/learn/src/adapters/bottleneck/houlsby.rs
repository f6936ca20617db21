//! A bottleneck behind a sublayer, before what it gave joins the hidden states: `norm(h + a(h) + x)`. Houlsby et al.,
//! Parameter-Efficient Transfer Learning for NLP (arXiv 1902.00751), figure 2.

use tch::Tensor;

use super::neck::Block;
use crate::error::Result;
use crate::layers::{Join, Mode, Sum};

#[derive(Debug)]
pub(super) struct Behind {
    pub block: Block,
    pub plain: Sum,
}

impl Join for Behind {
    fn forward(&self, made: &Tensor, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.plain.forward(&made.f_add(&self.block.forward(made, mode)?)?, x, mode)
    }
}
