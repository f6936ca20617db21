//! What the low-rank methods begin with, in all shapes: one map at a time, of random weights.

use std::cell::RefCell;
use std::rc::Rc;

use learn::Result;
use learn::adapters::first_values::{
    Base, FirstValues, Gaussian, Kaiming, Olora, Orthogonal, Pissa, ScaledRandom, SingularValues, Svd,
};
use learn::adapters::{Dora, Lora, LoraFa, LowRank, Method, Scale};
use learn::by_name::{ByName, Several};
use learn::layers::{Linear, LinearMap, Mode};
use learn::optim::{Orthogonality, Side};
use learn::parameters::Stores;
use learn::targets::{Place, Role, Targets};
use learn::weights::{Fresh, Init, Random, SafetensorsFile};
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, assert_close, difference, generator};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// First values that a file gives, and random ones for what it lacks.
#[derive(Debug)]
pub struct Given {
    file: SafetensorsFile,
    rest: Random,
}

impl Given {
    pub fn of(file: SafetensorsFile) -> Self {
        Self { file, rest: Random::new(0, Device::Cpu) }
    }
}

impl Fresh for Given {
    fn draw(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        let key = format!("base_model.model.{name}");
        match self.file.shape(&key) {
            Some(_) => self.file.tensor(&key, Device::Cpu, Kind::Float),
            None => self.rest.draw(name, shape, init),
        }
    }
}

/// Draws from libtorch's generator, and remembers the shapes.
#[derive(Debug, Default)]
struct Noted(RefCell<Vec<Vec<i64>>>);

impl Fresh for Noted {
    fn draw(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        self.0.borrow_mut().push(shape.to_vec());
        Random::new(4, Device::Cpu).draw(name, shape, init)
    }
}

fn place() -> Place {
    Place::new("m.layers.0.map", Role::MlpUp)
}

/// One map under `method`, with all that is in the stores.
fn map<'a>(method: &dyn Method, weight: &Tensor, fresh: &'a dyn Fresh) -> (Rc<dyn LinearMap>, Stores<'a>) {
    let mut stores = Stores::new(fresh);
    let weight = stores.freeze("m.layers.0.map.weight", weight.copy()).unwrap();
    let map = method.linear(&place(), Linear { weight, bias: None }, &mut stores).unwrap();
    (map, stores)
}

fn of(init: impl FirstValues + 'static, rank: i64, alpha: f64) -> LowRank {
    LowRank { init: Box::new(init), ..LowRank::new(rank, alpha, 0.0, Targets::AllLinear).unwrap() }
}

fn tensor<'a>(stores: &'a Stores, end: &str) -> &'a Tensor {
    let name = format!("m.layers.0.map.{end}");
    stores.trainable.get(&name).or_else(|| stores.frozen.get(&name)).unwrap_or_else(|| panic!("no {name}"))
}

/// Every way to begin.
fn ways() -> Vec<fn() -> Box<dyn FirstValues>> {
    use SingularValues::{All, None, Sqrt};
    vec![
        || Box::new(Kaiming),
        || Box::new(Gaussian),
        || Box::new(Orthogonal),
        || Box::new(Pissa),
        || Box::new(Olora),
        || Box::new(ScaledRandom { singular_values: Sqrt }),
        || Box::new(Svd { singular_values: None, base: Base::Untouched }),
        || Box::new(Svd { singular_values: Sqrt, base: Base::Untouched }),
        || Box::new(Svd { singular_values: All, base: Base::Untouched }),
        || Box::new(Svd { singular_values: None, base: Base::Residual }),
        || Box::new(Svd { singular_values: Sqrt, base: Base::Residual }),
        || Box::new(Svd { singular_values: All, base: Base::Residual }),
    ]
}

#[test]
fn every_way_begins_as_the_base_in_every_shape() {
    let _alone = generator();
    tch::manual_seed(2);
    let fresh = Random::new(1, Device::Cpu);
    let shapes = [(7, 5, Kind::Float), (4, 9, Kind::Float), (6, 6, Kind::Float), (8, 5, Kind::BFloat16)];
    let numbers = &[(1, 3.0), (3, 7.5), (4, 0.5), (2, 2.0)];
    for (way, shape, number) in ways()
        .iter()
        .flat_map(|way| shapes.iter().flat_map(move |shape| numbers.iter().map(move |number| (way, *shape, *number))))
    {
        let ((outputs, inputs, kind), (rank, alpha), init) = (shape, number, way());
        let word = format!("{init:?}");
        if word == "Orthogonal" && rank % 2 != 0 {
            continue;
        }
        let is_zero = init.base() == Base::Untouched && word != "Orthogonal";
        let what = format!("{word}, {outputs} × {inputs} {kind:?}, rank {rank}");
        let weight = Tensor::randn([outputs, inputs], FLOAT).to_kind(kind);
        let _ = weight.get(2).zero_();
        let low_rank = LowRank { init, ..of(Kaiming, rank, alpha) };
        let (map, stores) = map(&Lora::of(low_rank), &weight, &fresh);
        let x = Tensor::randn([3, 2, inputs], FLOAT).to_kind(kind);
        let found = map.forward(&x, Mode::Train).unwrap();
        let plain = x.linear(&weight, None::<&Tensor>);
        if is_zero {
            assert!(found.equal(&plain), "{what}");
            assert!(map.merged().unwrap().equal(&weight), "{what}");
        }
        // A residual of 16 bits rounds once more.
        let tolerance = if kind == Kind::Float { TOLERANCE } else { 0.02 };
        let exact = |tensor: &Tensor| tensor.to_kind(Kind::Float).detach();
        assert_close(&exact(&found), &exact(&plain), tolerance, &what);
        assert_close(&exact(&map.merged().unwrap()), &exact(&weight), tolerance, &what);
        assert_eq!(map.merged().unwrap().kind(), kind, "{what}");
        assert_eq!(tensor(&stores, "lora_A.weight").size(), [rank, inputs], "{what}");
        assert_eq!(tensor(&stores, "lora_B.weight").size(), [outputs, rank], "{what}");
        assert_eq!(tensor(&stores, "lora_B.weight").kind(), Kind::Float, "{what}");
    }
}

