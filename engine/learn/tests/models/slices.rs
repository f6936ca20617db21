//! Adapters on the slices of a Phi-3's fused maps, and on these maps as a whole, against PEFT on the same model taken apart:
//! outputs, gradients, 20 AdamW steps, and what is saved. The values are made by `tests/golden/slices.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use learn::adapters::first_values::Pissa;
use learn::adapters::{
    self, Biases, Combined, Dora, Frozen, Full, Ia3, LinearBottleneck, Lora, LoraFa, LowRank, Method, Scale, Vera,
    saved_method,
};
use learn::batches::LossRow;
use learn::by_name::{ByName, Several};
use learn::forecast::{self, Keeping, Micro, Outline};
use learn::generate::{Limits, greedy};
use learn::layers::{Activation, Cache, Mode};
use learn::models::{Model, Task, read_config};
use learn::objectives::{Examples, LanguageModel, Normalize};
use learn::optim::AdamW;
use learn::peft::Saved;
use learn::targets::{Role, Targets};
use learn::train::{Rule, Weights};
use learn::weights::{Checkpoint, SafetensorsFile};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, assert_close, difference, forward, generator, golden};

const STEPS_TOLERANCE: f64 = 1e-4;

const VARIANTS: [&str; 9] =
    ["lora_whole", "dora_whole", "lora", "lora_scales", "lora_fa", "dora", "dora_scales", "ia3", "pissa"];

fn base() -> PathBuf {
    golden("decoders/phi3")
}

