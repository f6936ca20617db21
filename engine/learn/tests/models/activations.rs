//! What a training pass keeps: recomputed activations against kept ones.

use learn::layers::Activations;
use tch::{Device, Kind, Tensor};

use crate::fixtures::generator;

/// Loss and gradients of a small network with dropout, whose table goes into every segment.
fn pass(activations: &Activations) -> (Vec<f32>, Vec<Tensor>) {
    let leaf = |shape: [i64; 2]| {
        let numbers = Tensor::arange(shape[0] * shape[1], (Kind::Float, Device::Cpu));
        (numbers * 1.7).sin().view(shape).set_requires_grad(true)
    };
    let (table, first, second) = (leaf([4, 6]), leaf([6, 6]), leaf([6, 6]));
    let mut losses = Vec::new();
    for seed in [1, 2] {
        activations.begin(seed);
        let shared = activations.cut(&table.sin()).unwrap();
        let mut x = (&table * 2.0).dropout(0.3, true);
        for weight in [&first, &second, &first] {
            let weight = weight.shallow_clone();
            x = activations
                .segment([&x, &shared], move |[x, shared]| {
                    Ok(x + x.matmul(&weight).tanh().f_dropout(0.4, true)? * shared)
                })
                .unwrap();
        }
        let loss = x.dropout(0.2, true).square().mean(Kind::Float);
        loss.backward();
        activations.backward().unwrap();
        losses.push(loss.double_value(&[]) as f32);
    }
    (losses, vec![table.grad(), first.grad(), second.grad()])
}

#[test]
fn recomputed_activations_give_the_same_loss_and_gradients_with_dropout() {
    let _alone = generator();
    let (losses, gradients) = pass(&Activations::kept());
    let (same_losses, same_gradients) = pass(&Activations::recomputed());
    assert_eq!(losses, same_losses);
    for (one, other) in gradients.iter().zip(&same_gradients) {
        assert!((one - other).abs().max().double_value(&[]) < 1e-6);
    }
}

#[test]
fn a_segment_below_which_nothing_trains_is_passed_over() {
    let _alone = generator();
    let activations = Activations::recomputed();
    activations.begin(0);
    let x = Tensor::ones([3], (Kind::Float, Device::Cpu));
    let weight = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let handle = weight.shallow_clone();
    let frozen = activations.segment([&x], |[x]| Ok(x * 3.0)).unwrap();
    let y = activations.segment([&frozen], move |[x]| Ok(x * &handle)).unwrap();
    y.sum(Kind::Float).backward();
    activations.backward().unwrap();
    assert_eq!(Vec::<f32>::try_from(weight.grad()).unwrap(), [3.0; 3]);
    assert!(!x.grad().defined());
}
