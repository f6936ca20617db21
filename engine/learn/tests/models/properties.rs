//! What holds of every method, whatever its sizes: it begins as the base model where it says so, merged weights compute what
//! it computes, and what is saved is read again to the last bit. A new method is a line of [`METHODS`]. Cases are drawn from a
//! seed: ranks of one, odd ones and ones above the sides of the weights, alphas, rows of zeros, numbers of 16 bits.

use std::collections::BTreeMap;
use std::path::Path;

use learn::adapters::first_values::{
    Base, FirstValues, Gaussian, Kaiming, Olora, Orthogonal, Pissa, ScaledRandom, SingularValues, Svd,
};
use learn::adapters::{
    self, Biases, BitFit, Bottleneck, Combined, Dora, First, Frozen, Full, Gradient, Ia3, LinearBottleneck, Lora,
    LoraFa, LowRank, Method, Norms, Prefix, Prompt, Scale, Size, Start, Style, Vera, saved_method,
};
use learn::layers::Activation;
use learn::models::{Model, Task};
use learn::numerics::Numerics;
use learn::optim::{Orthogonality, Side};
use learn::peft::Saved;
use learn::sublayers;
use learn::targets::{Role, Targets};
use learn::weights::{Fresh, InMemory, Init, Random};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, difference, generator};

/// How many cases of each method.
const CASES: u64 = 12;

/// What a method computes before its first step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Begins {
    /// What the base computes, to the last bit.
    Exactly,
    /// The same in float32. In 16 bits the base rounds what trains here in float32.
    ExactlyInFloat32,
    /// The same but for rounding.
    Nearly,
    /// The same but for rounding in float32. In 16 bits the residual is rounded, which is many times what it is taken from.
    NearlyInFloat32,
    /// Something else, or it is not said.
    Elsewhere,
}
use Begins::{Elsewhere, Exactly, ExactlyInFloat32, Nearly, NearlyInFloat32};

/// The sizes of a case.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// From 1 on, also more than any weight has rows.
    rank: i64,
    /// The same, but no more than the smallest side of a weight.
    small: i64,
    alpha: f64,
}

impl Sizes {
    fn low_rank(self, init: impl FirstValues + 'static) -> LowRank {
        LowRank { init: Box::new(init), ..LowRank::new(self.rank, self.alpha, 0.1, Targets::AllLinear).unwrap() }
    }

    /// Of singular vectors there are only so many.
    fn small_rank(self, init: impl FirstValues + 'static) -> LowRank {
        Self { rank: self.small, ..self }.low_rank(init)
    }

    fn bottleneck(self, style: Style, first: First) -> Box<dyn Method> {
        let norms = Norms { before: style == Style::Pfeiffer, after: style == Style::Houlsby };
        Box::new(Bottleneck {
            style,
            size: Size::Units(self.rank),
            activation: Activation::GeluTanh,
            scale: self.alpha,
            dropout: 0.1,
            norms,
            first,
            sublayers: vec![sublayers::Role::Attention, sublayers::Role::Mlp],
            leave_out: vec![1],
            output_head: false,
        })
    }
}

fn svd(base: Base) -> Svd {
    Svd { singular_values: SingularValues::Sqrt, base }
}

/// Of a family with fused maps these are slices of them, whose products are not rounded as those of the whole map are.
fn slices() -> Targets {
    Targets::Roles(vec![Role::AttentionQ, Role::AttentionV, Role::MlpUp])
}

type Make = fn(Sizes) -> Box<dyn Method>;

