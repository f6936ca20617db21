//! The maps that are single functions of autograd: their values and gradients against plain operations in float64, and
//! what they keep.

use learn::fused::{DoraMap, Dropout, Ratio, dora, low_rank, saved_bytes};
use learn::layers::Activations;
use tch::{Device, Kind, Tensor};

use crate::fixtures::{assert_close, difference, generator};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

/// What goes into a map. `x` is `[2, 3, inputs]`.
struct Case {
    kind: Kind,
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    a: Tensor,
    b: Tensor,
    magnitude: Tensor,
    up: Tensor,
    scale: f64,
}

/// Which of x, A, B, m and the bias train.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Trains([bool; 5]);

impl Trains {
    const ALL: Self = Self([true; 5]);

    fn but(at: usize) -> Self {
        let mut trains = [true; 5];
        trains[at] = false;
        Self(trains)
    }
}

/// Without A, as LoRA-FA has it.
const FROZEN_A: Trains = Trains([true, false, true, true, true]);

impl Case {
    /// Random numbers that are exact in `kind`; what trains is float32 where `kind` is smaller.
    fn new(kind: Kind, rank: i64, bias: bool) -> Self {
        let (inputs, outputs) = (10, 7);
        let kept = if kind == Kind::Double { Kind::Double } else { Kind::Float };
        let draw = |shape: &[i64], kept: Kind| Tensor::randn(shape, DOUBLE).to_kind(kind).to_kind(kept);
        Self {
            kind,
            x: draw(&[2, 3, inputs], kind),
            weight: draw(&[outputs, inputs], kind),
            bias: bias.then(|| draw(&[outputs], kept)),
            a: draw(&[rank, inputs], kept),
            b: draw(&[outputs, rank], kept),
            magnitude: draw(&[outputs], kept).abs() + 2.0,
            up: draw(&[2, 3, outputs], kind),
            scale: 1.75,
        }
    }

    fn tensors(&self) -> [Option<&Tensor>; 5] {
        [Some(&self.x), Some(&self.a), Some(&self.b), Some(&self.magnitude), self.bias.as_ref()]
    }

    /// ‖W + s·BA‖ of each row, float64.
    fn norms(&self) -> Tensor {
        let product = self.b.to_kind(Kind::Double).matmul(&self.a.to_kind(Kind::Double)) * self.scale;
        let sum = self.weight.to_kind(Kind::Double) + product;
        sum.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Double).sqrt()
    }

    /// y and the gradients of what trains, by `compute` on leaves of the kind that `keep` chooses.
    fn run(
        &self,
        trains: Trains,
        keep: impl Fn(&Tensor) -> Tensor,
        compute: impl FnOnce([&Tensor; 4], Option<&Tensor>) -> Tensor,
    ) -> (Tensor, Vec<Option<Tensor>>) {
        let leaf = |at: usize, tensor: &Tensor| keep(tensor).detach().copy().set_requires_grad(trains.0[at]);
        let leaves: Vec<Option<Tensor>> =
            self.tensors().into_iter().enumerate().map(|(at, tensor)| tensor.map(|tensor| leaf(at, tensor))).collect();
        let [x, a, b, magnitude] = [0, 1, 2, 3].map(|at| leaves[at].as_ref().unwrap());
        let y = compute([x, a, b, magnitude], leaves[4].as_ref());
        (&y * keep(&self.up)).sum(Kind::Double).backward();
        let gradients = leaves.iter().map(|leaf| {
            let gradient = leaf.as_ref()?.grad();
            gradient.defined().then_some(gradient)
        });
        (y.detach(), gradients.collect())
    }

    fn dora(&self, trains: Trains, dropout: Dropout) -> (Tensor, Vec<Option<Tensor>>) {
        let norms = self.norms().to_kind(if self.kind == Kind::Double { Kind::Double } else { Kind::Float });
        let ratio = Ratio::new(&self.magnitude, &norms).unwrap();
        self.run(trains, Tensor::shallow_clone, |[x, a, b, magnitude], bias| {
            let map = DoraMap { weight: &self.weight, bias, a, b, magnitude, scale: self.scale };
            dora(x, &map, &ratio, dropout).unwrap()
        })
    }

    /// The formula with plain operations, in float64.
    fn plain_dora(&self, trains: Trains, dropout: Dropout) -> (Tensor, Vec<Option<Tensor>>) {
        let (norms, weight, mask) = (self.norms(), self.weight.to_kind(Kind::Double), self.mask(dropout));
        let zero = norms.eq(0.0);
        self.run(trains, double, |[x, a, b, magnitude], bias| {
            let c = (magnitude / norms.masked_fill(&zero, 1.0)).masked_fill(&zero, 1.0);
            let dropped = x * &mask;
            let low = dropped.matmul(&a.tr()).matmul(&b.tr()) * self.scale;
            let y = x.matmul(&weight.tr()) + (&c - 1.0) * dropped.matmul(&weight.tr()) + &c * low;
            match bias {
                Some(bias) => y + bias,
                None => y,
            }
        })
    }

    fn mask(&self, dropout: Dropout) -> Tensor {
        dropout.of(&self.x.ones_like()).unwrap().to_kind(Kind::Double)
    }
}