fn tensors(path: &Path) -> HashMap<String, Tensor> {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn model(method: &dyn Method) -> Model {
    Model::load(&base().join("model"), method, 0, Device::Cpu).unwrap()
}

fn suffixes(names: &[&str]) -> Targets {
    Targets::Suffixes(names.iter().map(|name| (*name).to_owned()).collect())
}

fn low_rank(targets: Targets) -> LowRank {
    LowRank::new(3, 7.5, 0.0, targets).unwrap()
}

/// The same with ranks and alphas of single slices, so that those of one map have several scales.
fn scales(low_rank: LowRank) -> LowRank {
    let ranks = [("qkv_proj.q", 2), ("qkv_proj.v", 5)].map(|(name, rank)| (name.to_owned(), rank));
    let alphas = [("1.self_attn.qkv_proj.v".to_owned(), 4.0)];
    let ranks = ByName::new("rank_pattern", ranks, Several::Refused).unwrap();
    low_rank.with_patterns(ranks, ByName::new("alpha_pattern", alphas, Several::Refused).unwrap()).unwrap()
}

fn method(variant: &str) -> Box<dyn Method> {
    use Role::{AttentionK as K, AttentionO as O, AttentionQ as Q, AttentionV as V};
    let whole = || low_rank(suffixes(&["qkv_proj", "gate_up_proj", "down_proj"]));
    let of = |roles: &[Role]| low_rank(Targets::Roles(roles.to_vec()));
    match variant {
        "lora_whole" => Box::new(Lora::of(whole())),
        "dora_whole" => Box::new(Dora::of(whole()).unwrap()),
        "lora" => Box::new(Lora::of(of(&[Q, V, Role::MlpUp, Role::MlpDown]))),
        "lora_scales" => {
            let stabilized = LowRank { scale: Scale::RankStabilized, ..of(&[Q, K, V, Role::MlpGate]) };
            Box::new(Lora::of(scales(stabilized)))
        }
        "lora_fa" => Box::new(LoraFa::of(of(&[Q, V, Role::MlpGate]))),
        "dora" => Box::new(Dora::of(of(&[K, V, Role::MlpGate, O])).unwrap()),
        "dora_scales" => Box::new(Dora::of(scales(of(&[Q, V]))).unwrap()),
        "ia3" => Box::new(Ia3::new(Targets::Roles(vec![K, V, Role::MlpUp, Role::MlpDown]), None)),
        "pissa" => Box::new(Lora::of(LowRank { init: Box::new(Pissa), ..of(&[Q, V, Role::MlpUp]) })),
        other => panic!("no variant {other}"),
    }
}

fn is_of_slices(variant: &str) -> bool {
    !variant.ends_with("whole")
}

/// A variant's model where its golden values begin.
fn begun(variant: &str, method: &dyn Method) -> Model {
    let mut model = model(method);
    for (name, values) in tensors(&golden("slices").join(format!("{variant}.safetensors"))) {
        let Some(name) = name.strip_prefix("start.") else { continue };
        match model.trainable.get(name) {
            Some(_) => model.trainable.set(name, &values).unwrap(),
            None => model.frozen.get(name).unwrap_or_else(|| panic!("{name}")).shallow_clone().copy_(&values),
        }
    }
    model
}

fn scores(model: &Model) -> Tensor {
    let texts = tensors(&base().join("values.safetensors"));
    forward(model, &texts["tokens"], &texts["loss_mask"]).0.detach()
}

fn examples() -> LanguageModel {
    let texts = tensors(&base().join("values.safetensors"));
    let lengths = json(&base().join("values.json"))["lengths"].clone();
    let numbers = |name: &str, row: i64, length: usize| -> Vec<i64> {
        let all = Vec::<i64>::try_from(texts[name].get(row).to_kind(Kind::Int64)).unwrap();
        all.into_iter().take(length).collect()
    };
    let rows = lengths.as_array().unwrap().iter().zip(0..).map(|(length, row)| {
        let length = length.as_u64().unwrap() as usize;
        let ids: Vec<i32> = numbers("tokens", row, length).into_iter().map(|id| id as i32).collect();
        let marks = numbers("loss_mask", row, length).into_iter().map(|mark| mark == 1);
        LossRow::new(row.to_string(), &ids, marks).unwrap()
    });
    LanguageModel::new(rows.collect())
}

fn train(model: &Model) -> Vec<f64> {
    let values = json(&golden("slices/values.json"));
    let examples = examples();
    let all: Vec<usize> = (0..examples.len()).collect();
    let weight_decay = values["weight_decay"].as_f64().unwrap();
    let optimizer = AdamW { weight_decay, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let rule = Rule { micro: all.len(), normalize: Normalize::Tokens, dropout_seed: 0, clip: None, optimizer };
    let mut weights = Weights::new(model).unwrap();
    let rate = values["learning_rate"].as_f64().unwrap();
    let step = |_| weights.step(model, &examples, &all, &rule, rate).unwrap().loss.double_value(&[]);
    (0..values["steps"].as_u64().unwrap()).map(step).collect()
}

#[test]
fn outputs_gradients_and_twenty_steps() {
    let _alone = generator();
    let losses = json(&golden("slices/values.json"))["losses"].clone();
    for variant in VARIANTS {
        let expected = tensors(&golden("slices").join(format!("{variant}.safetensors")));
        let model = begun(variant, method(variant).as_ref());
        assert_close(&scores(&model), &expected["scores"], TOLERANCE, variant);
        let with = |start: &str| expected.keys().filter(|name| name.starts_with(start)).count();
        if variant != "pissa" {
            let examples = examples();
            let all: Vec<usize> = (0..examples.len()).collect();
            let weighed = Normalize::Tokens.weigh(&examples, &all, all.len());
            let _ = examples.backward(&model, &weighed).unwrap();
            for (name, tensor) in model.trainable.iter() {
                let gradient = &expected[&format!("gradient.{name}")];
                assert_close(&tensor.grad(), gradient, 2.0 * TOLERANCE, &format!("{variant}, gradient of {name}"));
                let _ = tensor.grad().zero_();
            }
            assert_eq!(model.trainable.len(), with("gradient."), "{variant}: tensors that train");
        }
        for (step, (found, expected)) in train(&model).iter().zip(losses[variant].as_array().unwrap()).enumerate() {
            let expected = expected.as_f64().unwrap();
            assert!((found / expected - 1.0).abs() < STEPS_TOLERANCE, "{variant}, step {step}: {found}, {expected}");
        }
        if variant != "pissa" {
            for (name, tensor) in model.trainable.iter() {
                // Where a gradient is near zero Adam moves by its sign: processors that round otherwise end 1.5e-4 apart.
                let last = &expected[&format!("final.{name}")];
                assert_close(&tensor.detach(), last, 3.0 * STEPS_TOLERANCE, &format!("{variant}: {name} at last"));
            }
            assert_eq!(model.trainable.len(), with("final."), "{variant}");
        }
    }
}

#[test]
fn fresh_adapters_begin_as_the_base_and_merged_ones_compute_the_same() {
    let _alone = generator();
    let plain = scores(&model(&Frozen));
    for variant in VARIANTS {
        let method = method(variant);
        let tolerance =
            if ["dora", "dora_scales", "dora_whole", "pissa"].contains(&variant) { TOLERANCE } else { 1e-6 };
        assert_close(&scores(&model(method.as_ref())), &plain, tolerance, &format!("{variant} begins as the base"));
        let model = begun(variant, method.as_ref());
        train(&model);
        let trained = scores(&model);
        assert!(difference(&trained, &plain) > 1e-2, "{variant}: nothing was learned");
        assert_close(&scores(&model.merged().unwrap()), &trained, TOLERANCE, &format!("{variant}, merged"));
    }
}

/// A slice of the frozen weight is no copy of it, and what no adapter is on is computed as one map.
#[test]
fn slices_lie_in_the_memory_of_their_map() {
    let _alone = generator();
    let (plain, adapted) = (model(&Frozen), model(method("lora").as_ref()));
    assert_eq!(plain.frozen.len(), adapted.frozen.len());
    assert_eq!(plain.frozen.elements(), adapted.frozen.elements());
    let names: Vec<&str> = adapted.slices().map(|place| place.name.rsplit_once("layers.").unwrap().1).take(5).collect();
    let of = |name: &str| format!("0.{name}");
    let expected = ["self_attn.qkv_proj.q", "self_attn.qkv_proj.k", "self_attn.qkv_proj.v"].map(of);
    assert_eq!(names[..3], expected);
    assert_eq!(names[3..], ["mlp.gate_up_proj.gate", "mlp.gate_up_proj.up"].map(of));
    assert!(adapted.places().all(|place| place.slice.is_none()));
    // What is written into the whole weight is seen by its slices.
    for model in [&plain, &adapted] {
        let weight = model.frozen.get("model.layers.1.self_attn.qkv_proj.weight").unwrap();
        let before = scores(model);
        let _ = tch::no_grad(|| weight.narrow(0, 32, 16).g_mul_scalar_(0.5));
        assert!(difference(&scores(model), &before) > 1e-3);
    }
    assert_close(&scores(&adapted), &scores(&plain), 1e-6, "the keys of both");
    let merged = adapted.map("model.layers.0.self_attn.qkv_proj").unwrap().merged().unwrap();
    assert!(merged.equal(plain.frozen.get("model.layers.0.self_attn.qkv_proj.weight").unwrap()), "B is zero");
}

/// All files of a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn what_is_saved_is_read_again_to_the_last_bit_and_is_one_adapter_of_the_whole_to_others() {
    let _alone = generator();
    for variant in VARIANTS {
        let made = method(variant);
        let trained = begun(variant, made.as_ref());
        train(&trained);
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        made.save(&Saved::of(&trained, Some("base")), one.path()).unwrap();
        let again = saved_method(one.path()).unwrap();
        assert_eq!(again.name(), made.name(), "{variant}");
        let mut loaded = model(again.as_ref());
        adapters::load(one.path(), &mut loaded.trainable).unwrap();
        let names = |model: &Model| model.trainable.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&trained), names(&loaded), "{variant}");
        if variant == "pissa" {
            assert_close(&scores(&loaded), &scores(&trained), TOLERANCE, variant);
        } else {
            assert!(scores(&loaded).equal(&scores(&trained)), "{variant}");
            for (name, tensor) in trained.trainable.iter() {
                assert!(tensor.equal(loaded.trainable.get(name).unwrap()), "{variant}: {name}");
            }
        }
        again.save(&Saved::of(&loaded, Some("base")), two.path()).unwrap();
        let (first, second) = (files(one.path()), files(two.path()));
        let listed = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(listed(&first), listed(&second), "{variant}");
        for ((name, one), (_, two)) in first.iter().zip(&second) {
            assert!(one == two, "{variant}: {name}");
        }
        // What was trained is trained on alike.
        if variant != "pissa" {
            let mut copied = begun(variant, made.as_ref());
            for (name, tensor) in trained.trainable.iter() {
                copied.trainable.set(name, &tensor.detach()).unwrap();
            }
            assert_eq!(train(&loaded), train(&copied), "{variant}");
        }

        // Other tools know nothing of slices, and read the files that PEFT has.
        let has = |name: &str| one.path().join(name).exists();
        assert_eq!(has("slices.json"), is_of_slices(variant), "{variant}");
        assert_eq!(has("slices.safetensors"), variant.ends_with("scales"), "{variant}");
        for ours in ["slices.json", "slices.safetensors", "learned.json"] {
            let _ = std::fs::remove_file(one.path().join(ours));
        }
        let whole = trained_again(one.path());
        assert_close(
            &scores(&whole),
            &scores(&trained_again(two.path())),
            TOLERANCE,
            &format!("{variant}, as PEFT has it"),
        );
        let is_slice = |name: &str| [".q.", ".k.", ".v.", ".gate.", ".up."].iter().any(|part| name.contains(part));
        assert!(!names(&whole).iter().any(|name| is_slice(name)), "{variant}");
    }
}

