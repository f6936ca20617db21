//! A and B random, with BA = 0: rows of one orthogonal matrix Q `[rank, rank]` are shared among them, A = (X Q₁)ᵀ / 10 and
//! B = Yᵀ Q₂ / 10 for normal X, Y, Q₁ the rows 0, 2, …, Q₂ the rows 1, 3, …. PEFT's `orthogonal`.

use serde_json::{Value, json};
use tch::Tensor;

use super::{First, FirstValues, Map};
use crate::error::{Error, Result};
use crate::weights::Init;

/// Orthogonal halves.
#[derive(Debug, Clone, Copy)]
pub struct Orthogonal;

impl FirstValues for Orthogonal {
    fn of(&self, map: &Map) -> Result<First> {
        let (rank, (outputs, inputs)) = (map.rank, map.sizes()?);
        if rank % 2 != 0 {
            let problem = format!("is {rank}, and `init: orthogonal` shares it among A and B");
            return Err(Error::setting("rank", problem, "give an even rank, or `init: kaiming`"));
        }
        let draw = |name: &str, shape: [i64; 2]| map.fresh.draw(name, &shape, Init::Normal(1.0));
        let (q, _) = Tensor::f_linalg_qr(&draw(&format!("{}.orthogonal", map.a), [rank, rank])?, "reduced")?;
        let half = |first: i64| q.f_slice(0, first, rank, 2);
        let a = draw(map.a, [inputs, rank / 2])?.f_matmul(&half(0)?)?.f_transpose(0, 1)?.f_div_scalar(10.0)?;
        let b = draw(map.b, [rank / 2, outputs])?.f_transpose(0, 1)?.f_matmul(&half(1)?)?.f_div_scalar(10.0)?;
        Ok(First { a: a.f_contiguous()?, b: b.f_contiguous()? })
    }

    fn peft(&self) -> Value {
        json!("orthogonal")
    }
}