#[test]
fn a_rank_above_the_smaller_side_is_refused_where_there_are_no_more_vectors() {
    let fresh = Random::new(1, Device::Cpu);
    let weight = Random::new(2, Device::Cpu).draw("w", &[4, 9], Init::Normal(1.0)).unwrap();
    let error = |low_rank: LowRank| {
        let mut stores = Stores::new(&fresh);
        let plain = Linear { weight: weight.copy(), bias: None };
        Lora::of(low_rank).linear(&place(), plain, &mut stores).unwrap_err().to_string()
    };
    let expected = "rank: 5 is more than the 4 singular values that `m.layers.0.map` has";
    assert_eq!(error(of(Pissa, 5, 1.0)), expected);
    assert_eq!(error(of(Olora, 5, 1.0)), expected);
    assert_eq!(error(of(ScaledRandom { singular_values: SingularValues::All }, 5, 1.0)), expected);
    assert_eq!(error(of(Orthogonal, 3, 1.0)), "rank: is 3, and `init: orthogonal` shares it among A and B");
    // Others have as many as are asked for.
    let (map, _stores) = map(&Lora::of(of(Gaussian, 11, 2.0)), &weight, &fresh);
    assert!(map.merged().unwrap().equal(&weight));
}

#[test]
fn first_values_follow_their_formulas() {
    let fresh = Random::new(1, Device::Cpu);
    let weight = Random::new(2, Device::Cpu).draw("w", &[7, 5], Init::Normal(1.0)).unwrap();
    let (rank, alpha) = (2, 5.0);
    let scale = alpha / rank as f64;
    let (u, s, v) = weight.svd(true, true);
    let (u, s, v) = (u.narrow(1, 0, rank), s.narrow(0, 0, rank), v.narrow(1, 0, rank));
    let best = (&u * &s).matmul(&v.tr());
    // Each vector has a sign of its own; products and lengths have none.
    for (values, power) in [(SingularValues::None, 0.0), (SingularValues::Sqrt, 0.5), (SingularValues::All, 1.0)] {
        let init = Svd { singular_values: values, base: Base::Residual };
        let (_, stores) = map(&Lora::of(of(init, rank, alpha)), &weight, &fresh);
        let (a, b) = (tensor(&stores, "lora_A.weight").detach(), tensor(&stores, "lora_B.weight").detach());
        assert_close(&(b.matmul(&a) * scale), &best, TOLERANCE, "s·BA is the best approximation");
        let lengths = (&s / scale).pow_tensor_scalar(power);
        assert_close(
            &a.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float).sqrt(),
            &lengths,
            TOLERANCE,
            "A",
        );
        let left = tensor(&stores, "weight");
        assert_close(left, &(&weight - &best), TOLERANCE, "the residual is what is frozen");

        let untouched = Svd { singular_values: values, base: Base::Untouched };
        let (_, stores) = map(&LoraFa::of(of(untouched, rank, alpha)), &weight, &fresh);
        assert!(tensor(&stores, "lora_A.weight").equal(&a), "the same A");
        assert!(stores.trainable.get("m.layers.0.map.lora_A.weight").is_none(), "A is frozen");
        assert_eq!(tensor(&stores, "lora_B.weight").abs().max().double_value(&[]), 0.0);
        assert!(tensor(&stores, "weight").equal(&weight));

        let control = ScaledRandom { singular_values: values };
        let (_, stores) = map(&LoraFa::of(of(control, rank, alpha)), &weight, &fresh);
        let (_, random) = map(&LoraFa::of(of(Kaiming, rank, alpha)), &weight, &fresh);
        let (found, plain) = (tensor(&stores, "lora_A.weight"), tensor(&random, "lora_A.weight"));
        assert_close(&found.norm(), &a.norm(), TOLERANCE, "as long");
        assert_close(&(found / found.norm()), &(plain / plain.norm()), TOLERANCE, "in Kaiming's directions");
    }
    let (_, stores) = map(&Lora::of(of(Olora, rank, alpha)), &weight, &fresh);
    let (q, r) = Tensor::linalg_qr(&weight, "reduced");
    assert_close(&tensor(&stores, "lora_B.weight").detach(), &q.narrow(1, 0, rank), TOLERANCE, "Q");
    assert_close(&tensor(&stores, "lora_A.weight").detach(), &r.narrow(0, 0, rank), TOLERANCE, "R");
    let stabilised = LowRank { scale: Scale::RankStabilized, ..of(Pissa, rank, alpha) };
    let (map, stores) = map(&Lora::of(stabilised), &weight, &fresh);
    let (a, b) = (tensor(&stores, "lora_A.weight").detach(), tensor(&stores, "lora_B.weight").detach());
    assert_close(&(b.matmul(&a) * (alpha / 2f64.sqrt())), &best, TOLERANCE, "alpha / √rank");
    assert_close(&map.merged().unwrap(), &weight, TOLERANCE, "whole");
}