fn trained_again(folder: &Path) -> Model {
    let mut loaded = model(saved_method(folder).unwrap().as_ref());
    adapters::load(folder, &mut loaded.trainable).unwrap();
    loaded
}

#[test]
fn the_adapter_of_the_whole_has_the_slices_rows_and_a_scale_for_all() {
    let _alone = generator();
    let made = method("lora_scales");
    let model = begun("lora_scales", made.as_ref());
    let folder = tempfile::tempdir().unwrap();
    made.save(&Saved::of(&model, None), folder.path()).unwrap();
    let config = json(&folder.path().join("adapter_config.json"));
    assert_eq!(config["target_modules"], json!(["gate_up_proj", "qkv_proj"]));
    let number = |key: &str, name: &str| config[key][name].as_f64();
    let (first, second) = (r"model\.layers\.0\.self_attn\.qkv_proj", r"model\.layers\.1\.self_attn\.qkv_proj");
    assert_eq!(number("rank_pattern", "gate_up_proj"), Some(3.0));
    assert_eq!(number("alpha_pattern", "gate_up_proj"), Some(7.5));
    // 2, 3 and 5, with the scale of the queries, 7.5 / √2; of both layers alike, since the first slice decides.
    assert_eq!(number("rank_pattern", "qkv_proj"), Some(10.0), "{config}");
    assert!((number("alpha_pattern", "qkv_proj").unwrap() / 10f64.sqrt() - 7.5 / 2f64.sqrt()).abs() < 1e-12);
    assert_eq!((number("rank_pattern", first), number("rank_pattern", second)), (None, None));
    let file = SafetensorsFile::open(&folder.path().join("adapter_model.safetensors")).unwrap();
    let whole = |end: &str| {
        let key = format!("base_model.model.model.layers.1.self_attn.qkv_proj.{end}");
        file.tensor(&key, Device::Cpu, Kind::Float).unwrap()
    };
    let of = |slice: &str, end: &str| {
        model.trainable.get(&format!("model.layers.1.self_attn.qkv_proj.{slice}.{end}")).unwrap().detach()
    };
    let a = Tensor::cat(&["q", "k", "v"].map(|slice| of(slice, "lora_A.weight")), 0);
    assert!(whole("lora_A.weight").equal(&a));
    let b = whole("lora_B.weight");
    assert_eq!(b.size(), [64, 10]);
    let mut seen = Tensor::zeros([64, 10], (Kind::Float, Device::Cpu));
    for (slice, rows, columns, times) in [
        ("q", (0, 32), (0, 2), 1.0),
        ("k", (32, 16), (2, 3), (2f64 / 3.0).sqrt()),
        ("v", (48, 16), (5, 5), 4.0 / 5f64.sqrt() / (7.5 / 2f64.sqrt())),
    ] {
        let block = |whole: &Tensor| whole.narrow(0, rows.0, rows.1).narrow(1, columns.0, columns.1);
        assert_close(&block(&b), &(of(slice, "lora_B.weight") * times), 1e-6, slice);
        block(&seen).copy_(&block(&b));
    }
    seen -= &b;
    assert_eq!(seen.abs().max().double_value(&[]), 0.0, "zeros elsewhere");

    // Of DoRA, a row that is no slice's keeps its length.
    let made = method("dora_scales");
    let model = begun("dora_scales", made.as_ref());
    made.save(&Saved::of(&model, None), folder.path()).unwrap();
    let file = SafetensorsFile::open(&folder.path().join("adapter_model.safetensors")).unwrap();
    let key = "base_model.model.model.layers.0.self_attn.qkv_proj.lora_magnitude_vector";
    let magnitude = file.tensor(key, Device::Cpu, Kind::Float).unwrap();
    let weight = model.frozen.get("model.layers.0.self_attn.qkv_proj.weight").unwrap();
    let lengths = weight.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float).sqrt();
    assert!(magnitude.narrow(0, 32, 16).equal(&lengths.narrow(0, 32, 16)), "the keys");
    assert!(!magnitude.narrow(0, 0, 32).equal(&lengths.narrow(0, 0, 32)), "the queries");
}

