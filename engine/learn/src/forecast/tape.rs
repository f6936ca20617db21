//! A training pass without numbers: values that have a size alone, and for each operation what libtorch allocates, what
//! its autograd keeps for the backward pass, and what the backward pass allocates in turn. Runs the operations of a pass in
//! their order and tells the most bytes that were alive at once, and the work. Knows no model.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::heap::{Block, Heap};

/// Bytes of a float32 number.
pub const EXACT: u64 = 4;

/// What a pass needed so far.
#[derive(Debug, Default)]
struct Meter {
    live: Cell<u64>,
    peak: Cell<u64>,
    work: Cell<Work>,
    /// The allocator whose holes count, where they do.
    heap: Option<RefCell<Heap>>,
}

/// Work, as far as it takes time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// Multiplications and additions in matrix products.
    pub products: f64,
    /// Bytes that were written outside of them; each is read about twice as often.
    pub written: f64,
}

impl Work {
    /// Both.
    pub fn plus(self, other: Self) -> Self {
        Self { products: self.products + other.products, written: self.written + other.written }
    }

    /// So often.
    pub fn times(self, count: f64) -> Self {
        Self { products: self.products * count, written: self.written * count }
    }
}

/// Memory that is freed when nothing holds it any more.
#[derive(Debug)]
struct Buffer {
    bytes: u64,
    block: RefCell<Option<Block>>,
    meter: Rc<Meter>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.meter.live.set(self.meter.live.get() - self.bytes);
        if let (Some(heap), Some(block)) = (&self.meter.heap, self.block.take()) {
            heap.borrow_mut().give(block);
        }
    }
}

/// A tensor's size, its memory, and where its gradient goes.
#[derive(Debug, Clone)]
pub struct Value {
    /// How many numbers it holds.
    pub count: u64,
    /// Bytes of a number.
    pub size: u64,
    memory: Rc<Buffer>,
    node: Option<Rc<Node>>,
}

impl Value {
    /// Bytes of its memory.
    pub fn bytes(&self) -> u64 {
        self.count * self.size
    }

    /// Whether a gradient goes through it.
    pub fn learns(&self) -> bool {
        self.node.is_some()
    }

    /// Whether the graph is cut here.
    pub fn is_cut(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.leaf == Leaf::Cut)
    }
}

/// An operation that the backward pass goes through, or a leaf.
#[derive(Debug)]
struct Node {
    order: u64,
    edges: Vec<Edge>,
    saved: RefCell<Vec<Rc<Buffer>>>,
    gradient: RefCell<Option<Rc<Buffer>>>,
    /// Bytes that are alive while it computes, besides its gradients.
    scratch: u64,
    /// Products of its backward pass.
    products: f64,
    leaf: Leaf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    /// An operation.
    No,
    /// Its gradient is added to a buffer that is there already.
    Parameter,
    /// Its gradient stays.
    Cut,
    /// An operation whose results are parts of one value: their gradients are kept until all are there.
    Gathers,
}

/// A gradient that a node hands on.
#[derive(Debug)]
struct Edge {
    to: Rc<Node>,
    /// Bytes of a new gradient; without them the node's own is handed on.
    new: Option<u64>,
}

/// What an operation does in the backward pass.
#[derive(Default)]
pub struct Backward<'a> {
    /// What gets a gradient, and the bytes of a new one; without them the operation's own is handed on.
    pub edges: Vec<(&'a Value, Option<u64>)>,
    /// What is kept for it.
    pub saved: Vec<&'a Value>,
    /// Bytes that are alive while it computes, besides its gradients.
    pub scratch: u64,
    /// Multiplications and additions in its matrix products.
    pub products: f64,
}

/// Runs operations.
#[derive(Debug, Default)]
pub struct Tape {
    meter: Rc<Meter>,
    order: Cell<u64>,
    paused: Cell<bool>,
    /// The gradients of parameters, as long as there is no buffer that they are added to.
    gradients: RefCell<Option<Vec<Rc<Buffer>>>>,
}

impl Tape {
    /// A tape of a program that keeps holes between its buffers, as on the CPU.
    pub fn with_heap() -> Self {
        let meter = Meter { heap: Heap::new().map(RefCell::new), ..Meter::default() };
        Self { meter: Rc::new(meter), ..Self::default() }
    }

    /// The most bytes that were held at once.
    pub fn peak(&self) -> u64 {
        self.meter.peak.get()
    }

    /// The bytes that are alive.
    #[cfg(test)]
    fn live(&self) -> u64 {
        self.meter.live.get()
    }

