//! The keys and values of the tokens that a generation has read so far. Prompts are read first, in one pass or in several;
//! rows may be kept several times between them. Prompts of different lengths are padded on the right; their new tokens stand
//! in the same columns, and a mask hides the padding between. Every column is kept, whatever a layer's window. Knows no
//! model.

use tch::{Device, Kind, Tensor};

use super::{AttentionMask, KeysBefore};
use crate::error::{Error, Result};

/// The least number of columns that are added when there is no room; behind the prompts as many as there are new ones.
const GROWTH: i64 = 64;

/// Keys and values of one layer, `[rows, heads, columns, width]`, with room for more columns.
#[derive(Debug, Default)]
pub struct Columns(Option<(Tensor, Tensor)>);

impl Columns {
    /// Those that stand in front of all others.
    pub fn beginning(keys: Tensor, values: Tensor) -> Self {
        Self(Some((keys, values)))
    }

    /// Adds keys and values `[rows, heads, length, width]` behind the first `filled` columns, and returns those of all. Room
    /// that is lacking is made for these and for as many more as there are `new` ones already.
    pub fn extend(&mut self, filled: i64, new: i64, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let length = keys.size4()?.2;
        let (needed, more) = (filled + length, new.max(GROWTH));
        let (held_keys, held_values) = match self.0.take() {
            Some((keys, values)) if keys.size4()?.2 >= needed => (keys, values),
            held => {
                let grow = |held: Option<&Tensor>, new: &Tensor| -> Result<Tensor> {
                    let (rows, heads, _, width) = new.size4()?;
                    let room = Tensor::f_empty([rows, heads, needed + more, width], (new.f_kind()?, new.device()))?;
                    if let Some(held) = held {
                        room.f_narrow(2, 0, filled)?.f_copy_(&held.f_narrow(2, 0, filled)?)?;
                    }
                    Ok(room)
                };
                (grow(held.as_ref().map(|held| &held.0), keys)?, grow(held.as_ref().map(|held| &held.1), values)?)
            }
        };
        held_keys.f_narrow(2, filled, length)?.f_copy_(keys)?;
        held_values.f_narrow(2, filled, length)?.f_copy_(values)?;
        let all = (held_keys.f_narrow(2, 0, needed)?, held_values.f_narrow(2, 0, needed)?);
        self.0 = Some((held_keys, held_values));
        Ok(all)
    }

    /// Keeps `rows` (`[kept]`, indices), in that order, with what the first `filled` columns hold.
    pub fn keep(&mut self, rows: &Tensor, filled: i64) -> Result<()> {
        *self = self.fork(rows, filled)?;
        Ok(())
    }

    /// Such `rows` (`[kept]`, indices), with what the first `filled` columns hold, in memory of their own.
    fn fork(&self, rows: &Tensor, filled: i64) -> Result<Self> {
        let kept = |held: &Tensor| -> Result<Tensor> {
            let (_, heads, columns, width) = held.size4()?;
            let new = rows.size1()?;
            let room = Tensor::f_empty([new, heads, columns, width], (held.f_kind()?, held.device()))?;
            let _ = held.f_narrow(2, 0, filled)?.f_index_select_out(&room.f_narrow(2, 0, filled)?, 0, rows)?;
            Ok(room)
        };
        let Some((keys, values)) = &self.0 else { return Ok(Self(None)) };
        Ok(Self(Some((kept(keys)?, kept(values)?))))
    }

    /// Puts the `rows` of another, with what its first `filled` columns hold, to the `places` (both `[rows]`, indices) of
    /// this one, which has `count` rows and room for `columns`, zero where nothing is put.
    fn put(
        &mut self,
        other: &Self,
        filled: i64,
        (rows, places): (&Tensor, &Tensor),
        (count, columns): (i64, i64),
    ) -> Result<()> {
        let Some((keys, values)) = &other.0 else { return Ok(()) };
        if self.0.is_none() {
            let room = |like: &Tensor| -> Result<Tensor> {
                let (_, heads, _, width) = like.size4()?;
                Ok(Tensor::f_zeros([count, heads, columns, width], (like.f_kind()?, like.device()))?)
            };
            self.0 = Some((room(keys)?, room(values)?));
        }
        if let Some((own_keys, own_values)) = &self.0 {
            for (own, other) in [(own_keys, keys), (own_values, values)] {
                let rows = other.f_narrow(2, 0, filled)?.f_index_select(0, rows)?;
                let _ = own.f_narrow(2, 0, filled)?.f_index_copy_(0, places, &rows)?;
            }
        }
        Ok(())
    }