/// Each new column behind a cache, and tokens chosen one by one, with adapted slices and with merged ones.
#[test]
fn a_cache_changes_nothing_with_adapted_slices() {
    let _alone = generator();
    for variant in ["lora", "dora", "lora_whole"] {
        let model = begun(variant, method(variant).as_ref());
        let network = model.network.causal_lm().unwrap();
        let tokens = tensors(&base().join("values.safetensors"))["tokens"].narrow(0, 0, 1);
        let whole = network.hidden(&tokens, Mode::Eval).unwrap();
        let mut cache = Cache::new(network.layers(), Device::Cpu);
        let prompt = network.hidden_next(&tokens.narrow(1, 0, 10), &mut cache).unwrap();
        assert_close(&prompt, &whole.narrow(1, 0, 10), TOLERANCE, variant);
        cache.prompts_end(&[10]).unwrap();
        for at in 10..tokens.size2().unwrap().1 {
            let next = network.hidden_next(&tokens.narrow(1, at, 1), &mut cache).unwrap();
            assert_close(&next, &whole.narrow(1, at, 1), TOLERANCE, &format!("{variant}, column {at}"));
        }
        let prompts = [vec![3, 9, 27], vec![5], vec![7, 8, 9, 10, 11, 12, 13, 14, 15]];
        let made = |model: &Model, batch| {
            let limits = Limits { end_ids: vec![], max_new_tokens: 12, batch };
            let texts = greedy(&model.network, &prompts, &limits, Device::Cpu, &mut |_| ()).unwrap();
            texts.into_iter().map(|text| text.tokens).collect::<Vec<_>>()
        };
        let alone = made(&model, 1);
        assert_eq!(made(&model, 3), alone, "{variant}");
        assert_eq!(made(&model.merged().unwrap(), 2), alone, "{variant}, merged");
    }
}

