//! What analyses of trained weights read and what always holds of them: each matrix of each family is found, changes are
//! those that the methods merge, and the formulas keep their bounds.

use std::collections::HashMap;

use learn::adapters::{Frozen, load, saved_method};
use learn::inspect::{
    Adapter, Base, Change, Factors, Matrices, amplification, magnitude_direction, right_vectors, similarity,
    update_norms,
};
use learn::models::{Model, Task};
use tch::{Device, Kind, Tensor};

use crate::fixtures::golden;

const CLASSIFIER: Task = Task::SequenceClassification { labels: 4 };

/// A random matrix that depends on its seed alone.
fn drawn(seed: i64, shape: [i64; 2]) -> Tensor {
    let count = shape[0] * shape[1];
    let numbers: Vec<f64> = (0..count)
        .map(|at| {
            let mixed = (at + 1) * (seed * 7919 + 104_729) % 1_000_003;
            (mixed as f64 * 12.9898).sin() * 43_758.545_3 % 1.0
        })
        .collect();
    Tensor::from_slice(&numbers).view(shape)
}

#[test]
fn each_matrix_is_the_tensor_that_the_model_has() {
    for (folder, task) in [
        ("llama/tied_multi_head", Task::LanguageModel),
        ("llama/sharded_float16", Task::LanguageModel),
        ("encoders/roberta_classifier", CLASSIFIER),
        ("t5/v1_0", Task::LanguageModel),
    ] {
        let folder = golden(folder).join("model");
        let matrices = Matrices::open(&folder).unwrap();
        let model = Model::load_for(task, &folder, &Frozen, 0, Device::Cpu).unwrap();
        let names: Vec<&str> = matrices.iter().map(|matrix| matrix.place.name.as_str()).collect();
        for place in model.places().chain(model.lookups()) {
            assert!(names.contains(&place.name.as_str()), "{}: no {}", folder.display(), place.name);
        }
        for matrix in matrices.iter() {
            let name = &matrix.place.name;
            let weight = matrices.weight(name).unwrap().unwrap();
            // A tied head is the table of embeddings.
            let own = model.frozen.get(&format!("{name}.weight"));
            let Some(own) = own else {
                assert_eq!(matrix.place.role.name(), "head", "{name}");
                continue;
            };
            assert!(weight == own.to_kind(Kind::Double), "{}: {name}", folder.display());
            let numbered = name.split('.').find_map(|part| part.parse::<u64>().ok());
            assert_eq!(matrix.layer, numbered);
        }
    }
    // Files of a model without a head have other names.
    let headless = Matrices::open(&golden("encoders/bert_headless/model")).unwrap();
    let query = headless.iter().find(|matrix| matrix.place.role.name() == "attention.q").unwrap();
    assert!(headless.weight(&query.place.name).unwrap().is_some());
}

#[test]
fn changes_are_what_the_methods_merge() {
    for (family, base, task) in [
        ("llama", "llama/biases", Task::LanguageModel),
        ("roberta", "encoders/roberta_classifier", CLASSIFIER),
        ("t5", "t5/v1_0", Task::LanguageModel),
    ] {
        let base = golden(base).join("model");
        for variant in ["lora", "dora", "patterns", "embedding", "pissa/converted", "bias_all"] {
            let folder = golden("lora_family").join(family).join(variant);
            // T5 has no adapter of its embeddings there, and RoBERTa's converted one has no head.
            if !folder.exists() || (family == "roberta" && variant.starts_with("pissa")) {
                continue;
            }
            let method = saved_method(&folder).unwrap();
            let mut model = Model::load_for(task, &base, method.as_ref(), 0, Device::Cpu).unwrap();
            load(&folder, &mut model.trainable).unwrap();
            let merged: HashMap<_, _> = model.merged_tensors().unwrap().1.into_iter().collect();
            let (adapter, weights) = (Adapter::open(&folder).unwrap(), Base::whole(&base).unwrap());
            let modules = adapter.modules();
            assert!(modules.len() > 1, "{family}, {variant}");
            for module in modules {
                let weight = weights.weight(&module).unwrap().unwrap();
                let change = adapter.change(&module).unwrap().unwrap();
                assert!(change.fits(&weight));
                let now = &weight + change.dense(&weight).unwrap();
                let expected = merged[&format!("{module}.weight")].to_kind(Kind::Double);
                let off = (&now - &expected).abs().max().double_value(&[]);
                let largest = expected.abs().max().double_value(&[]);
                assert!(off < 1e-6 * largest, "{family}, {variant}, {module}: {off}");
                let moved = (&expected - &weight).abs().max().double_value(&[]);
                assert!(moved > 1e-3 * largest, "{family}, {variant}: {module} did not move");
            }
        }
    }
}

