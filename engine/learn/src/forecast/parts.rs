//! The parts that families share, as operations on values without numbers: linear maps with what a method puts beside
//! them, norms, attention, the loss. Each follows the code of its part line by line. Knows no family.

use std::cell::RefCell;

use super::outline::{Map, Necked, Outline, Tensors};
use super::tape::{EXACT, Tape, Value};
use crate::adapters::{Beside, Form, Neck, Style};
use crate::error::{Error, Result};
use crate::layers::Activation;
use crate::numerics::Memory;

/// The most scores that are held at once while training.
pub use crate::loss::SCORES;

/// An outline beside the tape that its operations run on.
pub struct Pass<'t> {
    /// The model.
    pub outline: &'t Outline,
    /// Where its operations run.
    pub tape: &'t Tape,
    segments: Option<RefCell<Vec<Segment<'t>>>>,
}

/// What is computed again in the backward pass.
struct Segment<'t> {
    leaf: Value,
    again: Box<dyn Fn() -> Result<Value> + 't>,
}

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Rows of the batch.
    pub rows: u64,
    /// Heads of the queries.
    pub heads: u64,
    /// Queries of a row.
    pub queries: u64,
    /// Keys of a row.
    pub keys: u64,
    /// Whether scores get numbers added that train.
    pub bias_learns: bool,
    /// Dropout on the weights.
    pub dropout: bool,
}

impl<'t> Pass<'t> {
    /// A training pass.
    pub fn new(outline: &'t Outline, tape: &'t Tape) -> Self {
        let segments = match outline.numerics.memory {
            Memory::KeepActivations => None,
            Memory::KeepInputs => Some(RefCell::default()),
        };
        Self { outline, tape, segments }
    }

    /// What is computed within a segment: it has no segments of its own.
    pub fn within(outline: &'t Outline, tape: &'t Tape) -> Self {
        Self { outline, tape, segments: None }
    }

    /// A tensor of the model.
    pub fn parameter(&self, tensor: Tensors) -> Value {
        self.tape.parameter(tensor.count, tensor.size, tensor.trains)
    }

    /// The tensor `name` of the model.
    pub fn named(&self, name: &str) -> Result<Value> {
        let tensor = self.outline.tensor(name).ok_or_else(|| absent(name))?;
        Ok(self.parameter(tensor))
    }