fn double(tensor: &Tensor) -> Tensor {
    tensor.to_kind(Kind::Double)
}

fn tolerance(kind: Kind) -> f64 {
    match kind {
        Kind::Double => 1e-11,
        Kind::Float => 1e-5,
        Kind::Half => 1e-2,
        _ => 3e-2,
    }
}

/// Compares y and gradients; `kind` says how near they must be.
fn compare(kind: Kind, found: (Tensor, Vec<Option<Tensor>>), expected: (Tensor, Vec<Option<Tensor>>), what: &str) {
    assert_eq!(found.0.kind(), kind, "{what}");
    assert_close(&double(&found.0), &expected.0, tolerance(kind), what);
    for (at, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
        let what = format!("{what}, gradient {at}");
        match (found, expected) {
            (Some(found), Some(expected)) => assert_close(&double(found), expected, tolerance(kind), &what),
            (None, None) => {}
            _ => panic!("{what}: {found:?} and {expected:?}"),
        }
    }
}

#[test]
fn gradients_of_dora_are_those_of_plain_operations() {
    let _alone = generator();
    tch::manual_seed(1);
    for kind in [Kind::Double, Kind::Float, Kind::BFloat16, Kind::Half] {
        for (rank, bias) in [(1, false), (3, true), (12, true)] {
            for probability in [0.0, 0.4] {
                let case = Case::new(kind, rank, bias);
                let dropout = Dropout::draw(probability).unwrap();
                for trains in
                    [Trains::ALL, Trains::but(0), Trains::but(1), Trains::but(2), Trains::but(3), Trains::but(4)]
                {
                    let what = format!("{kind:?}, rank {rank}, bias {bias}, dropout {probability}, {trains:?}");
                    compare(kind, case.dora(trains, dropout), case.plain_dora(trains, dropout), &what);
                }
            }
        }
    }
}

#[test]
fn magnitudes_of_nothing_and_rows_of_zeros_have_their_gradients() {
    let _alone = generator();
    tch::manual_seed(2);
    for kind in [Kind::Double, Kind::Float, Kind::BFloat16] {
        for (bias, probability) in [(false, 0.0), (true, 0.0), (true, 0.4)] {
            let case = Case::new(kind, 2, bias);
            for (row, value) in [(0, 0.0), (3, 1e-7), (4, -0.02)] {
                let _ = case.magnitude.get(row).fill_(value);
            }
            let _ = (case.weight.get(5).zero_(), case.b.get(5).zero_());
            let dropout = Dropout::draw(probability).unwrap();
            let found = case.dora(Trains::ALL, dropout);
            let gradient = found.1[3].as_ref().unwrap();
            assert_eq!(gradient.double_value(&[5]), 0.0, "{kind:?}");
            assert!(gradient.double_value(&[0]).abs() > 0.01, "{kind:?}");
            compare(kind, found, case.plain_dora(Trains::ALL, dropout), &format!("{kind:?}, {bias}, {probability}"));
            let (found, expected) = (case.dora(FROZEN_A, dropout), case.plain_dora(FROZEN_A, dropout));
            compare(kind, found, expected, &format!("{kind:?}, {bias}, {probability}, A frozen"));
        }
    }
}