    /// The work so far.
    pub fn work(&self) -> Work {
        self.meter.work.get()
    }

    /// Does `compute` as if no gradient were wanted.
    pub fn without_gradients<T>(&self, compute: impl FnOnce() -> T) -> T {
        let before = self.paused.replace(true);
        let made = compute();
        self.paused.set(before);
        made
    }

    /// From now on the gradients of parameters stay by themselves.
    pub fn keep_gradients(&self) {
        *self.gradients.borrow_mut() = Some(Vec::new());
    }

    /// From now on the gradients of parameters are added to a buffer; those that stayed are given back.
    pub fn add_gradients(&self) {
        self.gradients.borrow_mut().take();
    }

    fn allocate(&self, bytes: u64) -> Rc<Buffer> {
        let meter = &self.meter;
        meter.live.set(meter.live.get() + bytes);
        let block = meter.heap.as_ref().and_then(|heap| heap.borrow_mut().take(bytes));
        let held = meter.heap.as_ref().map_or(0, |heap| heap.borrow().held());
        meter.peak.set(meter.peak.get().max(held).max(meter.live.get()));
        Rc::new(Buffer { bytes, block: RefCell::new(block), meter: Rc::clone(meter) })
    }

    fn works(&self, products: f64, written: u64) {
        self.meter.work.set(self.meter.work.get().plus(Work { products, written: written as f64 }));
    }

    /// Memory that an operation needs while it computes.
    pub fn scratch(&self, bytes: u64) {
        drop(self.allocate(bytes));
        self.works(0.0, bytes);
    }

    fn next_order(&self) -> u64 {
        self.order.set(self.order.get() + 1);
        self.order.get()
    }

    fn leaf(&self, leaf: Leaf) -> Rc<Node> {
        Rc::new(Node {
            order: 0,
            edges: Vec::new(),
            saved: RefCell::default(),
            gradient: RefCell::default(),
            scratch: 0,
            products: 0.0,
            leaf,
        })
    }

    /// A tensor without a gradient.
    pub fn constant(&self, count: u64, size: u64) -> Value {
        Value { count, size, memory: self.allocate(count * size), node: None }
    }

    /// A tensor of the model, whose memory is counted elsewhere.
    pub fn parameter(&self, count: u64, size: u64, trains: bool) -> Value {
        let node = (trains && !self.paused.get()).then(|| self.leaf(Leaf::Parameter));
        Value { count, size, memory: self.allocate(0), node }
    }

    /// The same memory as a leaf of its own, whose gradient stays: a cut of the graph.
    pub fn cut(&self, x: &Value) -> Value {
        Value { node: Some(self.leaf(Leaf::Cut)), ..x.clone() }
    }

    fn record(&self, backward: Backward<'_>, own: Option<&Rc<Buffer>>) -> Option<Rc<Node>> {
        if self.paused.get() {
            return None;
        }
        let edges: Vec<Edge> = backward
            .edges
            .into_iter()
            .filter_map(|(value, new)| Some(Edge { to: Rc::clone(value.node.as_ref()?), new }))
            .collect();
        if edges.is_empty() {
            return None;
        }
        let saved = backward.saved.into_iter().map(|value| Rc::clone(&value.memory)).chain(own.cloned()).collect();
        Some(Rc::new(Node {
            order: self.next_order(),
            edges,
            saved: RefCell::new(saved),
            gradient: RefCell::default(),
            scratch: backward.scratch,
            products: backward.products,
            leaf: Leaf::No,
        }))
    }

    fn made(&self, count: u64, size: u64, backward: Backward<'_>, keeps_own: bool) -> Value {
        let memory = self.allocate(count * size);
        self.works(0.0, count * size);
        let node = self.record(backward, keeps_own.then_some(&memory));
        Value { count, size, memory, node }
    }

    /// Numbers of another size; the same value where the size is the same.
    pub fn cast(&self, x: &Value, size: u64) -> Value {
        if x.size == size {
            return x.clone();
        }
        let backward = Backward { edges: vec![(x, Some(x.bytes()))], ..Backward::default() };
        self.made(x.count, size, backward, false)
    }

    /// A contiguous copy.
    pub fn copy(&self, x: &Value) -> Value {
        let backward = Backward { edges: vec![(x, None)], ..Backward::default() };
        self.made(x.count, x.size, backward, false)
    }

    /// A function of each number whose derivative is computed from what went in.
    pub fn of_input(&self, x: &Value) -> Value {
        let backward = Backward { edges: vec![(x, Some(x.bytes()))], saved: vec![x], ..Backward::default() };
        self.made(x.count, x.size, backward, false)
    }