#[test]
fn orthogonal_halves_are_those_of_peft_for_the_same_draws() {
    let noted = Noted::default();
    let weight = Tensor::zeros([7, 5], FLOAT);
    let (_, stores) = map(&Lora::of(of(Orthogonal, 4, 1.0)), &weight, &noted);
    assert_eq!(*noted.0.borrow(), [vec![4, 4], vec![5, 2], vec![2, 7]], "as PEFT draws");
    let draw = |name: &str, shape: &[i64]| {
        Random::new(4, Device::Cpu).draw(&format!("m.layers.0.map.{name}"), shape, Init::Normal(1.0)).unwrap()
    };
    let (q, _) = Tensor::linalg_qr(&draw("lora_A.weight.orthogonal", &[4, 4]), "reduced");
    let half = |rows: [i64; 2]| q.index_select(0, &Tensor::from_slice(&rows));
    let a = draw("lora_A.weight", &[5, 2]).mm(&half([0, 2])).tr() / 10.0;
    let b = draw("lora_B.weight", &[2, 7]).tr().mm(&half([1, 3])) / 10.0;
    assert_close(&tensor(&stores, "lora_A.weight").detach(), &a, TOLERANCE, "A");
    assert_close(&tensor(&stores, "lora_B.weight").detach(), &b, TOLERANCE, "B");
    assert!(difference(&b.matmul(&a), &Tensor::zeros([7, 5], FLOAT)) < 1e-6);
}

#[test]
fn ranks_and_alphas_of_single_maps_hold() {
    let fresh = Random::new(1, Device::Cpu);
    let weight = Random::new(2, Device::Cpu).draw("w", &[7, 5], Init::Normal(1.0)).unwrap();
    let ranks = ByName::new("rank_pattern", [("0.map".to_owned(), 3)], Several::Refused).unwrap();
    let alphas = ByName::new("alpha_pattern", [("map".to_owned(), 12.0)], Several::Refused).unwrap();
    let low_rank = || LowRank::new(2, 5.0, 0.0, Targets::AllLinear).unwrap();
    let with = |ranks, alphas| low_rank().with_patterns(ranks, alphas).unwrap();
    let (map, mut stores) = map(&Lora::of(with(ranks, alphas)), &weight, &fresh);
    assert_eq!(tensor(&stores, "lora_A.weight").size(), [3, 5]);
    let (a, b) = (Tensor::ones([3, 5], FLOAT), Tensor::ones([7, 3], FLOAT));
    stores.trainable.set("m.layers.0.map.lora_A.weight", &a).unwrap();
    stores.trainable.set("m.layers.0.map.lora_B.weight", &b).unwrap();
    assert_close(&map.merged().unwrap(), &(weight + 3.0 * 4.0), TOLERANCE, "12 / 3");
    let none = ByName::new("rank_pattern", [("map".to_owned(), 0)], Several::Refused).unwrap();
    let error = low_rank().with_patterns(none, ByName::none("alpha_pattern")).unwrap_err();
    assert_eq!(error.to_string(), "rank_pattern: is 0");
}

#[test]
fn what_has_no_meaning_is_refused_with_the_reason() {
    let error = Dora::of(of(Pissa, 2, 1.0)).unwrap_err();
    assert!(error.to_string().contains("takes its first values out of the base"), "{error}");
    let penalty = Orthogonality { side: Side::Rows, weight: 1.0 };
    let error = LoraFa::of(of(Kaiming, 2, 1.0)).with_penalty(penalty).unwrap_err();
    assert!(error.to_string().contains("it is a constant"), "{error}");
    let error = Lora::of(of(Kaiming, 2, 1.0)).with_learning_rate_ratio(0.0).unwrap_err();
    assert_eq!(error.to_string(), "learning_rate_ratio: is 0");
}
