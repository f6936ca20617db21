//! OLoRA: B = Q[:, :r] and A = R[:r] of W = QR, taken out of the base. Büyükakyüz, OLoRA: Orthonormal Low-Rank Adaptation
//! (arXiv 2406.01775), algorithm 1, as in PEFT.

use tch::Tensor;

use super::{Base, First, FirstValues, Map};
use crate::error::Result;

/// The first vectors of the QR decomposition.
#[derive(Debug, Clone, Copy)]
pub struct Olora;

impl FirstValues for Olora {
    fn of(&self, map: &Map) -> Result<First> {
        map.check_rank()?;
        let (q, r) = Tensor::f_linalg_qr(&map.exact()?, "reduced")?;
        Ok(First { a: r.f_narrow(0, 0, map.rank)?.f_contiguous()?, b: q.f_narrow(1, 0, map.rank)?.f_contiguous()? })
    }

    fn base(&self) -> Base {
        Base::Residual
    }
}
