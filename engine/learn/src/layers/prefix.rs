//! Keys and values that train, before those of a text's own tokens in the attention of each layer (Li and Liang, arXiv
//! 2101.00190, section 4). Knows no model and no mask.

use std::rc::Rc;

use tch::{Kind, Tensor};

use super::{Activations, Linear, LinearMap, Mode};
use crate::error::{Error, Result};

/// Keys and values of one layer, each `[1, heads, count, width]`.
pub type KeysBefore = (Tensor, Tensor);

/// Keys and values before those of every text.
#[derive(Debug)]
pub struct Prefix {
    values: Values,
    sizes: PrefixSizes,
    /// How far one layer's slot is behind that of the layer before it.
    stride: usize,
    activations: Rc<Activations>,
}

/// How many keys and values a prefix has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixSizes {
    /// Keys before those of a text.
    pub count: i64,
    /// Layers that have some.
    pub layers: usize,
    /// Heads of the keys and values.
    pub heads: i64,
    /// Width of a head.
    pub width: i64,
}

impl PrefixSizes {
    /// Numbers of all keys and values at one position: key and value of the first layer, of the second, and so on.
    pub fn numbers(self) -> i64 {
        self.layers as i64 * 2 * self.heads * self.width
    }
}

/// Where the numbers come from.
#[derive(Debug)]
pub enum Values {
    /// They train themselves, `[count, numbers]`.
    Plain(Tensor),
    /// They are `second(tanh(first(embedding)))`, `embedding` being `[count, …]`.
    Projected {
        /// What goes in.
        embedding: Tensor,
        /// To the inner width.
        first: Linear,
        /// To the numbers.
        second: Linear,
    },
}

impl Values {
    /// The numbers, `[count, numbers]`, float32.
    pub fn numbers(&self) -> Result<Tensor> {
        match self {
            Self::Plain(numbers) => Ok(numbers.shallow_clone()),
            Self::Projected { embedding, first, second } => {
                second.forward(&first.forward(embedding, Mode::Eval)?.f_tanh()?, Mode::Eval)
            }
        }
    }
}

impl Prefix {
    /// A prefix of these sizes. Layer i has the slot `stride · i` of them, counted round.
    pub fn new(values: Values, sizes: PrefixSizes, stride: usize, activations: Rc<Activations>) -> Self {
        Self { values, sizes, stride, activations }
    }

    /// Keys before those of a text.
    pub fn count(&self) -> i64 {
        self.sizes.count
    }

    /// How many keys and values there are.
    pub fn sizes(&self) -> PrefixSizes {
        self.sizes
    }

    /// The numbers of all keys and values, `[count, numbers]`, float32.
    pub fn numbers(&self) -> Result<Tensor> {
        self.values.numbers()
    }

    /// The keys and values of each layer in this kind, for one pass.
    pub fn of_layers(&self, kind: Kind) -> Result<Vec<KeysBefore>> {
        let PrefixSizes { count, layers, heads, width } = self.sizes;
        let numbers = self.activations.cut(&self.values.numbers()?.f_to_kind(kind)?)?;
        let slots = numbers.f_view([count, layers as i64 * 2, heads, width])?.f_permute([1, 2, 0, 3])?;
        let slot = |at: i64| slots.f_narrow(0, at, 1);
        (0..layers)
            .map(|layer| {
                let at = 2 * (layer * self.stride % layers.max(1)) as i64;
                Ok((slot(at)?, slot(at + 1)?))
            })
            .collect()
    }
}

/// `before` in front of the keys and values `own`, each `[rows, heads, length, width]`.
pub fn in_front(before: Option<(&Tensor, &Tensor)>, own: (Tensor, Tensor)) -> Result<(Tensor, Tensor)> {
    let Some((keys, values)) = before else { return Ok(own) };
    let rows = own.0.size4()?.0;
    let joined = |before: &Tensor, own: &Tensor| -> Result<Tensor> {
        Ok(Tensor::f_cat(&[&before.f_expand([rows, -1, -1, -1], false)?, own], 2)?)
    };
    Ok((joined(keys, &own.0)?, joined(values, &own.1)?))
}

/// What stands before the keys of a layer, of all layers.
pub fn of_layer(before: &[KeysBefore], layer: usize) -> Result<Option<(&Tensor, &Tensor)>> {
    match (before.is_empty(), before.get(layer)) {
        (true, _) => Ok(None),
        (false, Some((keys, values))) => Ok(Some((keys, values))),
        (false, None) => {
            let problem = format!("has keys for {} layers, layer {layer} asks for some", before.len());
            Err(Error::setting("prefix", problem, "make it for as many layers as the model has"))
        }
    }
}