const METHODS: &[(&str, Begins, Make)] = &[
    ("full", ExactlyInFloat32, |_| Box::new(Full)),
    ("bitfit", ExactlyInFloat32, |_| Box::new(BitFit)),
    ("lora", Exactly, |sizes| Box::new(Lora::of(sizes.low_rank(Kaiming)))),
    ("lora_gaussian", ExactlyInFloat32, |sizes| {
        let low_rank = LowRank { scale: Scale::RankStabilized, biases: Biases::All, ..sizes.low_rank(Gaussian) };
        Box::new(Lora::of(low_rank).with_learning_rate_ratio(3.0).unwrap())
    }),
    ("lora_orthogonal", Nearly, |sizes| {
        Box::new(Lora::of(Sizes { rank: 2 * sizes.rank, ..sizes }.low_rank(Orthogonal)))
    }),
    ("lora_penalty", Exactly, |sizes| {
        Box::new(Lora::of(sizes.low_rank(Kaiming)).with_penalty(Orthogonality { side: Side::Rows, weight: 0.1 }))
    }),
    ("pissa", NearlyInFloat32, |sizes| Box::new(Lora::of(sizes.small_rank(Pissa)))),
    ("olora", NearlyInFloat32, |sizes| Box::new(Lora::of(sizes.small_rank(Olora)))),
    ("dora", Nearly, |sizes| Box::new(Dora::of(sizes.low_rank(Kaiming)).unwrap())),
    ("dora_frozen_a", Nearly, |sizes| Box::new(Dora::of(sizes.low_rank(Gaussian)).unwrap().with_frozen_a())),
    ("lora_fa", ExactlyInFloat32, |sizes| {
        Box::new(LoraFa::of(LowRank { biases: Biases::Adapted, ..sizes.low_rank(Kaiming) }))
    }),
    ("lora_fa_projected", Exactly, |sizes| {
        Box::new(LoraFa::of(sizes.small_rank(svd(Base::Untouched))).with_gradient(Gradient::Projected))
    }),
    ("lora_fa_residual", NearlyInFloat32, |sizes| Box::new(LoraFa::of(sizes.small_rank(svd(Base::Residual))))),
    ("lora_fa_control", Exactly, |sizes| {
        let penalty = Orthogonality { side: Side::Columns, weight: 0.1 };
        let control = ScaledRandom { singular_values: SingularValues::All };
        Box::new(LoraFa::of(sizes.small_rank(control)).with_penalty(penalty).unwrap())
    }),
    ("slices_lora", Nearly, |sizes| Box::new(Lora::of(LowRank { targets: slices(), ..sizes.low_rank(Kaiming) }))),
    ("slices_lora_fa", Nearly, |sizes| {
        Box::new(LoraFa::of(LowRank { targets: slices(), ..sizes.small_rank(svd(Base::Untouched)) }))
    }),
    ("slices_pissa", NearlyInFloat32, |sizes| {
        Box::new(Lora::of(LowRank { targets: slices(), ..sizes.small_rank(Pissa) }))
    }),
    ("slices_dora", Nearly, |sizes| {
        Box::new(Dora::of(LowRank { targets: slices(), ..sizes.low_rank(Kaiming) }).unwrap())
    }),
    ("slices_ia3", Nearly, |_| Box::new(Ia3::new(slices(), None))),
    ("ia3", Exactly, |_| Box::new(Ia3::new(Targets::AllLinear, None))),
    ("vera", Exactly, |sizes| Box::new(Vera::new(sizes.rank, 0.1, 0.1, 5, Targets::AllLinear).unwrap())),
    ("houlsby", Elsewhere, |sizes| sizes.bottleneck(Style::Houlsby, First::Houlsby)),
    ("pfeiffer", Elsewhere, |sizes| sizes.bottleneck(Style::Pfeiffer, First::Bert)),
    ("parallel", Exactly, |sizes| sizes.bottleneck(Style::Parallel, First::Zero)),
    ("series_linear", Elsewhere, |sizes| {
        let targets = Targets::Roles(vec![Role::MlpUp, Role::MlpDown]);
        Box::new(LinearBottleneck::series(sizes.rank, Activation::Tanh, sizes.alpha, 0.1, targets).unwrap())
    }),
    ("parallel_linear", Elsewhere, |sizes| {
        Box::new(LinearBottleneck::parallel(sizes.rank, Activation::Relu, 1.0, 0.1, Targets::AllLinear).unwrap())
    }),
    ("prompt", Elsewhere, |sizes| Box::new(Prompt::new(sizes.rank, Start::Vocabulary).unwrap())),
    ("prefix", Elsewhere, |sizes| Box::new(Prefix::new(sizes.rank, None).unwrap())),
    ("prefix_projected", Elsewhere, |sizes| Box::new(Prefix::new(sizes.rank, Some(5)).unwrap())),
    ("lora_and_prompt", Elsewhere, |sizes| {
        let parts: Vec<Box<dyn Method>> = vec![
            Box::new(LoraFa::of(sizes.low_rank(Kaiming))),
            Box::new(Prompt::new(sizes.rank, Start::Random).unwrap()),
        ];
        Box::new(Combined::new(parts).unwrap())
    }),
];