    /// A function of each number whose derivative is computed from what came out.
    pub fn of_output(&self, x: &Value) -> Value {
        let backward = Backward { edges: vec![(x, Some(x.bytes()))], ..Backward::default() };
        self.made(x.count, x.size, backward, true)
    }

    /// Times a number.
    pub fn scaled(&self, x: &Value) -> Value {
        let backward = Backward { edges: vec![(x, Some(x.bytes()))], ..Backward::default() };
        self.made(x.count, x.size, backward, false)
    }

    /// Turned by the angles of rotary positions, in float32: two products with constants.
    pub fn turned(&self, x: &Value) -> Value {
        let exact = self.cast(x, EXACT);
        let swapped = self.scaled(&exact);
        let straight = self.scaled(&exact);
        let sum = self.add(&straight, &swapped);
        drop((exact, swapped, straight));
        self.cast(&sum, x.size)
    }

    /// The sum of two values of one size.
    pub fn add(&self, a: &Value, b: &Value) -> Value {
        let backward = Backward { edges: vec![(a, None), (b, None)], ..Backward::default() };
        self.made(a.count.max(b.count), a.size, backward, false)
    }

    /// The sum with a vector that is the same in each row.
    pub fn add_row(&self, x: &Value, row: &Value) -> Value {
        let backward = Backward { edges: vec![(x, None), (row, Some(row.bytes()))], ..Backward::default() };
        self.made(x.count, x.size, backward, false)
    }

    /// The product, number by number; the second may be the same in each row.
    pub fn mul(&self, a: &Value, b: &Value) -> Value {
        let mut saved = Vec::new();
        saved.extend(a.learns().then_some(b));
        saved.extend(b.learns().then_some(a));
        let broadcast = b.learns() && b.count < a.count;
        let backward = Backward {
            edges: vec![(a, Some(a.bytes())), (b, Some(b.bytes()))],
            saved,
            scratch: if broadcast { a.bytes() } else { 0 },
            products: 0.0,
        };
        self.made(a.count, a.size, backward, false)
    }

    /// Dropout: the factors of all numbers are kept.
    pub fn dropout(&self, x: &Value) -> Value {
        let factors = self.constant(x.count, x.size);
        self.works(0.0, 4 * x.bytes());
        self.mul(x, &factors)
    }

    /// The product of rows `[rows, inputs]` and a weight `[outputs, inputs]`, transposed, with a bias.
    pub fn linear(&self, x: &Value, weight: &Value, bias: Option<&Value>, [outputs, inputs]: [u64; 2]) -> Value {
        let rows = x.count / inputs.max(1);
        let products = 2.0 * rows as f64 * inputs as f64 * outputs as f64;
        let mut backward = Backward::default();
        if x.learns() {
            backward.edges.push((x, Some(x.bytes())));
            backward.saved.push(weight);
            backward.products += products;
        }
        if weight.learns() {
            backward.edges.push((weight, Some(weight.bytes())));
            backward.saved.push(x);
            backward.products += products;
        }
        if let Some(bias) = bias {
            backward.edges.push((bias, Some(bias.bytes())));
        }
        self.works(products, 0);
        self.made(rows * outputs, x.size, backward, false)
    }

    /// `sum + rows · weightᵀ` for rows `[rows, inputs]` and a weight `[outputs, inputs]`.
    pub fn add_linear(&self, sum: &Value, x: &Value, weight: &Value, [outputs, inputs]: [u64; 2]) -> Value {
        let rows = x.count / inputs.max(1);
        let products = 2.0 * rows as f64 * inputs as f64 * outputs as f64;
        let edges = vec![(sum, None), (x, Some(x.bytes())), (weight, Some(weight.bytes()))];
        let backward = Backward { edges, saved: vec![x, weight], scratch: 0, products: 2.0 * products };
        self.works(products, 0);
        self.made(sum.count, sum.size, backward, false)
    }

    /// A batch of products of matrices, `[rows, common]` times `[common, columns]` each.
    pub fn products(&self, a: &Value, b: &Value, count: u64, common: u64) -> Value {
        let products = 2.0 * count as f64 * common as f64;
        let twice = f64::from(u8::from(a.learns()) + u8::from(b.learns()));
        let mut saved = Vec::new();
        saved.extend(a.learns().then_some(b));
        saved.extend(b.learns().then_some(a));
        let edges = vec![(a, Some(a.bytes())), (b, Some(b.bytes()))];
        let backward = Backward { edges, saved, scratch: 0, products: twice * products };
        self.works(products, 0);
        self.made(count, a.size, backward, false)
    }