    /// The linear map `name`.
    pub fn map(&self, name: &str) -> Result<&'t Map> {
        self.outline.map(name).ok_or_else(|| absent(name))
    }

    /// The linear map `name` of `x`: [`LinearMap::forward`](crate::layers::LinearMap::forward).
    pub fn linear(&self, name: &str, x: &Value) -> Result<Value> {
        let (tape, map) = (self.tape, self.map(name)?);
        let sizes = [map.outputs, map.inputs];
        let bias = map.bias.map(|bias| tape.cast(&self.parameter(bias), x.size));
        let weight = || tape.cast(&self.parameter(map.weight), x.size);
        let plain = |x: &Value| tape.linear(x, &weight(), bias.as_ref(), sizes);
        match map.beside {
            None => Ok(plain(x)),
            Some(Beside::Factors { rank, dropout, decomposed }) => Ok(self.factors(
                map,
                x,
                [rank.unsigned_abs(), u64::from(dropout), u64::from(decomposed)],
                bias.as_ref(),
            )),
            Some(Beside::Scales { inputs: true }) => {
                let scales = tape.cast(&tape.parameter(map.inputs, EXACT, true), x.size);
                Ok(plain(&tape.mul(x, &scales)))
            }
            Some(Beside::Scales { inputs: false }) => {
                let scales = tape.cast(&tape.parameter(map.outputs, EXACT, true), x.size);
                Ok(tape.mul(&plain(x), &scales))
            }
            Some(Beside::Shared { rank, dropout }) => {
                let rank = rank.unsigned_abs();
                let y = plain(x);
                let a = tape.cast(&tape.parameter(rank * map.inputs, EXACT, false), x.size);
                let b = tape.parameter(rank * map.outputs, EXACT, false);
                let dropped = if dropout { tape.dropout(x) } else { x.clone() };
                let low = tape.linear(&dropped, &a, None, [rank, map.inputs]);
                drop(dropped);
                let [lambda_b, lambda_d] = [map.outputs, rank].map(|count| tape.parameter(count, EXACT, true));
                let between = tape.mul(&tape.mul(&b, &lambda_b), &lambda_d);
                Ok(tape.add_linear(&y, &low, &tape.cast(&between, x.size), [map.outputs, rank]))
            }
            Some(Beside::Neck { form, neck }) => {
                let [outputs, inputs] = form.sizes([map.outputs.cast_signed(), map.inputs.cast_signed()]);
                let block = |x: &Value| self.neck(&neck, x, [outputs.unsigned_abs(), inputs.unsigned_abs()]);
                Ok(match form {
                    Form::Before => plain(&tape.add(x, &block(x))),
                    Form::Behind => {
                        let y = plain(x);
                        tape.add(&y, &block(&y))
                    }
                    Form::Parallel => {
                        let y = plain(x);
                        tape.add(&y, &block(x))
                    }
                })
            }
        }
    }

    /// A linear map with two factors beside it, and a magnitude where there is one.
    fn factors(&self, map: &Map, x: &Value, [rank, dropout, decomposed]: [u64; 3], bias: Option<&Value>) -> Value {
        let tape = self.tape;
        let sizes = [map.outputs, map.inputs];
        let weight = || tape.cast(&self.parameter(map.weight), x.size);
        let [a, b] = [rank * map.inputs, rank * map.outputs].map(|count| tape.parameter(count, EXACT, true));
        let down = |x: &Value| {
            let low = tape.linear(x, &tape.cast(&a, x.size), None, [rank, map.inputs]);
            tape.scaled(&low)
        };
        let add_to = |y: &Value, x: &Value| {
            let low = down(x);
            tape.add_linear(y, &low, &tape.cast(&b, x.size), [map.outputs, rank])
        };
        if decomposed == 0 {
            let y = tape.linear(x, &weight(), bias, sizes);
            return match dropout {
                0 => add_to(&y, x),
                _ => add_to(&y, &tape.dropout(x)),
            };
        }
        let magnitude = tape.parameter(map.outputs, EXACT, true);
        if map.weight.size != EXACT {
            tape.scratch(map.weight.count * EXACT);
        }
        let ratio = tape.scaled(&magnitude);
        let ratio = tape.cast(&ratio, x.size);
        let weight = weight();
        let mapped = tape.linear(x, &weight, None, sizes);
        let y = if dropout == 1 {
            let dropped = tape.dropout(x);
            let dropped_mapped = tape.linear(&dropped, &weight, None, sizes);
            let low = tape.linear(&down(&dropped), &tape.cast(&b, x.size), None, [map.outputs, rank]);
            let sum = tape.add_mul(&mapped, &dropped_mapped, &ratio);
            tape.add_mul(&sum, &low, &ratio)
        } else {
            tape.mul(&add_to(&mapped, x), &ratio)
        };
        drop(mapped);
        match bias {
            Some(bias) => tape.add_row(&y, bias),
            None => y,
        }
    }

    /// A bottleneck, from `inputs` to `outputs` numbers.
    fn neck(&self, neck: &Neck, x: &Value, [outputs, inputs]: [u64; 2]) -> Value {
        let tape = self.tape;
        let size = neck.size.unsigned_abs();
        let new = |count: u64| tape.parameter(count, EXACT, true);
        let bias = |count: u64, like: &Value| neck.bias.then(|| tape.cast(&new(count), like.size));
        let normed = |x: &Value, width: u64| {
            let y = tape.norm(&tape.cast(x, EXACT), &[&new(width), &new(width)], 0);
            tape.cast(&y, x.size)
        };
        let x = if neck.norms.before { normed(x, inputs) } else { x.clone() };
        let x = if !neck.bias && neck.dropout > 0.0 { tape.dropout(&x) } else { x };
        let down = tape.linear(&x, &tape.cast(&new(size * inputs), x.size), bias(size, &x).as_ref(), [size, inputs]);
        let inner = match neck.activation {
            Activation::Relu | Activation::Tanh => tape.of_output(&down),
            Activation::Gelu | Activation::GeluTanh | Activation::Silu => tape.of_input(&down),
        };
        drop(down);
        let inner = if neck.scale == 1.0 { inner } else { tape.scaled(&inner) };
        let up = tape.cast(&new(size * outputs), x.size);
        let made = tape.linear(&inner, &up, bias(outputs, &x).as_ref(), [outputs, size]);
        let made = if neck.bias { self.dropped(made, neck.dropout) } else { made };
        if neck.norms.after { normed(&made, outputs) } else { made }
    }

    /// The end of the sublayer `name`: [`Join::forward`](crate::layers::Join::forward). `plain` is what the family does.
    pub fn join(
        &self,
        name: &str,
        made: &Value,
        x: &Value,
        plain: &dyn Fn(&Value, &Value) -> Result<Value>,
    ) -> Result<Value> {
        let Some(Necked { style, neck, width }) = self.outline.neck(name) else { return plain(made, x) };
        let of = |x: &Value| self.neck(&neck, x, [width, width]);
        match style {
            Style::Houlsby => plain(&self.tape.add(made, &of(made)), x),
            Style::Pfeiffer => {
                let joined = plain(made, x)?;
                plain(&self.tape.add(made, &of(&joined)), x)
            }
            Style::Parallel => plain(&self.tape.add(made, &of(x)), x),
        }
    }

    /// The root-mean-square norm `name`, made of its single operations, as libtorch has it on the CPU.
    pub fn rms_norm(&self, name: &str, x: &Value) -> Result<Value> {
        let tape = self.tape;
        let weight = tape.cast(&self.named(&format!("{name}.weight"))?, EXACT);
        let exact = tape.cast(x, EXACT);
        let root = {
            let squares = tape.norm(&exact, &[], 2);
            let mean = tape.rows_of(&squares, x.count / weight.count.max(1));
            tape.of_output(&mean)
        };
        let normal = tape.mul(&exact, &root);
        let scaled = tape.mul(&normal, &weight);
        drop((exact, normal));
        Ok(tape.cast(&scaled, x.size))
    }

    /// The layer norm `name`.
    pub fn layer_norm(&self, name: &str, x: &Value) -> Result<Value> {
        let tape = self.tape;
        let (weight, bias) = (self.named(&format!("{name}.weight"))?, self.named(&format!("{name}.bias"))?);
        let exact = tape.cast(x, EXACT);
        let y = tape.norm(&exact, &[&weight, &bias], 0);
        drop(exact);
        Ok(tape.cast(&y, x.size))
    }

    /// Dropout, where there is some.
    pub fn dropped(&self, x: Value, dropout: f64) -> Value {
        if dropout == 0.0 { x } else { self.tape.dropout(&x) }
    }

    /// Attention over queries, keys and values, ready for the map out of the heads. libtorch's fused kernel takes neither
    /// dropout nor scores with numbers that train; then the weights are made, in float32.
    pub fn attention(&self, [q, k, v]: [&Value; 3], sizes: Heads) -> Value {
        let tape = self.tape;
        let scores = sizes.rows * sizes.heads * sizes.queries * sizes.keys;
        let width = q.count / (sizes.rows * sizes.heads * sizes.queries).max(1);
        if !sizes.dropout && !sizes.bias_learns {
            let normaliser = sizes.rows * sizes.heads * sizes.queries * EXACT;
            return tape.fused(&[q, k, v], q.count, normaliser, 4.0 * scores as f64 * width as f64);
        }
        let exact = |x: &Value| tape.copy(&tape.scaled(&tape.cast(x, EXACT)));
        let weights = {
            let scores = tape.products(&exact(q), &exact(k), scores, width);
            let scores = if sizes.bias_learns { tape.add(&scores, &tape.constant(0, EXACT)) } else { scores };
            tape.of_output(&scores)
        };
        let weights = if sizes.dropout { tape.dropout(&weights) } else { weights };
        let v = tape.copy(&tape.cast(v, EXACT));
        let seen = tape.products(&weights, &v, q.count, sizes.keys);
        tape.copy(&tape.cast(&seen, q.size))
    }

    /// A segment of the pass: [`Activations::segment`](crate::layers::Activations::segment).
    pub fn segment<const N: usize>(
        &self,
        inputs: [&Value; N],
        compute: impl Fn([&Value; N]) -> Result<Value> + 't,
    ) -> Result<Value> {
        let Some(segments) = &self.segments else { return compute(inputs) };
        let leaves = inputs.map(|input| self.cut(input));
        let output = self.tape.without_gradients(|| compute(std::array::from_fn(|at| &leaves[at])))?;
        let leaf = self.tape.cut(&output);
        let again = Box::new(move || compute(std::array::from_fn(|at| &leaves[at])));
        segments.borrow_mut().push(Segment { leaf: leaf.clone(), again });
        Ok(leaf)
    }

    /// A value that several segments take.
    pub fn cut(&self, value: &Value) -> Value {
        match &self.segments {
            Some(segments) if value.learns() && !value.is_cut() => {
                let (leaf, whole) = (self.tape.cut(value), value.clone());
                segments.borrow_mut().push(Segment { leaf: leaf.clone(), again: Box::new(move || Ok(whole.clone())) });
                leaf
            }
            _ => value.clone(),
        }
    }

    /// Ends the pass: gradients go on through all segments.
    pub fn end(&self) -> Result<()> {
        let Some(segments) = &self.segments else { return Ok(()) };
        for Segment { leaf, again } in std::mem::take(&mut *segments.borrow_mut()).into_iter().rev() {
            let Some(gradient) = self.tape.take_gradient(&leaf) else { continue };
            drop(leaf);
            let whole = again()?;
            if whole.learns() {
                let product = self.tape.mul(&whole, &gradient);
                let sum = self.tape.one_number(&product);
                self.tape.backward(&sum);
            }
        }
        Ok(())
    }

    /// The loss of `targets` tokens that hidden states predict, and its backward pass: `Placed::backward`. `scores` is the
    /// head.
    pub fn token_loss(
        &self,
        hidden: &Value,
        width: u64,
        [targets, vocabulary]: [u64; 2],
        scores: &dyn Fn(&Value) -> Result<Value>,
    ) -> Result<()> {
        let tape = self.tape;
        let chosen = tape.some_of(hidden, targets * width);
        let part = (SCORES.unsigned_abs() / vocabulary.max(1)).max(1);
        let sum = |hidden: &Value| -> Result<Value> {
            let scores = tape.cast(&scores(hidden)?, EXACT);
            Ok(tape.cross_entropy(&scores))
        };
        if targets <= part {
            tape.backward(&sum(&chosen)?);
            return Ok(());
        }
        let cut = tape.cut(&chosen);
        let mut left = targets;
        while left > 0 {
            let length = left.min(part);
            let rows = tape.some_of(&cut, length * width);
            tape.backward(&sum(&rows)?);
            left -= length;
        }
        if chosen.learns()
            && let Some(gradient) = tape.take_gradient(&cut)
        {
            let product = tape.mul(&chosen, &gradient);
            tape.backward(&tape.one_number(&product));
        }
        Ok(())
    }
}

/// A part of a model that its outline lacks.
pub fn absent(name: &str) -> Error {
    Error::setting(
        name,
        "this model has no such part, so its training cannot be forecast",
        "report this model's family",
    )
}
