//! What a training pass keeps for its backward pass: all activations, or the inputs of its segments alone, from which the
//! rest is computed again (gradient checkpointing; Chen et al., arXiv 1604.06174, section 3). Dropout is drawn from a seed
//! of each segment, so that it is the same when it is drawn again. Knows no model.

use std::cell::{Cell, RefCell};
use std::fmt;

use tch::{Kind, Tensor};

use super::Mode;
use crate::error::Result;

/// The activations of one training pass at a time. A model's layers compute their segments through it; whoever runs the
/// pass begins it before and calls [`backward`](Self::backward) after the backward pass of the loss.
#[derive(Debug)]
pub struct Activations {
    seed: Cell<Option<u64>>,
    segments: Cell<u64>,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    All,
    Inputs(RefCell<Vec<Entry>>),
}

/// A place where the graph of a pass has been cut: what the gradient at `leaf` goes on to.
struct Entry {
    leaf: Tensor,
    seed: Option<i64>,
    whole: Box<dyn Fn() -> Result<Tensor>>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("shape", &self.leaf.size()).finish_non_exhaustive()
    }
}

impl Activations {
    /// Keeps all of them: the fastest.
    pub fn kept() -> Self {
        Self { seed: Cell::new(None), segments: Cell::new(0), kept: Kept::All }
    }

    /// Keeps the inputs of segments and computes the rest again in the backward pass: about a third slower, with the
    /// memory of one segment.
    pub fn recomputed() -> Self {
        Self { kept: Kept::Inputs(RefCell::default()), ..Self::kept() }
    }

    /// Begins a pass whose dropout depends on `seed`.
    pub fn begin(&self, seed: u64) {
        self.seed.set(Some(seed));
        self.segments.set(0);
        if let Kept::Inputs(entries) = &self.kept {
            entries.borrow_mut().clear();
        }
        tch::manual_seed(segment_seed(seed, 0));
    }

    /// Computes a segment. An input that comes out of a graph of its own goes into one segment only; see
    /// [`cut`](Self::cut).
    pub fn segment<const N: usize>(
        &self,
        inputs: [&Tensor; N],
        compute: impl Fn([&Tensor; N]) -> Result<Tensor> + 'static,
    ) -> Result<Tensor> {
        self.segments.set(self.segments.get() + 1);
        let seed = self.seed.get().map(|seed| segment_seed(seed, self.segments.get()));
        if let Some(seed) = seed {
            tch::manual_seed(seed);
        }
        let Kept::Inputs(entries) = &self.kept else { return compute(inputs) };
        let inputs = inputs.map(|input| self.cut(input));
        let mut leaves = Vec::with_capacity(N);
        for input in inputs {
            leaves.push(input?);
        }
        let output = {
            let _guard = tch::no_grad_guard();
            compute(std::array::from_fn(|at| &leaves[at]))?
        };
        let leaf = output.f_detach()?.f_set_requires_grad(true)?;
        let handle = leaf.shallow_clone();
        let whole = Box::new(move || compute(std::array::from_fn(|at| &leaves[at])));
        entries.borrow_mut().push(Entry { leaf, seed, whole });
        Ok(handle)
    }

    /// Computes a layer of `x` with the keys and values `before` those of every text: in training as a segment.
    pub fn layer(
        &self,
        x: &Tensor,
        before: Option<(&Tensor, &Tensor)>,
        mode: Mode,
        compute: impl Fn(&Tensor, Option<(&Tensor, &Tensor)>) -> Result<Tensor> + 'static,
    ) -> Result<Tensor> {
        match (mode, before) {
            (Mode::Eval, before) => compute(x, before),
            (Mode::Train, None) => self.segment([x], move |[x]| compute(x, None)),
            (Mode::Train, Some((keys, values))) => {
                self.segment([x, keys, values], move |[x, keys, values]| compute(x, Some((keys, values))))
            }
        }
    }

    /// A tensor that several segments may take as input: its gradients are gathered before they go on.
    pub fn cut(&self, tensor: &Tensor) -> Result<Tensor> {
        match &self.kept {
            Kept::Inputs(entries) if tensor.requires_grad() && !tensor.f_is_leaf()? => {
                let leaf = tensor.f_detach()?.f_set_requires_grad(true)?;
                let (handle, whole) = (leaf.shallow_clone(), tensor.shallow_clone());
                entries.borrow_mut().push(Entry {
                    leaf,
                    seed: None,
                    whole: Box::new(move || Ok(whole.shallow_clone())),
                });
                Ok(handle)
            }
            _ => Ok(tensor.shallow_clone()),
        }
    }

    /// Ends a pass: what its backward pass has left at the last segment goes on through all segments.
    pub fn backward(&self) -> Result<()> {
        let Kept::Inputs(entries) = &self.kept else { return Ok(()) };
        let entries = std::mem::take(&mut *entries.borrow_mut());
        for Entry { leaf, seed, whole } in entries.into_iter().rev() {
            let gradient = leaf.grad();
            if !gradient.defined() {
                continue;
            }
            drop(leaf);
            if let Some(seed) = seed {
                tch::manual_seed(seed);
            }
            let whole = whole()?;
            if whole.requires_grad() {
                // The derivative of this sum by `whole` is `gradient`, exactly.
                whole.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
            }
        }
        Ok(())
    }
}

fn segment_seed(seed: u64, segment: u64) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"segment").update(&seed.to_le_bytes()).update(&segment.to_le_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    i64::from_le_bytes(bytes)
}
