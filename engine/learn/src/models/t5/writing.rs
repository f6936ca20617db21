//! Answers that a T5 writes token by token: the decoder's keys and values so far, and those of the texts, which are
//! computed once.

use tch::Tensor;

use super::T5;
use super::stack::KeysAndValues;
use crate::error::Result;
use crate::layers::{Columns, Mode, of_layer};
use crate::models::Writing;

/// Answers to a batch of texts.
#[derive(Debug)]
pub struct Answers<'a> {
    model: &'a T5,
    /// Of each layer: the keys and values of what was written.
    own: Vec<Columns>,
    /// Of each layer: those of the texts.
    read: Vec<KeysAndValues>,
    /// Which tokens of the texts may be seen, `[rows, 1, 1, length]`.
    mask: Option<Tensor>,
    /// Keys that stand before those of what was written, and how many tokens were.
    before: i64,
    written: i64,
}

impl<'a> Answers<'a> {
    /// Before the first token of the answers to texts with the encoder's states `encoded`.
    pub fn new(model: &'a T5, encoded: &Tensor, mask: Option<Tensor>) -> Result<Self> {
        let layers = &model.decoder.layers;
        let read = layers.iter().map(|layer| layer.read(encoded)).collect::<Result<Vec<_>>>()?;
        let (before, of_layers) = model.decoder.before(encoded.f_kind()?)?;
        let rows = encoded.size3()?.0;
        let wide = |tensor: &Tensor| tensor.f_expand([rows, -1, -1, -1], false);
        let own = (0..layers.len())
            .map(|layer| match of_layer(&of_layers, layer)? {
                Some((keys, values)) => Ok(Columns::beginning(wide(keys)?, wide(values)?)),
                None => Ok(Columns::default()),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { model, own, read, mask, before, written: 0 })
    }
}

impl Writing for Answers<'_> {
    fn hidden_next(&mut self, tokens: &Tensor) -> Result<Tensor> {
        let decoder = &self.model.decoder;
        let mut x = self.model.embed(tokens)?;
        let at = self.before + self.written;
        let bias = decoder.positions.bias(at, 1, at + 1)?.f_to_kind(x.f_kind()?)?;
        for ((layer, own), read) in decoder.layers.iter().zip(&mut self.own).zip(&self.read) {
            x = layer.next(&x, own, (at, self.written), &bias, read, self.mask.as_ref())?;
        }
        self.written += 1;
        decoder.end(&x, Mode::Eval)
    }

    fn keep(&mut self, rows: &Tensor) -> Result<()> {
        let kept = |(keys, values): &KeysAndValues| -> Result<KeysAndValues> {
            Ok((keys.f_index_select(0, rows)?, values.f_index_select(0, rows)?))
        };
        for own in &mut self.own {
            own.keep(rows, self.before + self.written)?;
        }
        for slot in &mut self.read {
            *slot = kept(slot)?;
        }
        self.mask = self.mask.as_ref().map(|mask| mask.f_index_select(0, rows)).transpose()?;
        Ok(())
    }

    fn reorder(&mut self, rows: &Tensor) -> Result<()> {
        self.own.iter_mut().try_for_each(|own| own.reorder(rows, self.before, self.before + self.written))
    }
}