/// Whole numbers that a seed decides.
struct Draws(u64);

impl Draws {
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        // Knuth's multiplier, the upper bits.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        choices[(self.0 >> 33) as usize % choices.len()]
    }
}

/// A model of random weights, with rows of zeros.
struct Plain {
    config: Value,
    task: Task,
    tensors: Vec<(String, Tensor)>,
    numerics: Numerics,
}

impl Plain {
    fn drawn(draws: &mut Draws, kind: Kind) -> Self {
        let (heads, width) = (draws.of(&[1, 2, 3]), draws.of(&[4, 6]));
        let (hidden, inner) = (heads * width, draws.of(&[5, 9, 16, 33]));
        let common = json!({
            "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 2, "num_attention_heads": heads,
            "vocab_size": 23, "initializer_range": 0.3, "max_position_embeddings": 128,
        });
        let (task, more) = draws.of(&[
            (
                Task::LanguageModel,
                r#"{"model_type": "llama", "num_key_value_heads": 1, "tie_word_embeddings": true,
                "rms_norm_eps": 1e-5, "attention_bias": true}"#,
            ),
            (
                Task::LanguageModel,
                r#"{"model_type": "phi3", "num_key_value_heads": 1, "tie_word_embeddings": false, "pad_token_id": 0}"#,
            ),
            (
                Task::SequenceClassification { labels: 3 },
                r#"{"model_type": "bert", "type_vocab_size": 2,
                "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0}"#,
            ),
        ]);
        let mut config = common;
        config.as_object_mut().unwrap().extend(serde_json::from_str::<serde_json::Map<_, _>>(more).unwrap());
        let seed = draws.of(&[1, 2, 3, 4, 5]);
        let (config, tensors) =
            Model::random_for(task, &config, seed, &Frozen, seed, Device::Cpu).unwrap().merged_tensors().unwrap();
        let noise = Random::new(seed, Device::Cpu);
        let moved = |(name, tensor): (String, Tensor)| {
            let shaken = &tensor + noise.draw(&name, &tensor.size(), Init::Normal(0.05)).unwrap();
            if shaken.dim() == 2 && name.contains("layer") {
                let _ = shaken.get(1).zero_();
            }
            (name, shaken.to_kind(kind).to_kind(Kind::Float))
        };
        let tensors = tensors.into_iter().map(moved).collect();
        Self { config, task, tensors, numerics: Numerics::all(kind, Device::Cpu) }
    }

    fn with(&self, method: &dyn Method) -> Model {
        let shared = self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.copy()));
        Model::build_for(self.task, &self.config, &mut InMemory::new(shared), method, 3, self.numerics).unwrap()
    }

    /// The smallest side of a weight of a linear map.
    fn smallest(&self) -> i64 {
        let size = |key: &str| self.config[key].as_i64().unwrap();
        let width = size("hidden_size") / size("num_attention_heads");
        size("intermediate_size").min(if self.config["model_type"] == "bert" { size("hidden_size") } else { width })
    }

    fn outputs(&self, model: &Model) -> Tensor {
        let tokens = Tensor::from_slice(&(0..14i64).map(|at| (at * 7 + 3) % 23).collect::<Vec<_>>()).view([2, 7]);
        let outputs = model.network.outputs(&tokens).unwrap().to_kind(Kind::Float);
        assert!(bool::try_from(outputs.isfinite().all()).unwrap(), "numbers that are none");
        outputs
    }
}

/// Moves what trains away from its first values.
fn shake(model: &mut Model) {
    let noise = Random::new(9, Device::Cpu);
    let moved = |(name, tensor): (&str, &Tensor)| {
        (name.to_owned(), tensor.detach() * 0.9 + noise.draw(name, &tensor.size(), Init::Normal(0.1)).unwrap())
    };
    let moved: Vec<_> = model.trainable.iter().map(moved).collect();
    for (name, values) in moved {
        model.trainable.set(&name, &values).unwrap();
    }
}