#[test]
fn what_slices_cannot_have_is_refused_with_the_reason() {
    let problem = |method: &dyn Method| {
        let error = Model::load(&base().join("model"), method, 0, Device::Cpu).unwrap_err();
        // A forecast refuses the same.
        let config = read_config(&base().join("model")).unwrap();
        let outline = Outline::new(Task::LanguageModel, &config, None, method, Device::Cpu.into()).unwrap_err();
        assert_eq!(outline.to_string(), error.to_string());
        format!("{error} / {}", error.hint().unwrap())
    };
    let q = || Targets::Roles(vec![Role::AttentionQ]);
    let lora = |targets: Targets| Box::new(Lora::of(low_rank(targets))) as Box<dyn Method>;
    let vera = problem(&Vera::new(4, 0.1, 0.0, 0, q()).unwrap());
    assert!(vera.starts_with("targets: mean `model.layers.0.self_attn.qkv_proj.q`, a slice of a fused map"), "{vera}");
    assert!(vera.ends_with("name the whole map: `{suffix: [qkv_proj]}`"), "{vera}");
    let series = LinearBottleneck::series(4, Activation::Relu, 1.0, 0.0, q()).unwrap();
    assert!(problem(&series).contains("the files of LLM-Adapters have a bottleneck for each module"));
    let both = Combined::new(vec![lora(q()), Box::new(Ia3::new(suffixes(&["qkv_proj"]), None))]).unwrap();
    assert!(
        problem(&both).starts_with(
            "targets: mean `model.layers.0.self_attn.qkv_proj` as a whole and its slice \
             `model.layers.0.self_attn.qkv_proj.q`, of the same weight"
        ),
        "{}",
        problem(&both)
    );
    let inputs = Ia3::new(q(), Some(Targets::Roles(vec![Role::AttentionQ])));
    assert!(problem(&inputs).contains("whose inputs are those of other slices, too"));
    let except = Targets::Except(Box::new(Targets::AllLinear), Box::new(q()));
    assert!(
        problem(lora(except).as_ref()).starts_with("exclude: means `model.layers.0.self_attn.qkv_proj.q`, a slice")
    );
    let unknown = problem(lora(suffixes(&["q_proj"])).as_ref());
    assert!(unknown.contains("by its role, `attention.q`; the model has: qkv_proj, o_proj, gate_up_proj"), "{unknown}");
    assert!(unknown.contains("by their roles: attention.q, attention.k, attention.v, mlp.gate, mlp.up)"), "{unknown}");
    let rank = ByName::new("rank_pattern", [("qkv_proj".to_owned(), 2)], Several::Refused).unwrap();
    let patterned = low_rank(q()).with_patterns(rank, ByName::none("alpha_pattern")).unwrap();
    assert!(problem(&Lora::of(patterned)).contains("no map that is adapted is called `qkv_proj`"));
}

