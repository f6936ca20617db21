//! What a method does before its first step, with dropout, and with degenerate weights; random models.

use crate::fixtures::{TOLERANCE, Variant, assert_close, difference, forward, generator, low_rank};
use learn::adapters::{Dora, Frozen, Full, Lora, Method};
use learn::fused::Dropout;
use learn::layers::{Linear, Mode};
use learn::models::{Model, read_config};
use learn::optim::Flat;
use learn::parameters::{Parameters, Stores};
use learn::targets::{Place, Role, Targets};
use learn::weights::Random;
use tch::{Device, Kind, Tensor};

#[test]
fn a_fresh_adapter_is_exactly_the_base_model() {
    let _alone = generator();
    let variant = Variant::read("untied_grouped");
    let base = variant.forward(&variant.model(&Frozen)).0;
    for method in ["lora", "dora"] {
        for dropout in [0.0, 0.4] {
            let model = variant.model(low_rank(&variant, method, variant.alpha(), dropout).as_ref());
            assert!(variant.forward(&model).0.equal(&base), "{method}, dropout {dropout}");
        }
    }
    let variant = Variant::read("biases");
    let base = variant.forward(&variant.model(&Frozen)).0;
    let model = variant.model(low_rank(&variant, "dora", variant.alpha(), 0.0).as_ref());
    assert_close(&variant.forward(&model).0, &base, 1e-6, "DoRA with biases");
}

/// What a map has computed ahead is computed again when its tensors change, however they do.
#[test]
fn the_ratio_of_dora_follows_its_tensors() {
    let _alone = generator();
    let float = (Kind::Float, Device::Cpu);
    tch::manual_seed(13);
    let (w, x) = (Tensor::randn([7, 5], float), Tensor::randn([3, 5], float));
    let (map, mut trainable) = map(&Dora::new(2, 5.0, 0.0, Targets::AllLinear).unwrap(), w.copy(), None);
    let holds = |trainable: &Parameters, what: &str| {
        let [a, b, m] = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"]
            .map(|name| trainable.get(&format!("map.{name}")).unwrap().detach());
        let sum = &w + b.matmul(&a) * 2.5;
        let c = m / sum.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float).sqrt();
        let y = map.forward(&x, Mode::Train).unwrap();
        assert_close(&y, &(x.matmul(&sum.tr()) * &c), TOLERANCE, what);
        assert_close(&map.merged().unwrap(), &(sum * c.unsqueeze(1)), TOLERANCE, what);
    };
    holds(&trainable, "at first");
    for name in ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"] {
        let name = format!("map.{name}");
        let values = trainable.get(&name).unwrap().detach().copy() + 0.3;
        trainable.set(&name, &values).unwrap();
        holds(&trainable, &name);
    }
    let flat = Flat::new(&trainable).unwrap();
    holds(&trainable, "in one buffer");
    let slices = flat.named(flat.values()).unwrap();
    let _ = tch::no_grad(|| flat.values().shallow_clone().g_mul_scalar_(1.1));
    holds(&trainable, "the buffer has changed");
    for (name, slice) in slices {
        let _ = tch::no_grad(|| slice.shallow_clone().g_mul_scalar_(0.7));
        holds(&trainable, &name);
    }
}

/// One linear map under `method`, its adapter far from its first values.
fn map(
    method: &dyn Method,
    weight: Tensor,
    bias: Option<Tensor>,
) -> (std::rc::Rc<dyn learn::layers::LinearMap>, Parameters) {
    let fresh = Random::new(1, Device::Cpu);
    let mut stores = Stores::new(&fresh);
    let place = Place::new("map", Role::MlpUp);
    let map = method.linear(&place, Linear { weight, bias }, &mut stores).unwrap();
    (map, stores.trainable)
}

#[test]
fn dropout_follows_the_formulas_and_acts_in_training_alone() {
    let _alone = generator();
    tch::manual_seed(5);
    let float = (Kind::Float, Device::Cpu);
    let (rank, alpha, dropout) = (2, 5.0, 0.4);
    let scale = alpha / rank as f64;
    for method in ["lora", "dora"] {
        let (w, bias, x) = (Tensor::randn([7, 5], float), Tensor::randn([7], float), Tensor::randn([3, 4, 5], float));
        let made: Box<dyn Method> = match method {
            "lora" => Box::new(Lora::new(rank, alpha, dropout, Targets::AllLinear).unwrap()),
            _ => Box::new(Dora::new(rank, alpha, dropout, Targets::AllLinear).unwrap()),
        };
        let (map, mut parameters) = map(made.as_ref(), w.copy(), Some(bias.copy()));
        let (a, b) = (Tensor::randn([rank, 5], float), Tensor::randn([7, rank], float));
        parameters.set("map.lora_A.weight", &a).unwrap();
        parameters.set("map.lora_B.weight", &b).unwrap();
        let product = b.matmul(&a) * scale;
        let sum = &w + &product;
        tch::manual_seed(9);
        let dropped = Dropout::draw(dropout).unwrap().of(&x).unwrap();
        let (train, eval) = if method == "lora" {
            let train = x.matmul(&w.tr()) + dropped.matmul(&product.tr()) + &bias;
            (train, x.matmul(&sum.tr()) + &bias)
        } else {
            let m = Tensor::rand([7], float) + 0.5;
            parameters.set("map.lora_magnitude_vector", &m).unwrap();
            let c = m / sum.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float).sqrt();
            let train =
                x.matmul(&w.tr()) + &bias + (&c - 1.0) * dropped.matmul(&w.tr()) + &c * dropped.matmul(&product.tr());
            (train, x.matmul(&sum.tr()) * &c + &bias)
        };
        assert_close(&map.forward(&x, Mode::Eval).unwrap(), &eval, TOLERANCE, method);
        tch::manual_seed(9);
        assert_close(&map.forward(&x, Mode::Train).unwrap(), &train, TOLERANCE, method);
        assert!(difference(&train, &eval) > 0.01);
    }
}

