//! The keys and values of the tokens that a generation has read so far. Rows have prompts of different lengths, padded
//! on the right; their new tokens stand in the same columns, and a mask hides the padding between. Every column is kept,
//! whatever a layer's window. Knows no model.

use tch::{Device, Kind, Tensor};

use super::{AttentionMask, KeysBefore};
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
    /// The length of the shortest prompt there was.
    shortest: i64,
    /// Columns that hold tokens, of all layers alike; moved on by [`advance`](Self::advance).
    filled: i64,
    /// Columns in front of all tokens, which hold keys that no token has.
    before: i64,
    /// Which columns of the prompts hold tokens, `[rows, 1, 1, prompt]`; none where all prompts are equally long.
    tokens: Option<Tensor>,
}

/// What the tokens of one pass may see of a cache.
#[derive(Debug)]
pub struct View {
    /// The first column that any of them may see.
    start: i64,
    /// Which of the columns from there on.
    pub mask: AttentionMask,
}

impl Cache {
    /// An empty cache of `layers` layers for prompts of these lengths, each at least 1.
    pub fn new(layers: usize, lengths: &[i64], device: Device) -> Result<Self> {
        let prompt = lengths.iter().copied().max().unwrap_or(0);
        let shortest = lengths.iter().copied().min().unwrap_or(0);
        let ragged = lengths.iter().any(|&length| length != prompt);
        let lengths = Tensor::f_from_slice(lengths)?.f_to_device(device)?;
        let tokens = if ragged {
            let columns = Tensor::f_arange(prompt, (Kind::Int64, device))?;
            Some(columns.f_unsqueeze(0)?.f_lt_tensor(&lengths.f_unsqueeze(1)?)?.f_unsqueeze(1)?.f_unsqueeze(1)?)
        } else {
            None
        };
        Ok(Self {
            layers: (0..layers).map(|_| None).collect(),
            lengths,
            prompt,
            shortest,
            filled: 0,
            before: 0,
            tokens,
        })
    }

    /// Whether nothing has been read yet.
    pub fn is_new(&self) -> bool {
        self.filled == self.before
    }

    /// Before the first pass: each layer's keys and values `[1, heads, count, width]` that stand in front of all tokens.
    pub fn begin(&mut self, before: &[KeysBefore]) -> Result<()> {
        let Some((keys, _)) = before.first() else { return Ok(()) };
        let (count, rows) = (keys.size4()?.2, self.lengths.size1()?);
        for (slot, (keys, values)) in self.layers.iter_mut().zip(before) {
            let wide = |tensor: &Tensor| tensor.f_expand([rows, -1, -1, -1], false);
            *slot = Some((wide(keys)?, wide(values)?));
        }
        self.lengthen(count)?;
        (self.before, self.filled) = (count, count);
        Ok(())
    }

    /// Before the first pass: each prompt is longer by `count` columns at its front, alike in all rows.
    pub fn lengthen(&mut self, count: i64) -> Result<()> {
        self.prompt += count;
        self.shortest += count;
        self.lengths = self.lengths.f_add_scalar(count)?;
        if let Some(tokens) = &self.tokens {
            let (rows, _, _, _) = tokens.size4()?;
            let front = Tensor::f_ones([rows, 1, 1, count], (Kind::Bool, tokens.device()))?;
            self.tokens = Some(Tensor::f_cat(&[&front, tokens], -1)?);
        }
        Ok(())
    }

    /// The positions in their texts of the tokens of the next pass, `[rows or 1, length]`. A pass is over `length` new
    /// columns: all of the prompts' in the first, one in each later pass.
    pub fn positions(&self, length: i64) -> Result<Tensor> {
        if self.is_new() {
            let (first, kind) = (self.before, (Kind::Int64, self.lengths.device()));
            return Ok(Tensor::f_arange_start(first, first + length, kind)?.f_unsqueeze(0)?);
        }
        Ok(self.lengths.f_add_scalar(self.filled + length - self.prompt - 1)?.f_unsqueeze(1)?)
    }

    /// What the tokens of the next pass may see: what stands before them in their text, or of it the last `window`
    /// positions with their own.
    pub fn view(&self, length: i64, window: Option<i64>) -> Result<View> {
        let device = self.lengths.device();
        if self.is_new() {
            return Ok(View { start: 0, mask: AttentionMask::behind(self.before, length, window, device)? });
        }
        // New columns hold the same positions after the prompt in every row.
        let new = self.filled + length - self.prompt;
        let window = window.filter(|&window| window < self.prompt + new);
        let start = match window {
            None => 0,
            Some(window) if new >= window => {
                return Ok(View { start: self.prompt + new - window, mask: AttentionMask::All });
            }
            Some(window) => (self.shortest + new - window).max(0),
        };
        let Some(tokens) = &self.tokens else { return Ok(View { start, mask: AttentionMask::All }) };
        let mut seen = tokens.f_narrow(-1, start, self.prompt - start)?;
        if let Some(window) = window {
            let columns = Tensor::f_arange_start(start, self.prompt, (Kind::Int64, device))?;
            let oldest = self.lengths.f_add_scalar(new - window)?.f_view([-1, 1, 1, 1])?;
            seen = seen.f_logical_and(&columns.f_ge_tensor(&oldest)?)?;
        }
        let rows = self.lengths.size1()?;
        let all = Tensor::f_ones([rows, 1, 1, new], (Kind::Bool, device))?;
        Ok(View { start, mask: AttentionMask::Seen(Tensor::f_cat(&[&seen, &all], -1)?) })
    }

    /// Adds the new columns' keys and values `[rows, heads, length, width]` of a layer and returns those of all columns
    /// that `view` shows.
    pub fn extend(&mut self, layer: usize, keys: &Tensor, values: &Tensor, view: &View) -> Result<(Tensor, Tensor)> {
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
        let (start, seen) = (view.start, needed - view.start);
        let all = (held_keys.f_narrow(2, start, seen)?, held_values.f_narrow(2, start, seen)?);
        *slot = Some((held_keys, held_values));
        Ok(all)
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