/// Two methods may each have a slice of one map.
#[test]
fn methods_share_a_fused_map_by_slices() {
    let _alone = generator();
    let ia3 = Ia3::new(Targets::Roles(vec![Role::AttentionV]), None);
    let lora = Lora::of(low_rank(Targets::Roles(vec![Role::AttentionQ])));
    let both = Combined::new(vec![Box::new(lora), Box::new(ia3)]).unwrap();
    let both = model(&both);
    train(&both);
    assert_close(&scores(&both.merged().unwrap()), &scores(&both), TOLERANCE, "merged");
    assert_eq!(both.trainable.len(), 2 * 3);
}

#[test]
fn files_that_speak_of_other_slices_are_refused() {
    let _alone = generator();
    let made = method("lora");
    let trained = begun("lora", made.as_ref());
    let problem = |change: &dyn Fn(&mut Value)| {
        let folder = tempfile::tempdir().unwrap();
        made.save(&Saved::of(&trained, None), folder.path()).unwrap();
        crate::fixtures::change_json(&folder.path().join("slices.json"), |slices| change(slices));
        let load = || {
            let method = saved_method(folder.path())?;
            let mut model = Model::load(&base().join("model"), method.as_ref(), 0, Device::Cpu)?;
            adapters::load(folder.path(), &mut model.trainable)
        };
        load().unwrap_err().to_string()
    };
    let first = "model.layers.0.self_attn.qkv_proj";
    assert!(problem(&|slices| slices[first][0]["rows"]["first"] = json!(60)).contains("too small for `q`"));
    assert!(problem(&|slices| slices[first][0]["rows"]["first"] = json!(-1)).contains("too small for `q`"));
    assert!(problem(&|slices| slices[first][0]["rows"]["count"] = json!(31)).contains("the model's has"));
    assert!(problem(&|slices| slices[first][1]["low_rank"]["rank"] = json!(4)).contains("too small for `v`"));
    assert!(problem(&|slices| slices[first][1]["low_rank"]["rank"] = json!(0)).contains("not above zero"));
    assert!(problem(&|slices| slices[first][0]["name"] = json!("p")).contains("no fused map with the slice"));
    assert!(problem(&|slices| slices[first][0]["what"] = json!(1)).contains("does not say which rows slices are"));
}

