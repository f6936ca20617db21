//! Encoders and encoder–decoders in bfloat16, and with activations that are computed again. Decoders have tests of their
//! own beside their golden values.

use learn::adapters::{Full, Lora, Method};
use learn::layers::{LayerNorm, Mode, Norm, OffsetRmsNorm, RmsNorm};
use learn::models::{Model, Network, Task, Texts, read_config};
use learn::numerics::{Memory, Numerics};
use learn::targets::Targets;
use learn::weights::Checkpoint;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::fixtures::{assert_close, generator, golden};

const CASES: [(&str, Task); 6] = [
    ("encoders/bert_classifier", Task::SequenceClassification { labels: 3 }),
    ("encoders/bert_answers", Task::QuestionAnswering),
    ("encoders/roberta_classifier", Task::SequenceClassification { labels: 4 }),
    ("encoders/roberta_answers", Task::QuestionAnswering),
    ("t5/v1_0", Task::LanguageModel),
    ("t5/v1_1", Task::LanguageModel),
];

fn load(name: &str, task: Task, method: &dyn Method, numerics: Numerics, dropout: f64) -> learn::Result<Model> {
    let folder = golden(name).join("model");
    let mut config = read_config(&folder).unwrap();
    for key in ["hidden_dropout_prob", "attention_probs_dropout_prob", "dropout_rate"] {
        config[key] = json!(dropout);
    }
    let mut weights = Checkpoint::open(&folder, Device::Cpu).unwrap();
    Model::build_for(task, &config, &mut weights, method, 7, numerics)
}

fn outputs(model: &Model, mode: Mode) -> Tensor {
    let rows: [(&[i32], &[i32]); 2] = [(&[3, 9, 7, 11, 5, 4, 8], &[]), (&[6, 10, 4], &[])];
    let texts = Texts::new(&rows, 1, Device::Cpu).unwrap();
    let written = Tensor::from_slice(&[0_i64, 5, 9, 4, 0, 7, 3, 3]).view([2, 4]);
    match &model.network {
        Network::SequenceClassifier(network) => network.scores(&texts, mode).unwrap(),
        Network::TokenClassifier(network) => network.scores(&texts, mode).unwrap(),
        Network::Seq2SeqLm(network) => {
            let encoded = network.encode(&texts, mode).unwrap();
            network.logits(&network.hidden(&encoded, &texts, &written, mode).unwrap(), mode).unwrap()
        }
        Network::CausalLm(_) => panic!("no decoder here"),
    }
}

/// T5 does not divide its scores by √width: on random weights its softmax is steep, and transformers is off by 0.05 too.
#[test]
fn bfloat16_is_float32_within_its_rounding() {
    for (name, task) in CASES {
        let run = |method: &dyn Method, kind| {
            let model = load(name, task, method, Numerics::all(kind, Device::Cpu), 0.0).unwrap();
            let found = outputs(&model, Mode::Eval);
            assert_eq!(found.kind(), kind, "{name}");
            found.to_kind(Kind::Float)
        };
        let lora = Lora::new(2, 4.0, 0.0, Targets::AllLinear).unwrap();
        for method in [&Full as &dyn Method, &lora] {
            let (exact, found) = (run(method, Kind::Float), run(method, Kind::BFloat16));
            let off = (found - &exact).norm().double_value(&[]) / exact.norm().double_value(&[]);
            assert!(off > 1e-5 && off < 0.15, "{name}, {}: off by {off:.1e}", method.name());
        }
    }
}

/// What a norm gives in bfloat16 is what it gives of the same numbers in float32, rounded once: half a unit in the last
/// place. Numbers far from zero on purpose: a mean that was rounded would move all of them.
#[test]
fn norms_of_bfloat16_round_once() {
    let _alone = generator();
    tch::manual_seed(5);
    let (bf16, float) = ((Kind::BFloat16, Device::Cpu), (Kind::Float, Device::Cpu));
    let x = (Tensor::randn([40, 96], float) * 0.7 + 3.0).to_kind(bf16.0);
    let weight = Tensor::empty([96], float).uniform_(0.5, 1.5).to_kind(bf16.0);
    let bias = (Tensor::randn([96], float) * 0.3).to_kind(bf16.0);
    let exact = |tensor: &Tensor| tensor.to_kind(Kind::Double);
    let squares = exact(&x).square().mean_dim([-1i64].as_slice(), true, Kind::Double);
    let root = |epsilon: f64| exact(&x) / (&squares + epsilon).sqrt();
    let centred = exact(&x) - exact(&x).mean_dim([-1i64].as_slice(), true, Kind::Double);
    let variance = centred.square().mean_dim([-1i64].as_slice(), true, Kind::Double);
    let cases = [
        (
            "layer norm",
            LayerNorm::new(weight.copy(), bias.copy(), 1e-5).forward(&x).unwrap(),
            centred / (variance + 1e-5).sqrt() * exact(&weight) + exact(&bias),
        ),
        ("norm", RmsNorm::new(weight.copy(), 1e-6).forward(&x).unwrap(), root(1e-6) * exact(&weight)),
        (
            "offset norm",
            OffsetRmsNorm::new(weight.copy(), 1e-6).forward(&x).unwrap(),
            root(1e-6) * (exact(&weight) + 1.0),
        ),
    ];
    for (what, found, expected) in cases {
        assert_eq!(found.kind(), bf16.0, "{what}");
        let same =
            found.eq_tensor(&expected.to_kind(bf16.0)).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!(same > 0.998, "{what}: {same} of the numbers are rounded once");
    }
}

#[test]
fn recomputed_activations_change_no_loss_and_no_gradient() {
    let _alone = generator();
    for (name, task) in CASES {
        let lora = Lora::new(2, 4.0, 0.3, Targets::AllLinear).unwrap();
        for method in [&Full as &dyn Method, &lora] {
            let pass = |memory: Memory| {
                let numerics = Numerics { memory, ..Numerics::from(Device::Cpu) };
                let model = load(name, task, method, numerics, 0.2).unwrap();
                for (_, tensor) in model.trainable.iter().filter(|(name, _)| name.ends_with("lora_B.weight")) {
                    let _ = tch::no_grad(|| tensor.shallow_clone().fill_(0.1));
                }
                model.activations.begin(9);
                let loss = outputs(&model, Mode::Train).square().sum(Kind::Float);
                loss.backward();
                model.activations.backward().unwrap();
                let gradients: Vec<Tensor> = model.trainable.iter().map(|(_, tensor)| tensor.grad()).collect();
                (loss.double_value(&[]), gradients)
            };
            let (loss, gradients) = pass(Memory::KeepActivations);
            let (same_loss, same_gradients) = pass(Memory::KeepInputs);
            assert_eq!(loss, same_loss, "{name}");
            let largest = gradients.iter().map(|tensor| tensor.abs().max().double_value(&[])).fold(0.0, f64::max);
            for (one, other) in gradients.iter().zip(&same_gradients) {
                // The gradient of a key's bias is zero but for rounding.
                if one.abs().max().double_value(&[]) > 1e-5 * largest {
                    assert_close(other, one, 2e-5, &format!("{name}, {}", method.name()));
                }
            }
        }
    }
}

#[test]
fn a_t5_in_fp16_is_refused() {
    let (name, task) = CASES[4];
    let error = load(name, task, &Full, Numerics::all(Kind::Half, Device::Cpu), 0.0).unwrap_err();
    assert!(error.to_string().contains("overflows fp16"), "{error}");
}