    /// An operation with one result that keeps what goes in and comes out, with `extra` bytes beside it, and makes a new
    /// gradient for each of what went in: fused attention.
    pub fn fused(&self, inputs: &[&Value], count: u64, extra: u64, products: f64) -> Value {
        let first = inputs.first().map_or(EXACT, |value| value.size);
        let beside = self.constant(extra, 1);
        let edges: Vec<_> = inputs.iter().map(|value| (*value, Some(value.bytes()))).collect();
        let mut saved = inputs.to_vec();
        saved.push(&beside);
        self.works(products, 0);
        let backward = Backward { edges, saved, scratch: 0, products: 2.5 * products };
        self.made(count, first, backward, true)
    }

    /// A function of its own, of `products` multiplications and additions; `keeps_own` where it keeps its result.
    pub fn function(&self, count: u64, size: u64, products: f64, backward: Backward<'_>, keeps_own: bool) -> Value {
        self.works(products, 0);
        self.made(count, size, backward, keeps_own)
    }

    /// A norm that keeps what goes in, in float32, and whose backward pass needs `scratch` buffers of that size.
    pub fn norm(&self, x: &Value, parameters: &[&Value], scratch: u64) -> Value {
        let mut edges = vec![(x, Some(x.bytes()))];
        edges.extend(parameters.iter().map(|value| (*value, Some(value.bytes()))));
        let backward = Backward { edges, saved: vec![x], scratch: scratch * x.bytes(), products: 0.0 };
        self.made(x.count, x.size, backward, false)
    }

    /// Two values behind one another, `total` numbers in all: the second's gradient is a part of the whole one's.
    pub fn joined(&self, first: &Value, second: &Value, total: u64) -> Value {
        let backward = Backward { edges: vec![(first, Some(first.bytes())), (second, None)], ..Backward::default() };
        self.made(total, second.size, backward, false)
    }

    /// Rows of a table: its gradient is as large as the table.
    pub fn rows_of(&self, table: &Value, count: u64) -> Value {
        let backward = Backward { edges: vec![(table, Some(table.bytes()))], ..Backward::default() };
        self.made(count, table.size, backward, false)
    }

    /// Some rows of a value; the gradient is as large as the value.
    pub fn some_of(&self, x: &Value, count: u64) -> Value {
        let backward = Backward { edges: vec![(x, Some(x.bytes()))], ..Backward::default() };
        self.made(count, x.size, backward, false)
    }

    /// Values of so many numbers that are parts of one, in its memory. Their gradients are put together when all are there.
    pub fn parts<const N: usize>(&self, x: &Value, counts: [u64; N]) -> [Value; N] {
        let backward = Backward { edges: vec![(x, Some(x.bytes()))], ..Backward::default() };
        let gathering = |node: Rc<Node>| Some(Rc::new(Node { leaf: Leaf::Gathers, ..Rc::into_inner(node)? }));
        let node = self.record(backward, None).and_then(gathering);
        let whole = Value { node, ..x.clone() };
        counts.map(|count| {
            let node = self.record(Backward { edges: vec![(&whole, None)], ..Backward::default() }, None);
            Value { count, node, ..x.clone() }
        })
    }

    /// One number of all numbers, such as a sum: the gradient is handed on without memory.
    pub fn one_number(&self, x: &Value) -> Value {
        let backward = Backward { edges: vec![(x, Some(0))], ..Backward::default() };
        self.made(1, EXACT, backward, false)
    }

    /// The loss of scores in float32: their logarithmic softmax is kept, and the backward pass makes the gradient of it and
    /// of them.
    pub fn cross_entropy(&self, scores: &Value) -> Value {
        let softmax = self.of_output(scores);
        let backward =
            Backward { edges: vec![(&softmax, Some(softmax.bytes()))], saved: vec![&softmax], ..Backward::default() };
        self.made(1, EXACT, backward, false)
    }

