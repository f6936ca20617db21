//! The keys and values of the tokens that a generation has read so far. Rows have prompts of different lengths, padded
//! on the right; their new tokens stand in the same columns, and a mask hides the padding between. Knows no model.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// The least number of columns that are added when the cache is full; a long one grows by half.
const GROWTH: i64 = 64;

/// Keys and values of every layer, for a batch of rows.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<Option<(Tensor, Tensor)>>,
    /// Length of each row's prompt, `[rows]`.
    lengths: Tensor,
    /// Columns of the prompts: the length of the longest.
    prompt: i64,
    /// Columns that hold tokens, of all layers alike; moved on by [`advance`](Self::advance).
    filled: i64,
    /// Which columns of the prompts hold tokens, `[rows, 1, 1, prompt]`; none where all prompts are equally long.
    tokens: Option<Tensor>,
    /// The mask for the pass that is in progress.
    mask: Option<Tensor>,
}

impl Cache {
    /// An empty cache of `layers` layers for prompts of these lengths, each at least 1.
    pub fn new(layers: usize, lengths: &[i64], device: Device) -> Result<Self> {
        let prompt = lengths.iter().copied().max().unwrap_or(0);
        let ragged = lengths.iter().any(|&length| length != prompt);
        let lengths = Tensor::f_from_slice(lengths)?.f_to_device(device)?;
        let tokens = if ragged {
            let columns = Tensor::f_arange(prompt, (Kind::Int64, device))?;
            Some(columns.f_unsqueeze(0)?.f_lt_tensor(&lengths.f_unsqueeze(1)?)?.f_unsqueeze(1)?.f_unsqueeze(1)?)
        } else {
            None
        };
        Ok(Self { layers: (0..layers).map(|_| None).collect(), lengths, prompt, filled: 0, tokens, mask: None })
    }

    /// Starts a pass over `length` new columns: all of the prompts' in the first, one in each later pass. Returns the
    /// positions of the new tokens in their texts, `[rows or 1, length]`.
    pub fn start(&mut self, length: i64) -> Result<Tensor> {
        let device = self.lengths.device();
        if self.filled == 0 {
            return Ok(Tensor::f_arange(length, (Kind::Int64, device))?.f_unsqueeze(0)?);
        }
        let new = self.filled + length - self.prompt;
        self.mask = match &self.tokens {
            Some(tokens) => {
                let rows = self.lengths.size1()?;
                let seen = Tensor::f_ones([rows, 1, 1, new], (Kind::Bool, device))?;
                Some(Tensor::f_cat(&[tokens, &seen], -1)?)
            }
            None => None,
        };
        Ok(self.lengths.f_add_scalar(new - 1)?.f_unsqueeze(1)?)
    }

    /// Adds the new columns' keys and values `[rows, heads, length, width]` of a layer and returns those of all columns.
    pub fn extend(&mut self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let (rows, heads, length, width) = keys.size4()?;
        let filled = self.filled;
        let count = self.layers.len();
        let Some(slot) = self.layers.get_mut(layer) else {
            let problem = format!("has {count} layers, layer {layer} asks for its keys");
            return Err(Error::setting("cache", problem, "make the cache with as many layers as the model has"));
        };
        let needed = filled + length;
        let (held_keys, held_values) = match slot.take() {
            Some((keys, values)) if keys.size4()?.2 >= needed => (keys, values),
            held => {
                let grow = |held: Option<&Tensor>| -> Result<Tensor> {
                    let columns = needed + GROWTH.max(needed / 2);
                    let room = Tensor::f_zeros([rows, heads, columns, width], (keys.f_kind()?, keys.device()))?;
                    if let Some(held) = held {
                        room.f_narrow(2, 0, filled)?.f_copy_(&held.f_narrow(2, 0, filled)?)?;
                    }
                    Ok(room)
                };
                (grow(held.as_ref().map(|held| &held.0))?, grow(held.as_ref().map(|held| &held.1))?)
            }
        };
        held_keys.f_narrow(2, filled, length)?.f_copy_(keys)?;
        held_values.f_narrow(2, filled, length)?.f_copy_(values)?;
        let all = (held_keys.f_narrow(2, 0, needed)?, held_values.f_narrow(2, 0, needed)?);
        *slot = Some((held_keys, held_values));
        Ok(all)
    }

    /// The mask of the pass in progress, `[rows, 1, 1, columns]`, true where a key may be seen; none where causality
    /// alone decides.
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }

    /// Ends a pass over `length` columns.
    pub fn advance(&mut self, length: i64) {
        self.filled += length;
    }

    /// Keeps only `rows` (`[kept]`, indices), in that order.
    pub fn keep(&mut self, rows: &Tensor) -> Result<()> {
        for slot in self.layers.iter_mut().flatten() {
            *slot = (slot.0.f_index_select(0, rows)?, slot.1.f_index_select(0, rows)?);
        }
        self.lengths = self.lengths.f_index_select(0, rows)?;
        self.tokens = self.tokens.as_ref().map(|tokens| tokens.f_index_select(0, rows)).transpose()?;
        Ok(())
    }
}