    /// Puts `rows` (`[rows]`, indices) into the places of others, in the columns `from` to `filled` alone.
    pub fn reorder(&mut self, rows: &Tensor, from: i64, filled: i64) -> Result<()> {
        if let Some((keys, values)) = &self.0 {
            for held in [keys, values] {
                let mut part = held.f_narrow(2, from, filled - from)?;
                let moved = part.f_index_select(0, rows)?;
                part.f_copy_(&moved)?;
            }
        }
        Ok(())
    }
}

/// Keys and values of every layer, for a batch of rows.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<Columns>,
    device: Device,
    /// Columns that hold tokens, of all layers alike; moved on by [`advance`](Self::advance).
    filled: i64,
    /// Columns in front of all tokens, which hold keys that no token has.
    before: i64,
    /// Columns in front of the prompts' own tokens: those, and virtual tokens.
    front: i64,
    /// Once all prompts have been read.
    prompts: Option<Prompts>,
}

/// The prompts of a cache's rows.
#[derive(Debug)]
struct Prompts {
    /// Length of each, `[rows]`, with the columns in front of them.
    lengths: Tensor,
    /// Their columns: the length of the longest.
    columns: i64,
    /// The length of the shortest there was.
    shortest: i64,
    /// Which columns hold tokens, `[rows, 1, 1, columns]`; none where all prompts are equally long.
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
    /// An empty cache of `layers` layers.
    pub fn new(layers: usize, device: Device) -> Self {
        let layers = (0..layers).map(|_| Columns::default()).collect();
        Self { layers, device, filled: 0, before: 0, front: 0, prompts: None }
    }

    /// Whether nothing has been read yet.
    pub fn is_new(&self) -> bool {
        self.filled == self.before
    }

    /// Before the first pass, of so many `rows`: each layer's keys and values `[1, heads, count, width]` that stand in front
    /// of all tokens.
    pub fn begin(&mut self, before: &[KeysBefore], rows: i64) -> Result<()> {
        let Some((keys, _)) = before.first() else { return Ok(()) };
        let count = keys.size4()?.2;
        for (slot, (keys, values)) in self.layers.iter_mut().zip(before) {
            let wide = |tensor: &Tensor| tensor.f_expand([rows, -1, -1, -1], false);
            *slot = Columns::beginning(wide(keys)?, wide(values)?);
        }
        self.lengthen(count);
        (self.before, self.filled) = (count, count);
        Ok(())
    }

    /// Before the first pass: each prompt is longer by `count` columns at its front, alike in all rows.
    pub fn lengthen(&mut self, count: i64) {
        self.front += count;
    }

    /// Puts the `rows` of another, which has read prompts so far, to the `places` (both `[rows]`, indices) of this one, which
    /// is for `count` prompts of at most `longest` tokens.
    pub fn put(&mut self, other: &Self, rows: &Tensor, places: &Tensor, count: i64, longest: i64) -> Result<()> {
        (self.before, self.front) = (other.before, other.front);
        self.filled = self.front + longest;
        for (slot, other_slot) in self.layers.iter_mut().zip(&other.layers) {
            slot.put(other_slot, other.filled, (rows, places), (count, self.filled + GROWTH))?;
        }
        Ok(())
    }

    /// All prompts have been read: these are their lengths, each at least 1, in the order of the rows. From now on a pass is
    /// over one new column.
    pub fn prompts_end(&mut self, lengths: &[i64]) -> Result<()> {
        let lengths: Vec<i64> = lengths.iter().map(|length| length + self.front).collect();
        let columns = lengths.iter().copied().max().unwrap_or(0);
        let shortest = lengths.iter().copied().min().unwrap_or(0);
        let ragged = shortest != columns;
        let lengths = Tensor::f_from_slice(&lengths)?.f_to_device(self.device)?;
        let tokens = if ragged {
            let places = Tensor::f_arange(columns, (Kind::Int64, self.device))?;
            Some(places.f_unsqueeze(0)?.f_lt_tensor(&lengths.f_unsqueeze(1)?)?.f_unsqueeze(1)?.f_unsqueeze(1)?)
        } else {
            None
        };
        self.prompts = Some(Prompts { lengths, columns, shortest, tokens });
        Ok(())
    }