    /// The backward pass of one number. Gradients of parameters are added to what is there; those of cuts stay.
    pub fn backward(&self, loss: &Value) {
        let Some(first) = loss.node.clone() else { return };
        *first.gradient.borrow_mut() = Some(self.allocate(loss.bytes()));
        let mut ready = BTreeMap::from([(first.order, first)]);
        while let Some((_, node)) = ready.pop_last() {
            let Some(gradient) = node.gradient.borrow_mut().take() else { continue };
            let scratch = self.allocate(node.scratch);
            let mut made: Vec<(Rc<Node>, Rc<Buffer>)> = Vec::new();
            for edge in &node.edges {
                let buffer = match edge.new {
                    Some(bytes) => {
                        self.works(0.0, bytes);
                        self.allocate(bytes)
                    }
                    None => Rc::clone(&gradient),
                };
                made.push((Rc::clone(&edge.to), buffer));
            }
            self.works(node.products, node.scratch);
            drop(scratch);
            drop(gradient);
            node.saved.borrow_mut().clear();
            for (to, buffer) in made {
                self.deliver(&to, buffer);
                if matches!(to.leaf, Leaf::No | Leaf::Gathers) {
                    ready.insert(to.order, to);
                }
            }
        }
    }

    fn deliver(&self, to: &Node, buffer: Rc<Buffer>) {
        if to.leaf == Leaf::Parameter {
            self.works(0.0, buffer.bytes);
            if let Some(kept) = self.gradients.borrow_mut().as_mut() {
                kept.push(buffer);
            }
            return;
        }
        let mut held = to.gradient.borrow_mut();
        if to.leaf == Leaf::Gathers && held.is_some() {
            to.saved.borrow_mut().push(buffer);
            return;
        }
        *held = Some(match held.take() {
            None => buffer,
            Some(old) => {
                self.works(0.0, old.bytes);
                match (Rc::strong_count(&old), Rc::strong_count(&buffer)) {
                    (1, _) => old,
                    (_, 1) => buffer,
                    _ => self.allocate(old.bytes),
                }
            }
        });
    }

    /// The gradient that has come to a cut.
    pub fn take_gradient(&self, cut: &Value) -> Option<Value> {
        let memory = cut.node.as_ref()?.gradient.borrow_mut().take()?;
        Some(Value { count: cut.count, size: cut.size, memory, node: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_gradient_needs_is_freed_at_once() {
        let tape = Tape::default();
        let x = tape.constant(100, EXACT);
        let weight = tape.parameter(1000, EXACT, false);
        let y = tape.linear(&x, &weight, None, [10, 100]);
        let z = tape.of_input(&y);
        drop(y);
        assert_eq!(tape.live(), 4 * (100 + 10), "x and z");
        assert!(!z.learns());
        assert_eq!(tape.peak(), 4 * (100 + 10 + 10));
    }

    #[test]
    fn what_the_backward_pass_needs_is_kept_until_it_was_there() {
        let tape = Tape::default();
        let x = tape.constant(100, EXACT);
        let weight = tape.parameter(1000, EXACT, true);
        let y = tape.linear(&x, &weight, None, [10, 100]);
        let z = tape.of_input(&y);
        drop((x, y));
        let loss = tape.one_number(&z);
        drop(z);
        assert_eq!(tape.live(), 4 * (100 + 10 + 1), "x for the weight, y for z");
        tape.backward(&loss);
        assert_eq!(tape.live(), 4);
        assert_eq!(tape.peak(), 4 * (1 + 100 + 10 + 1000), "the loss, x, the gradient of y, that of the weight");
        assert_eq!(tape.work().products, 2.0 * 2.0 * 1000.0);
    }

    #[test]
    fn gradients_of_parts_are_gathered() {
        let tape = Tape::default();
        let x = tape.cut(&tape.constant(30, EXACT));
        let parts = tape.parts(&x, [10, 20]);
        assert_eq!(tape.live(), 4 * 30, "parts lie in the memory of the whole");
        let [first, second] = parts.each_ref().map(|part| tape.add(&tape.scaled(part), part));
        let loss = tape.one_number(&tape.joined(&first, &second, 30));
        drop((parts, first, second));
        tape.backward(&loss);
        assert_eq!(tape.live(), 4 * (1 + 30 + 30), "the loss, x and its gradient");
        assert_eq!(tape.take_gradient(&x).map(|gradient| gradient.bytes()), Some(4 * 30));
    }

    #[test]
    fn gradients_of_one_value_are_added_in_place_and_those_of_a_cut_stay() {
        let tape = Tape::default();
        let x = tape.cut(&tape.constant(10, EXACT));
        let sum = tape.add(&tape.of_input(&x), &tape.of_output(&x));
        let loss = tape.one_number(&sum);
        drop(sum);
        tape.backward(&loss);
        assert_eq!(tape.live(), 4 + 2 * 40, "the loss, x and its gradient");
        assert!(tape.take_gradient(&x).is_some());
        assert_eq!(tape.live(), 4 + 40);
    }
}
