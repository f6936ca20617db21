//! The parts that families share, as operations on values without numbers: linear maps with what a method puts beside
//! them, norms, attention, the loss. Each follows the code of its part line by line. Knows no family.

use std::cell::RefCell;

use super::outline::{Map, Necked, Outline, Tensors};
use super::tape::{Backward, EXACT, Tape, Value};
use crate::adapters::{Beside, FactorSizes, Form, Neck, Style};
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
            Some(Beside::Factors(factors)) if factors.decomposed => Ok(self.dora(map, factors, x, &weight())),
            Some(Beside::Factors(factors)) => Ok(self.low_rank(map, factors, x, &plain(x))),
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

    /// Several linear maps `names` of `x` in the module `within`, or the slices `parts` of one, its map `fused`, which is one
    /// map where none of these is adapted: [`Several::forward`](crate::layers::Several::forward).
    pub fn several<const N: usize>(
        &self,
        within: &str,
        names: [&str; N],
        (fused, parts, outputs): (&str, [&str; N], [u64; N]),
        x: &Value,
    ) -> Result<[Value; N]> {
        self.several_first_at(within, names, (fused, parts, outputs), x, x)
    }

    /// The same where the first of the maps reads `first`, some of `x`.
    pub fn several_first_at<const N: usize>(
        &self,
        within: &str,
        names: [&str; N],
        (fused, parts, outputs): (&str, [&str; N], [u64; N]),
        first: &Value,
        x: &Value,
    ) -> Result<[Value; N]> {
        let whole = format!("{within}.{fused}");
        let linear = |names: [String; N]| -> Result<[Value; N]> {
            let read = |(index, name): (usize, &String)| self.linear(name, if index == 0 { first } else { x });
            let made = names.iter().enumerate().map(read).collect::<Result<Vec<_>>>()?;
            made.try_into().map_err(|_| absent(within))
        };
        if self.outline.map(&whole).is_some() {
            let mut made = self.tape.parts(&self.linear(&whole, x)?, outputs);
            if let Some(of_first) = made.first_mut().filter(|_| first.count < x.count) {
                *of_first = self.tape.some_of(of_first, of_first.count * first.count / x.count.max(1));
            }
            return Ok(made);
        }
        match self.outline.map(&format!("{whole}.{}", parts.first().unwrap_or(&""))) {
            Some(_) => linear(parts.map(|part| format!("{whole}.{part}"))),
            None => linear(names.map(|name| format!("{within}.{name}"))),
        }
    }

    /// [`fused::low_rank`](crate::fused::low_rank).
    fn low_rank(&self, map: &Map, factors: FactorSizes, x: &Value, y: &Value) -> Value {
        let (tape, rank) = (self.tape, factors.rank.unsigned_abs());
        let a = tape.parameter(rank * map.inputs, EXACT, factors.a_trains);
        let b = tape.parameter(rank * map.outputs, EXACT, true);
        let rows = x.count / map.inputs.max(1);
        let dropped = if factors.dropout { x.bytes() } else { 0 };
        tape.scratch(dropped);
        let down = tape.constant(rows * rank, x.size);
        let products = 2.0 * (rows * rank * (map.inputs + map.outputs)) as f64;
        let backward = Backward {
            edges: vec![(y, None), (x, Some(x.bytes())), (&a, Some(a.bytes())), (&b, Some(b.bytes()))],
            saved: if factors.a_trains { vec![x, &down] } else { vec![&down] },
            scratch: dropped,
            products: 2.0 * products,
        };
        tape.function(y.count, y.size, products, backward, false)
    }

    /// [`fused::dora`](crate::fused::dora).
    fn dora(&self, map: &Map, factors: FactorSizes, x: &Value, weight: &Value) -> Value {
        let (tape, rank) = (self.tape, factors.rank.unsigned_abs());
        let a = tape.parameter(rank * map.inputs, EXACT, factors.a_trains);
        let b = tape.parameter(rank * map.outputs, EXACT, true);
        let magnitude = tape.parameter(map.outputs, EXACT, true);
        let rows = x.count / map.inputs.max(1);
        let (whole, low) =
            (2.0 * (rows * map.inputs * map.outputs) as f64, 2.0 * (rows * rank * (map.inputs + map.outputs)) as f64);
        let down = tape.constant(rows * rank, x.size);
        let mut edges = vec![(x, Some(x.bytes())), (&a, Some(a.bytes())), (&b, Some(b.bytes()))];
        edges.push((&magnitude, Some(magnitude.bytes())));
        let cast = if weight.size == map.weight.size { 0 } else { weight.bytes() };
        let outputs = rows * map.outputs;
        let below = if x.learns() { whole } else { 0.0 };
        if !factors.dropout {
            tape.scratch(outputs * x.size);
            let scratch = outputs * x.size + cast;
            let saved = if factors.a_trains { vec![x, &down] } else { vec![&down] };
            let backward = Backward { edges, saved, scratch, products: below + 2.0 * low };
            return tape.function(outputs, x.size, whole + low, backward, true);
        }
        let dropped = tape.constant(x.count, x.size);
        let h = tape.constant(outputs, x.size);
        let scratch = outputs * x.size + 2 * x.bytes() + cast;
        let saved = if factors.a_trains { vec![x, &down, &h] } else { vec![&down, &h] };
        let backward = Backward { edges, saved, scratch, products: 2.0 * (below + low) };
        let y = tape.function(outputs, x.size, 2.0 * (whole + low), backward, false);
        drop(dropped);
        y
    }

    /// The rows of the embedding `name` for so many tokens: [`Lookup::forward`](crate::layers::Lookup::forward).
    pub fn lookup(&self, name: &str, tokens: u64, width: u64) -> Result<Value> {
        let tape = self.tape;
        let table = self.named(&format!("{name}.weight"))?;
        let rows = tape.rows_of(&table, tokens * width);
        let Some(rank) = self.outline.lookup(name) else { return Ok(rows) };
        let a = tape.parameter(rank * table.count / width.max(1), EXACT, true);
        let b = tape.parameter(rank * width, EXACT, true);
        let low = tape.rows_of(&a, tokens * rank);
        let update = tape.scaled(&tape.linear(&low, &b, None, [width, rank]));
        Ok(tape.add(&rows, &tape.cast(&update, rows.size)))
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

    /// Embedded texts with the virtual tokens of the method among them: `VirtualTokens::insert`.
    pub fn with_virtual(&self, embedded: Value, rows: u64, width: u64) -> Value {
        let (tape, count) = (self.tape, self.outline.virtual_tokens);
        if count == 0 {
            return embedded;
        }
        let vectors = tape.cast(&tape.parameter(count * width, EXACT, true), embedded.size);
        tape.joined(&vectors, &embedded, embedded.count + rows * count * width)
    }

    /// The states of the text's own tokens: `VirtualTokens::remove`.
    pub fn without_virtual(&self, states: Value, rows: u64, width: u64) -> Value {
        match self.outline.virtual_tokens {
            0 => states,
            count => self.tape.some_of(&states, states.count.saturating_sub(rows * count * width)),
        }
    }

    /// Keys or values of `rows` texts with those of the method in front, `of_position` numbers at each position:
    /// `layers::in_front`.
    pub fn in_front(&self, own: &Value, rows: u64, of_position: u64) -> Value {
        let (tape, count) = (self.tape, self.outline.keys_before);
        if count == 0 {
            return own.clone();
        }
        let before = tape.cast(&tape.parameter(count * of_position, EXACT, true), own.size);
        tape.joined(&before, own, own.count + rows * count * of_position)
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
