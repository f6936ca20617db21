//! Scaled dot-product attention over grouped heads, and which keys each query may see. Vaswani et al. (arXiv
//! 1706.03762), equation 1; grouped queries by Ainslie et al. (arXiv 2305.13245); sliding windows by Beltagy et al.
//! (arXiv 2004.05150), section 3.1.

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// How many heads there are and how wide each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Heads of the queries.
    pub queries: i64,
    /// Heads of the keys and values; each serves `queries / keys` query heads.
    pub keys: i64,
    /// Width of one head.
    pub width: i64,
}

impl Heads {
    /// `[rows, length, heads · width]` to `[rows, heads, length, width]`.
    pub fn split(&self, states: &Tensor) -> Result<Tensor> {
        let (rows, length, _) = states.size3()?;
        Ok(states.f_view([rows, length, -1, self.width])?.f_transpose(1, 2)?)
    }

    /// `[rows, heads, length, width]` to `[rows, length, heads · width]`.
    pub fn join(&self, states: &Tensor) -> Result<Tensor> {
        let (rows, heads, length, width) = states.size4()?;
        Ok(states.f_transpose(1, 2)?.f_reshape([rows, length, heads * width])?)
    }
}

/// Which keys each query may see.
#[derive(Debug)]
pub enum AttentionMask {
    /// All keys.
    All,
    /// The key of its own position and those before; queries and keys are equally many.
    Causal,
    /// Those where this is true: booleans, broadcast to `[rows, heads, queries, keys]`.
    Seen(Tensor),
    /// All keys, this added to the scores, `-∞` where a key may not be seen: of the kind of the queries, broadcast to
    /// `[rows, heads, queries, keys]`.
    Bias(Tensor),
}

impl AttentionMask {
    /// For a text of `length` tokens: each sees itself and the `window - 1` before.
    pub fn sliding(length: i64, window: i64, device: Device) -> Result<Self> {
        if length <= window {
            return Ok(Self::Causal);
        }
        let band = Tensor::f_ones([length, length], (Kind::Bool, device))?.f_tril(0)?.f_triu(1 - window)?;
        Ok(Self::Seen(band))
    }

    /// For a text of `length` tokens behind `before` other keys: each sees those, itself and the tokens before it, or of
    /// all these the last `window`.
    pub fn behind(before: i64, length: i64, window: Option<i64>, device: Device) -> Result<Self> {
        match window {
            None if before == 0 => return Ok(Self::Causal),
            Some(window) if before == 0 => return Self::sliding(length, window, device),
            _ => {}
        }
        let seen = Tensor::f_ones([length, before + length], (Kind::Bool, device))?.f_tril(before)?;
        Ok(Self::Seen(match window.filter(|&window| window < before + length) {
            Some(window) => seen.f_triu(before + 1 - window)?,
            None => seen,
        }))
    }
}

/// Attention `softmax(scale · q kᵀ) v`, each tensor `[rows, heads, length, width]`, by libtorch's fused kernels, which
/// compute the softmax in float32. Without a `scale` it is `1 / √width`. `dropout` acts on the attention weights.
pub fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &AttentionMask,
    scale: Option<f64>,
    dropout: f64,
) -> Result<Tensor> {
    let (mask, causal) = match mask {
        AttentionMask::All => (None, false),
        AttentionMask::Causal => (None, q.size4()?.2 > 1),
        AttentionMask::Seen(mask) | AttentionMask::Bias(mask) => (Some(mask), false),
    };
    let grouped = q.size4()?.1 != k.size4()?.1;
    Ok(Tensor::f_scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale, grouped)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shows_each_token_itself_and_those_just_before() {
        let AttentionMask::Seen(band) = AttentionMask::sliding(4, 2, Device::Cpu).unwrap() else { panic!() };
        let rows = Vec::<Vec<bool>>::try_from(band).unwrap();
        let text: Vec<String> =
            rows.iter().map(|row| row.iter().map(|&seen| if seen { 'x' } else { '.' }).collect()).collect();
        assert_eq!(text, ["x...", "xx..", ".xx.", "..xx"]);
        assert!(matches!(AttentionMask::sliding(4, 4, Device::Cpu).unwrap(), AttentionMask::Causal));
    }

    #[test]
    fn keys_in_front_are_seen_as_far_as_the_window_goes() {
        let text = |window| {
            let AttentionMask::Seen(band) = AttentionMask::behind(2, 3, window, Device::Cpu).unwrap() else { panic!() };
            let rows = Vec::<Vec<bool>>::try_from(band).unwrap();
            let row = |row: &Vec<bool>| row.iter().map(|&seen| if seen { 'x' } else { '.' }).collect::<String>();
            rows.iter().map(row).collect::<Vec<_>>()
        };
        assert_eq!(text(None), ["xxx..", "xxxx.", "xxxxx"]);
        assert_eq!(text(Some(3)), ["xxx..", ".xxx.", "..xxx"]);
        assert_eq!(text(Some(5)), text(None));
    }

    #[test]
    fn each_mask_is_the_softmax_over_what_it_shows() {
        let states = |shape: &[i64], step: f64| {
            let count = shape.iter().product::<i64>();
            (Tensor::arange(count, (Kind::Double, Device::Cpu)) * step).sin().view(shape) * 2.0
        };
        let (q, k, v) = (states(&[2, 4, 5, 8], 1.7), states(&[2, 2, 5, 8], 2.3), states(&[2, 2, 5, 8], 2.9));
        let seen = Tensor::from_slice(&[true, true, false, true, false]).unsqueeze(0);
        let bias = states(&[1, 4, 5, 5], 3.1);
        let hidden = |seen: &Tensor| seen.to_kind(Kind::Double).log();
        let causal = Tensor::ones([5, 5], (Kind::Bool, Device::Cpu)).tril(0);
        let cases = [
            (AttentionMask::All, Tensor::zeros([5, 5], (Kind::Double, Device::Cpu))),
            (AttentionMask::Causal, hidden(&causal)),
            (AttentionMask::Seen(seen.shallow_clone()), hidden(&seen)),
            (AttentionMask::Bias(bias.shallow_clone()), bias),
        ];
        for (mask, added) in cases {
            for scale in [None, Some(0.7)] {
                let repeat = |states: &Tensor| states.repeat_interleave_self_int(2, 1, None);
                let scores = q.matmul(&repeat(&k).transpose(2, 3)) * scale.unwrap_or(8f64.sqrt().recip()) + &added;
                let expected = scores.softmax(-1, Kind::Double).matmul(&repeat(&v));
                let found = attend(&q, &k, &v, &mask, scale, 0.0).unwrap();
                assert!((found - expected).abs().max().double_value(&[]) < 1e-12, "{mask:?}, {scale:?}");
            }
        }
    }
}