/// Each derivative beside the difference of two values of the function, whose norm stays what it is.
#[test]
fn gradients_of_dora_are_differences() {
    let _alone = generator();
    tch::manual_seed(3);
    let case = Case::new(Kind::Double, 2, true);
    let norms = case.norms();
    for probability in [0.0, 0.3] {
        let dropout = Dropout::draw(probability).unwrap();
        let gradients = case.dora(Trains::ALL, dropout).1;
        for at in 0..5 {
            let value = |index: i64, step: f64| {
                let mut tensors = case.tensors().map(|tensor| tensor.unwrap().copy());
                let _ = tensors[at].view(-1).get(index).g_add_scalar_(step);
                let ratio = Ratio::new(&tensors[3], &norms).unwrap();
                let [x, a, b, magnitude, bias] = &mut tensors;
                let map = DoraMap { weight: &case.weight, bias: Some(bias), a, b, magnitude, scale: case.scale };
                (dora(x, &map, &ratio, dropout).unwrap() * &case.up).sum(Kind::Double).double_value(&[])
            };
            let gradient = gradients[at].as_ref().unwrap().view(-1);
            for index in 0..gradient.size()[0] {
                let slope = (value(index, 1e-4) - value(index, -1e-4)) / 2e-4;
                let found = gradient.double_value(&[index]);
                assert!((slope - found).abs() < 1e-6 * found.abs().max(1.0), "{at}, {index}: {slope} and {found}");
            }
        }
    }
}

#[test]
fn gradients_of_a_low_rank_part_are_those_of_plain_operations() {
    let _alone = generator();
    tch::manual_seed(4);
    for kind in [Kind::Double, Kind::Float, Kind::BFloat16, Kind::Half] {
        for (rank, probability) in [(1, 0.0), (3, 0.4), (12, 0.4)] {
            let case = Case::new(kind, rank, false);
            let dropout = Dropout::draw(probability).unwrap();
            let mask = case.mask(dropout);
            for trains in [Trains::ALL, Trains::but(0), Trains::but(1), Trains::but(2)] {
                // The magnitude stands for nothing here, and y for the map of x.
                let weight = &case.weight;
                let found = case.run(trains, Tensor::shallow_clone, |[x, a, b, _], _| {
                    low_rank(&x.matmul(&weight.tr()), x, a, b, case.scale, dropout).unwrap()
                });
                let expected = case.run(trains, double, |[x, a, b, _], _| {
                    x.matmul(&double(weight).tr()) + (x * &mask).matmul(&a.tr()).matmul(&b.tr()) * case.scale
                });
                compare(kind, found, expected, &format!("{kind:?}, rank {rank}, dropout {probability}, {trains:?}"));
            }
        }
    }
}