#[test]
fn a_forecast_counts_what_is_made() {
    let folder = base().join("model");
    let config = read_config(&folder).unwrap();
    let biases = Lora::of(LowRank { biases: Biases::All, ..low_rank(Targets::Roles(vec![Role::AttentionK])) });
    let mut methods: Vec<Box<dyn Method>> = VARIANTS.map(method).into();
    methods.extend([Box::new(biases) as Box<dyn Method>, Box::new(Full), Box::new(Frozen)]);
    for method in methods {
        let outline = Outline::new(Task::LanguageModel, &config, Some(&folder), method.as_ref(), Device::Cpu.into());
        let (outline, model) = (outline.unwrap(), model(method.as_ref()));
        let made = (model.trainable.elements() as u64, model.frozen.elements() as u64);
        assert_eq!((outline.trainable, outline.frozen), made, "{method:?}");
        let micro = Micro { rows: 2, length: 8, answer: 0, targets: 2 };
        assert!(forecast::memory(&outline, &[micro], Keeping::default()).unwrap().peak() > 0, "{method:?}");
    }
}

#[test]
fn configurations_are_read_as_transformers_reads_them() {
    let build = |name: &str, change: &dyn Fn(&mut Value)| {
        let folder = golden("decoders").join(name).join("model");
        let mut config = read_config(&folder).unwrap();
        change(&mut config);
        Model::build(&config, &mut Checkpoint::open(&folder, Device::Cpu).unwrap(), &Frozen, 0, Device::Cpu)
    };
    let outputs =
        |model: &Model| model.network.outputs(&Tensor::arange(24, (Kind::Int64, Device::Cpu)).view([2, 12])).unwrap();
    let partial = outputs(&build("phi3_partial", &|_| ()).unwrap());
    // As the files of 2024 have it.
    let older = |config: &mut Value| {
        let _ = config.as_object_mut().unwrap().remove("rope_parameters");
        config["rope_theta"] = json!(2000.0);
        config["rope_scaling"] = json!(null);
        config["partial_rotary_factor"] = json!(0.5);
    };
    assert!(outputs(&build("phi3_partial", &older).unwrap()).equal(&partial));
    let whole = build("phi3_partial", &|config| config["rope_parameters"]["partial_rotary_factor"] = json!(1.0));
    assert!(difference(&outputs(&whole.unwrap()), &partial) > 1e-3);
    let refused = |change: &dyn Fn(&mut Value)| {
        let error = build("phi3", change).unwrap_err();
        format!("{error} / {}", error.hint().unwrap())
    };
    for (kind, key) in [("longrope", "rope_type"), ("su", "type"), ("yarn", "type")] {
        let found = refused(&|config| {
            let _ = config.as_object_mut().unwrap().remove("rope_parameters");
            config["rope_scaling"] = json!({key: kind, "long_factor": [1.0], "short_factor": [1.0]});
        });
        assert!(
            found.starts_with(&format!("config.json: rope_scaling.rope_type: `{kind}` scaling has other")),
            "{found}"
        );
        assert!(found.contains("not supported / take a checkpoint whose rope_scaling is null"), "{found}");
    }
    let linear = refused(&|config| config["rope_parameters"]["rope_type"] = json!("linear"));
    assert!(linear.contains("the scaling `linear` is not known of this family"), "{linear}");
    let odd = refused(&|config| config["rope_parameters"]["partial_rotary_factor"] = json!(0.4));
    assert!(odd.contains("is 0.4: it would turn 3 of the 8 numbers of a head"), "{odd}");
    assert!(refused(&|config| config["resid_pdrop"] = json!(0.1)).contains("dropout between layers is not known"));
    assert!(refused(&|config| config["hidden_act"] = json!("gelu")).contains("a Phi-3's is `silu`"));
    assert!(refused(&|config| config["sliding_window"] = json!(0)).contains("sliding_window"));
}