#[test]
fn a_subspace_is_within_itself_and_orthogonal_ones_share_nothing() {
    let a = drawn(1, [5, 12]);
    let right = right_vectors(&a).unwrap();
    let numbers = [1, 2, 3, 4, 5];
    for (i, row) in similarity(&right, &right, &numbers, &numbers).unwrap().iter().enumerate() {
        for (j, phi) in row.iter().enumerate() {
            assert!((phi - 1.0).abs() < 1e-12, "φ(A, A, {}, {}) is {phi}", i + 1, j + 1);
        }
    }
    // The same span, other numbers: A times an invertible matrix.
    let mixed = right_vectors(&drawn(3, [5, 5]).matmul(&a)).unwrap();
    let all = similarity(&right, &mixed, &[5], &[2, 5]).unwrap();
    assert!((all[0][0] - 1.0).abs() < 1e-9 && (all[0][1] - 1.0).abs() < 1e-9, "{all:?}");
    let eye = Tensor::eye(12, (Kind::Double, Device::Cpu));
    let (one, other) = (eye.narrow(0, 0, 4), eye.narrow(0, 6, 3));
    let none = similarity(&right_vectors(&one).unwrap(), &right_vectors(&other).unwrap(), &[4], &[3]).unwrap();
    assert_eq!(none, [[0.0]]);
    for seed in 2..8 {
        let phi = similarity(&right, &right_vectors(&drawn(seed, [3, 12])).unwrap(), &numbers, &[1, 2, 3]).unwrap();
        assert!(phi.iter().flatten().all(|phi| (0.0..1.0).contains(phi)), "{phi:?}");
    }
    // A row that is the sum of two others is no direction more.
    let sum = a.get(0) + a.get(1);
    let dependent = Tensor::cat(&[a.narrow(0, 0, 2), sum.unsqueeze(0)], 0);
    assert_eq!(right_vectors(&dependent).unwrap().size(), [12, 2]);
}

#[test]
fn nothing_learned_is_no_change() {
    let weight = drawn(4, [7, 12]);
    let norms = (&weight * &weight).sum_dim_intlist([1i64].as_slice(), false, Kind::Double).sqrt();
    let factors = || Factors { a: drawn(5, [3, 12]), b: Tensor::zeros([7, 3], (Kind::Double, Device::Cpu)) };
    for change in
        [Change::Factors(factors()), Change::Decomposed(factors(), norms.shallow_clone()), Change::Whole(weight.copy())]
    {
        let rows = change.rows(&weight).unwrap();
        let found = update_norms(&change, &weight, &rows).unwrap();
        assert!(found.norm < 1e-14 && found.spectral < 1e-14, "{change:?}: {found:?}");
        assert_eq!((found.stable_rank, found.effective_rank), (None, None));
        let moved = magnitude_direction(&rows);
        assert!(moved.magnitude < 1e-15 && moved.direction == 0.0, "{change:?}: {moved:?}");
        if matches!(change, Change::Factors(_) | Change::Whole(_)) {
            assert_eq!((found.norm, moved.magnitude), (0.0, 0.0));
            let compared = amplification(&change, &weight, &rows, 2).unwrap();
            assert_eq!((compared.directions, compared.factor), (0, None));
        }
    }
}