    /// The positions in their texts of the tokens of the next pass, `[rows or 1, length]`.
    pub fn positions(&self, length: i64) -> Result<Tensor> {
        match &self.prompts {
            None => {
                let kind = (Kind::Int64, self.device);
                Ok(Tensor::f_arange_start(self.filled, self.filled + length, kind)?.f_unsqueeze(0)?)
            }
            Some(prompts) => {
                Ok(prompts.lengths.f_add_scalar(self.filled + length - prompts.columns - 1)?.f_unsqueeze(1)?)
            }
        }
    }

    /// What the tokens of the next pass may see: what stands before them in their text, or of it the last `window`
    /// positions with their own.
    pub fn view(&self, length: i64, window: Option<i64>) -> Result<View> {
        let Some(prompts) = &self.prompts else {
            return Ok(View { start: 0, mask: AttentionMask::behind(self.filled, length, window, self.device)? });
        };
        // New columns hold the same positions after the prompt in every row.
        let new = self.filled + length - prompts.columns;
        let window = window.filter(|&window| window < prompts.columns + new);
        let start = match window {
            None => 0,
            Some(window) if new >= window => {
                return Ok(View { start: prompts.columns + new - window, mask: AttentionMask::All });
            }
            Some(window) => (prompts.shortest + new - window).max(0),
        };
        let Some(tokens) = &prompts.tokens else { return Ok(View { start, mask: AttentionMask::All }) };
        let mut seen = tokens.f_narrow(-1, start, prompts.columns - start)?;
        if let Some(window) = window {
            let columns = Tensor::f_arange_start(start, prompts.columns, (Kind::Int64, self.device))?;
            let oldest = prompts.lengths.f_add_scalar(new - window)?.f_view([-1, 1, 1, 1])?;
            seen = seen.f_logical_and(&columns.f_ge_tensor(&oldest)?)?;
        }
        let rows = prompts.lengths.size1()?;
        let all = Tensor::f_ones([rows, 1, 1, new], (Kind::Bool, self.device))?;
        Ok(View { start, mask: AttentionMask::Seen(Tensor::f_cat(&[&seen, &all], -1)?) })
    }

    /// Adds the new columns' keys and values `[rows, heads, length, width]` of a layer and returns those of all columns
    /// that `view` shows.
    pub fn extend(&mut self, layer: usize, keys: &Tensor, values: &Tensor, view: &View) -> Result<(Tensor, Tensor)> {
        let new = self.prompts.as_ref().map_or(0, |prompts| self.filled - prompts.columns);
        let (filled, count) = (self.filled, self.layers.len());
        let Some(slot) = self.layers.get_mut(layer) else {
            let problem = format!("has {count} layers, layer {layer} asks for its keys");
            return Err(Error::setting("cache", problem, "make the cache with as many layers as the model has"));
        };
        let (keys, values) = slot.extend(filled, new, keys, values)?;
        let (start, seen) = (view.start, keys.size4()?.2 - view.start);
        Ok((keys.f_narrow(2, start, seen)?, values.f_narrow(2, start, seen)?))
    }

    /// Ends a pass over `length` columns.
    pub fn advance(&mut self, length: i64) {
        self.filled += length;
    }

    /// Keeps `rows` (`[kept]`, indices), in that order; one may be kept several times.
    pub fn keep(&mut self, rows: &Tensor) -> Result<()> {
        for slot in &mut self.layers {
            slot.keep(rows, self.filled)?;
        }
        if let Some(prompts) = &mut self.prompts {
            prompts.lengths = prompts.lengths.f_index_select(0, rows)?;
            prompts.tokens = prompts.tokens.as_ref().map(|tokens| tokens.f_index_select(0, rows)).transpose()?;
        }
        Ok(())
    }

    /// Another in which such `rows` (`[kept]`, indices) of this one have read what they read here, before any prompt ends. This
    /// one stays as it is.
    pub fn fork(&self, rows: &Tensor) -> Result<Self> {
        let layers = self.layers.iter().map(|slot| slot.fork(rows, self.filled)).collect::<Result<_>>()?;
        Ok(Self {
            layers,
            device: self.device,
            filled: self.filled,
            before: self.before,
            front: self.front,
            prompts: None,
        })
    }

    /// Puts `rows` (`[rows]`, indices) into the places of others with the same prompt: what belongs to prompts stays.
    pub fn reorder(&mut self, rows: &Tensor) -> Result<()> {
        let from = self.prompts.as_ref().map_or(0, |prompts| prompts.columns);
        for slot in &mut self.layers {
            slot.reorder(rows, from, self.filled)?;
        }
        Ok(())
    }
}