#[test]
fn a_seed_draws_one_mask_and_the_generator_draws_seeds() {
    let _alone = generator();
    let ones = Tensor::ones([40, 50], (Kind::Float, Device::Cpu));
    tch::manual_seed(7);
    let (first, second) = (Dropout::draw(0.25).unwrap(), Dropout::draw(0.25).unwrap());
    tch::manual_seed(7);
    assert_eq!(Dropout::draw(0.25).unwrap(), first);
    assert_eq!(Dropout::draw(0.0).unwrap(), Dropout::NONE);
    let mask = first.of(&ones).unwrap();
    assert!(mask.equal(&first.of(&ones).unwrap()));
    assert!(!mask.equal(&second.of(&ones).unwrap()));
    assert!(mask.masked_select(&mask.ne(0.0)).equal(&(ones.masked_select(&mask.ne(0.0)) / 0.75)));
    let kept = mask.ne(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
    assert!((kept - 0.75).abs() < 0.04, "{kept}");
    assert!(Dropout::NONE.of(&ones).unwrap().equal(&ones));
}

#[test]
fn a_segment_that_is_computed_again_drops_the_same() {
    let _alone = generator();
    tch::manual_seed(5);
    let case = Case::new(Kind::Float, 2, true);
    let norms = case.norms().to_kind(Kind::Float);
    let pass = |activations: &Activations| {
        let leaf = |tensor: &Tensor| tensor.detach().copy().set_requires_grad(true);
        let [a, b, magnitude] = [&case.a, &case.b, &case.magnitude].map(leaf);
        activations.begin(11);
        let mut x = case.x.copy();
        for _ in 0..2 {
            let [a, b, magnitude] = [&a, &b, &magnitude].map(Tensor::shallow_clone);
            let (weight, bias, scale) = (case.weight.copy(), case.bias.as_ref().map(Tensor::copy), case.scale);
            let ratio = Ratio::new(&magnitude, &norms).unwrap();
            x = activations
                .segment([&x], move |[x]| {
                    let map =
                        DoraMap { weight: &weight, bias: bias.as_ref(), a: &a, b: &b, magnitude: &magnitude, scale };
                    let y = dora(x, &map, &ratio, Dropout::draw(0.3)?)?.tanh();
                    let y = low_rank(&y, x, &a, &b, scale, Dropout::draw(0.3)?)?;
                    Ok(y.matmul(&weight).tanh())
                })
                .unwrap();
        }
        let loss = x.square().sum(Kind::Float);
        loss.backward();
        activations.backward().unwrap();
        (loss.detach(), [a.grad(), b.grad(), magnitude.grad()])
    };
    let (loss, gradients) = pass(&Activations::kept());
    let (same_loss, same_gradients) = pass(&Activations::recomputed());
    assert!(loss.equal(&same_loss));
    for (one, other) in gradients.iter().zip(&same_gradients) {
        assert!(difference(one, other) < 1e-6);
    }
}

#[test]
fn what_is_kept_is_what_the_gradients_need() {
    let _alone = generator();
    let float = (Kind::Float, Device::Cpu);
    let (tokens, inputs, outputs, rank) = (64, 32, 48, 2);
    let leaf = |shape: [i64; 2]| Tensor::randn(shape, float).set_requires_grad(true);
    let (a, b, weight) = (leaf([rank, inputs]), leaf([outputs, rank]), Tensor::randn([outputs, inputs], float));
    let magnitude = (Tensor::rand([outputs], float) + 1.0).set_requires_grad(true);
    let below = leaf([tokens, inputs]);
    let without = [&a, &b, &weight, &magnitude, &below];
    let number = |count: i64| 4 * count.unsigned_abs();
    let norms = weight.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float).sqrt();
    let ratio = Ratio::new(&magnitude, &norms).unwrap();
    for probability in [0.0, 0.5] {
        let dropout = Dropout::draw(probability).unwrap();
        let kept = |compute: &dyn Fn(&Tensor) -> Tensor| {
            // An x that nothing else keeps.
            let x = &below + 1.0;
            let (y, bytes) = saved_bytes(&without, || compute(&x));
            y.sum(Kind::Float).backward();
            bytes
        };
        let plain = |x: &Tensor| x.matmul(&weight.tr());
        assert_eq!(kept(&|x| plain(x)), 0);
        let frozen = kept(&|x| low_rank(&plain(x), x, &a.detach(), &b, 2.0, dropout).unwrap());
        assert_eq!(frozen, number(tokens * rank));
        let whole = kept(&|x| low_rank(&plain(x), x, &a, &b, 2.0, dropout).unwrap());
        assert_eq!(whole, number(tokens * (rank + inputs)));
        let map = DoraMap { weight: &weight, bias: None, a: &a, b: &b, magnitude: &magnitude, scale: 2.0 };
        let decomposed = kept(&|x| dora(x, &map, &ratio, dropout).unwrap());
        assert_eq!(decomposed, number(tokens * (rank + inputs + outputs) + 2 * outputs));
        let constant = a.detach();
        let map = DoraMap { a: &constant, ..map };
        let frozen = kept(&|x| dora(x, &map, &ratio, dropout).unwrap());
        assert_eq!(frozen, number(tokens * (rank + outputs) + 2 * outputs), "x is not kept");
    }
}

#[test]
fn what_is_wrong_is_an_error() {
    let _alone = generator();
    tch::manual_seed(6);
    let case = Case::new(Kind::Float, 2, false);
    let ratio = Ratio::new(&case.magnitude, &case.norms().to_kind(Kind::Float)).unwrap();
    let map = DoraMap {
        weight: &case.weight,
        bias: None,
        a: &case.a,
        b: &case.b,
        magnitude: &case.magnitude,
        scale: case.scale,
    };
    let narrow = case.x.narrow(-1, 0, 4);
    let error = dora(&narrow, &map, &ratio, Dropout::NONE).unwrap_err().to_string();
    assert!(error.contains("shapes cannot be multiplied"), "{error}");
    assert!(low_rank(&case.up, &narrow, &case.a, &case.b, 1.0, Dropout::NONE).is_err());
    let trains = case.weight.copy().set_requires_grad(true);
    let error = dora(&case.x, &DoraMap { weight: &trains, ..map }, &ratio, Dropout::NONE).unwrap_err().to_string();
    assert!(error.contains("must not train"), "{error}");
    // In the backward pass: an output that has changed since.
    let b = case.b.copy().set_requires_grad(true);
    let mut y = dora(&case.x, &DoraMap { b: &b, ..map }, &ratio, Dropout::NONE).unwrap();
    let _ = y.g_add_scalar_(1.0);
    let error = y.sum(Kind::Float).f_backward().unwrap_err().to_string();
    assert!(error.contains("inplace operation"), "{error}");
}