/// All files of a folder by their paths in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => {
                found.extend(files(&entry.path()).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)))
            }
            false => {
                found.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// Calls `check` with cases of every method.
fn each(check: impl Fn(&str, Begins, &dyn Method, &Plain, f64, &str)) {
    let _alone = generator();
    for (index, (name, begins, make)) in METHODS.iter().enumerate() {
        let mut draws = Draws(index as u64);
        for case in 0..CASES {
            let kind = if case % 3 == 2 { Kind::BFloat16 } else { Kind::Float };
            let plain = Plain::drawn(&mut draws, kind);
            // It has no biases, and files of LLM-Adapters no place for slices.
            if ["bitfit", "series_linear"].contains(name) && plain.config["model_type"] == "phi3" {
                continue;
            }
            let rank = draws.of(&[1, 3, 5, 8, 40]);
            let sizes = Sizes { rank, small: rank.min(plain.smallest()), alpha: draws.of(&[0.5, 3.0, 7.5]) };
            let what = format!("{name}, case {case}: {sizes:?}, {kind:?}, {}", plain.config);
            let tolerance = if kind == Kind::Float { TOLERANCE } else { 0.15 };
            check(name, *begins, make(sizes).as_ref(), &plain, tolerance, &what);
        }
    }
}

#[test]
fn a_method_begins_as_the_base_where_it_says_so() {
    each(|_, begins, method, plain, tolerance, what| {
        let (base, found) = (plain.outputs(&plain.with(&Frozen)), plain.outputs(&plain.with(method)));
        match begins {
            ExactlyInFloat32 | NearlyInFloat32 if plain.numerics.base != Kind::Float => {}
            Exactly | ExactlyInFloat32 => {
                assert!(found.equal(&base), "{what}: off by {:.1e}", difference(&found, &base))
            }
            Nearly | NearlyInFloat32 => {
                assert!(difference(&found, &base) <= tolerance, "{what}: {:.1e}", difference(&found, &base))
            }
            Elsewhere => {}
        }
    });
}

#[test]
fn merged_weights_compute_what_the_method_computes() {
    each(|name, begins, method, plain, tolerance, what| {
        if begins == NearlyInFloat32 && plain.numerics.base != Kind::Float {
            return;
        }
        let mut model = plain.with(method);
        let before = plain.outputs(&model);
        shake(&mut model);
        let expected = plain.outputs(&model);
        assert!(difference(&expected, &before) > 1e-3, "{what}: nothing has moved");
        match model.merges() {
            true => {
                let off = difference(&plain.outputs(&model.merged().unwrap()), &expected);
                assert!(off <= tolerance, "{what}: off by {off:.1e}");
            }
            false => assert!(model.merged().is_err(), "{name}"),
        }
    });
}

#[test]
fn what_is_saved_is_read_again_to_the_last_bit() {
    each(|name, begins, method, plain, tolerance, what| {
        let mut model = plain.with(method);
        shake(&mut model);
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        method.save(&Saved::of(&model, Some("base")), one.path()).unwrap();
        if !adapters::is_adapter(one.path()) {
            assert_eq!(name, "full");
            return;
        }
        let again = saved_method(one.path()).unwrap();
        let mut loaded = plain.with(again.as_ref());
        adapters::load(one.path(), &mut loaded.trainable).unwrap();
        let (found, expected) = (plain.outputs(&loaded), plain.outputs(&model));
        // What was taken out of the base is saved as a change of the whole one.
        match begins {
            NearlyInFloat32 if plain.numerics.base != Kind::Float => {}
            NearlyInFloat32 => assert!(difference(&found, &expected) <= tolerance, "{what}: {found} and {expected}"),
            _ => assert!(found.equal(&expected), "{what}: off by {:.1e}", difference(&found, &expected)),
        }
        again.save(&Saved::of(&loaded, Some("base")), two.path()).unwrap();
        let (first, second) = (files(one.path()), files(two.path()));
        assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>(), "{what}");
        for (name, bytes) in &first {
            assert!(second.get(name) == Some(bytes), "{what}: {name}");
        }
        // A method that is trained on trains what it trained.
        if name != "prefix_projected" {
            let names = |model: &Model| model.trainable.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
            assert_eq!(names(&model), names(&loaded), "{what}");
        }
    });
}