#[test]
fn a_row_of_zeros_is_no_nan_in_dora() {
    let _alone = generator();
    let float = (Kind::Float, Device::Cpu);
    let weight = Tensor::randn([4, 3], float);
    let _ = weight.get(2).zero_();
    let dora = Dora::new(2, 4.0, 0.0, Targets::AllLinear).unwrap();
    let (map, mut parameters) = map(&dora, weight.copy(), None);
    let x = Tensor::randn([5, 3], float);
    let y = map.forward(&x, Mode::Train).unwrap();
    assert!(y.equal(&x.matmul(&weight.tr())));
    y.sum(Kind::Float).backward();
    for (name, tensor) in parameters.iter() {
        assert_eq!(i64::try_from(tensor.grad().isfinite().logical_not().sum(Kind::Int64)).unwrap(), 0, "{name}");
    }
    assert!(map.merged().unwrap().equal(&weight));
    parameters.set("map.lora_B.weight", &Tensor::ones([4, 2], float)).unwrap();
    let later = map.forward(&x, Mode::Train).unwrap();
    assert_eq!(i64::try_from(later.isfinite().logical_not().sum(Kind::Int64)).unwrap(), 0);
}

#[test]
fn the_norm_of_dora_is_right_where_the_low_rank_part_is_large() {
    let _alone = generator();
    let float = (Kind::Float, Device::Cpu);
    tch::manual_seed(11);
    let weight = Tensor::randn([6, 40], float);
    let (map, mut parameters) = map(&Dora::new(4, 12.0, 0.0, Targets::AllLinear).unwrap(), weight.copy(), None);
    let (a, b) = (Tensor::randn([4, 40], float), Tensor::randn([6, 4], float) * 3.0);
    parameters.set("map.lora_A.weight", &a).unwrap();
    parameters.set("map.lora_B.weight", &b).unwrap();
    parameters.set("map.lora_magnitude_vector", &Tensor::ones([6], float)).unwrap();
    let merged = map.merged().unwrap().to_kind(Kind::Double);
    let lengths = merged.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Double).sqrt();
    assert_close(&lengths, &Tensor::ones([6], (Kind::Double, Device::Cpu)), 1e-6, "each row is as long as m says");
}

#[test]
fn a_random_model_depends_on_its_seeds_alone() {
    let variant = Variant::read("biases");
    let config = read_config(&variant.model_folder()).unwrap();
    let make = |weights, seed| {
        let method = Lora::new(2, 4.0, 0.0, Targets::AllLinear).unwrap();
        Model::random(&config, weights, &method, seed, Device::Cpu).unwrap()
    };
    let (one, same, other_adapter, other_weights) = (make(1, 2), make(1, 2), make(1, 3), make(4, 2));
    for (name, tensor) in one.frozen.iter() {
        assert!(tensor.equal(same.frozen.get(name).unwrap()), "{name}");
        assert!(tensor.equal(other_adapter.frozen.get(name).unwrap()), "{name}");
        let drawn = tensor.dim() == 2;
        assert_eq!(drawn, !tensor.equal(other_weights.frozen.get(name).unwrap()), "{name}");
        let (mean, deviation) = (tensor.mean(Kind::Float).double_value(&[]), tensor.std(false).double_value(&[]));
        match name {
            _ if drawn => {
                assert!(mean.abs() < 0.003 && (deviation - 0.02).abs() < 0.002, "{name}: {mean}, {deviation}")
            }
            _ if name.ends_with("bias") => assert_eq!((mean, deviation), (0.0, 0.0), "{name}"),
            _ => assert_eq!((mean, deviation), (1.0, 0.0), "{name}"),
        }
    }
    for (name, tensor) in one.trainable.iter() {
        assert!(tensor.equal(same.trainable.get(name).unwrap()), "{name}");
        assert!(tensor.equal(other_weights.trainable.get(name).unwrap()), "{name}");
        assert_eq!(name.contains("lora_A"), !tensor.equal(other_adapter.trainable.get(name).unwrap()), "{name}");
        if name.contains("lora_A") {
            let bound = (tensor.size2().unwrap().1 as f64).sqrt().recip();
            let largest = tensor.abs().max().double_value(&[]);
            assert!(largest <= bound && largest > 0.8 * bound, "{name}: {largest}, {bound}");
        }
    }
    let full = Model::random(&config, 1, &Full, 9, Device::Cpu).unwrap();
    let tokens = variant.tensor("tokens");
    let mask = variant.tensor("loss_mask");
    assert!(
        forward(&full, tokens, mask).0.equal(&forward(&one, tokens, mask).0),
        "a method leaves the base weights alone"
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let problem =
        |rank, alpha, dropout| Lora::new(rank, alpha, dropout, Targets::AllLinear).map(|_| ()).unwrap_err().to_string();
    assert_eq!(problem(0, 1.0, 0.0), "rank: is 0");
    assert_eq!(problem(1, 0.0, 0.0), "alpha: is 0");
    assert_eq!(problem(1, f64::NAN, 0.0), "alpha: is NaN");
    assert_eq!(problem(1, 1.0, 1.0), "dropout: is 1");
    let variant = Variant::read("biases");
    let none = Dora::new(1, 1.0, 0.0, Targets::Suffixes(vec!["query".into()])).unwrap();
    let error = Model::load(&variant.model_folder(), &none, 0, Device::Cpu).unwrap_err();
    assert_eq!(error.to_string(), "targets: no linear map is called `query`");
    assert!(error.hint().unwrap().contains("q_proj"), "{error:?}");
}