#[test]
fn magnitude_and_direction_are_told_apart() {
    let weight = drawn(6, [6, 10]);
    let norms = (&weight * &weight).sum_dim_intlist([1i64].as_slice(), false, Kind::Double).sqrt();
    let mean = norms.mean(Kind::Double).double_value(&[]);
    let moved = |change: Change| magnitude_direction(&change.rows(&weight).unwrap());
    let doubled = moved(Change::Whole(&weight * 2.0));
    assert!((doubled.magnitude - mean).abs() < 1e-12 && doubled.direction < 1e-15, "{doubled:?}");
    let turned = moved(Change::Whole(-&weight));
    assert!(turned.magnitude < 1e-12 && (turned.direction - 2.0).abs() < 1e-12, "{turned:?}");
    // A magnitude of DoRA changes no direction.
    let none = Factors { a: drawn(7, [2, 10]), b: Tensor::zeros([6, 2], (Kind::Double, Device::Cpu)) };
    let scaled = moved(Change::Decomposed(none, &norms * 1.5));
    assert!((scaled.magnitude - mean / 2.0).abs() < 1e-12 && scaled.direction == 0.0, "{scaled:?}");
    // However small a change is, its digits are right: a row turned by an angle t has 1 − cos t = t² / 2.
    let plane = Tensor::zeros([1, 2], (Kind::Double, Device::Cpu));
    let _ = plane.narrow(1, 0, 1).fill_(1.0);
    for angle in [1e-3_f64, 1e-6, 1e-8] {
        let now = Tensor::from_slice(&[angle.cos(), angle.sin()]).view([1, 2]);
        let tiny = magnitude_direction(&Change::Whole(now).rows(&plane).unwrap());
        let expected = angle * angle / 2.0;
        assert!((tiny.direction / expected - 1.0).abs() < 1e-6, "{angle}: {tiny:?}");
    }
    // A row of zeros is no NaN, before or after.
    let holed = weight.copy();
    let _ = holed.get(0).fill_(0.0);
    for (before, after) in [(&holed, &weight), (&weight, &holed), (&holed, &holed)] {
        let found = magnitude_direction(&Change::Whole(after.copy()).rows(before).unwrap());
        assert!(found.magnitude.is_finite() && found.direction.is_finite(), "{found:?}");
    }
}

#[test]
fn factors_give_what_their_product_gives() {
    let weight = drawn(8, [9, 14]);
    // More columns than the product has directions, as what PiSSA leaves.
    for rank in [1, 3, 12] {
        let factors = || Factors { a: drawn(9, [rank, 14]), b: drawn(10, [9, rank]) };
        let low = Change::Factors(factors());
        let whole = Change::Whole(&weight + low.dense(&weight).unwrap());
        let (low_rows, whole_rows) = (low.rows(&weight).unwrap(), whole.rows(&weight).unwrap());
        let one = update_norms(&low, &weight, &low_rows).unwrap();
        let other = update_norms(&whole, &weight, &whole_rows).unwrap();
        for (one, other) in [
            (one.norm, other.norm),
            (one.spectral, other.spectral),
            (one.relative.unwrap(), other.relative.unwrap()),
            (one.stable_rank.unwrap(), other.stable_rank.unwrap()),
            (one.effective_rank.unwrap(), other.effective_rank.unwrap()),
            (magnitude_direction(&low_rows).magnitude, magnitude_direction(&whole_rows).magnitude),
            (magnitude_direction(&low_rows).direction, magnitude_direction(&whole_rows).direction),
        ] {
            assert!((one / other - 1.0).abs() < 1e-9, "rank {rank}: {one}, {other}");
        }
        let one = amplification(&low, &weight, &low_rows, 2).unwrap();
        let other = amplification(&whole, &weight, &whole_rows, 2).unwrap();
        assert!((one.in_update / other.in_update - 1.0).abs() < 1e-8, "{one:?}, {other:?}");
        assert!(one.in_update <= one.in_weight * (1.0 + 1e-12), "no vectors give more than those of W");
    }
}
