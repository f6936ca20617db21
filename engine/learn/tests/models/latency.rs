//! The pass whose time is measured: it gives the scores that evaluation asks for, of every kind of network, and batches are
//! made of the first rows.

use learn::adapters::Frozen;
use learn::evaluate::{Forward, Passes, class_scores, latency, token_scores};
use learn::generate::{Reader, Writer};
use learn::models::{Model, Task};
use learn::objectives::TextRow;
use learn::observer::Unobserved;
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, Variant, assert_close, golden};

fn row(id: &str, ids: &[i32]) -> TextRow {
    TextRow { id: id.to_owned(), ids: ids.to_vec(), types: Vec::new() }
}

fn rows() -> Vec<TextRow> {
    vec![row("a", &[5, 9, 7]), row("b", &[11, 4, 8, 6, 10]), row("c", &[3])]
}

fn prompts(rows: &[TextRow]) -> Vec<Vec<i64>> {
    rows.iter().map(|row| row.ids.iter().map(|&id| i64::from(id)).collect()).collect()
}

/// The scores with which generation begins.
fn beginning(model: &Model, rows: &[TextRow]) -> Tensor {
    let prompts = prompts(rows);
    let prompts: Vec<&[i64]> = prompts.iter().map(Vec::as_slice).collect();
    let _guard = tch::no_grad_guard();
    Reader::new(&model.network, Device::Cpu).begin(&prompts).unwrap().1
}

fn forward(model: &Model, rows: &[TextRow]) -> Tensor {
    Forward::new(model, &rows.iter().collect::<Vec<_>>(), 0).unwrap().scores().unwrap()
}

#[test]
fn a_decoders_pass_gives_the_scores_of_each_prompts_next_token() {
    for name in ["tied_multi_head", "biases"] {
        let variant = Variant::read(name);
        for model in [variant.model(&Frozen), variant.adapted("lora"), variant.adapted("dora")] {
            let scores = forward(&model, &rows());
            assert!(!scores.requires_grad());
            assert_close(&scores, &beginning(&model, &rows()), TOLERANCE, name);
        }
    }
}

#[test]
fn an_encoder_decoders_pass_gives_the_scores_of_each_answers_first_token() {
    for name in ["v1_0", "v1_1"] {
        let model = Model::load(&golden("t5").join(name).join("model"), &Frozen, 0, Device::Cpu).unwrap();
        assert_close(&forward(&model, &rows()).squeeze_dim(1), &beginning(&model, &rows()), TOLERANCE, name);
    }
}

#[test]
fn an_encoders_pass_gives_its_heads_scores() {
    let config = serde_json::json!({
        "model_type": "bert", "vocab_size": 14, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 16, "type_vocab_size": 2, "initializer_range": 0.4,
    });
    let made = |task| Model::random_for(task, &config, 1, &learn::adapters::Full, 2, Device::Cpu).unwrap();
    let rows = rows();
    let texts: Vec<Option<&TextRow>> = rows.iter().map(Some).collect();

    let model = made(Task::SequenceClassification { labels: 3 });
    let expected: Vec<f64> =
        class_scores(&model, &texts, 1, 0, &mut Unobserved).unwrap().into_iter().flatten().flatten().collect();
    let expected = Tensor::from_slice(&expected).view([3, 3]);
    assert_close(&forward(&model, &rows).to_kind(Kind::Double), &expected, TOLERANCE, "classes");

    let model = made(Task::QuestionAnswering);
    let expected = token_scores(&model, &texts, 1, 0, &mut Unobserved).unwrap();
    let scores = forward(&model, &rows);
    assert_eq!(scores.size(), [3, 5, 2]);
    for (at, of_row) in (0..).zip(expected) {
        let expected = Tensor::from_slice(&of_row.unwrap()).view([-1, 2]);
        let own = scores.get(at).narrow(0, 0, expected.size()[0]).to_kind(Kind::Double);
        assert_close(&own, &expected, TOLERANCE, "places");
    }
}

#[test]
fn each_size_is_measured_over_the_first_rows_which_come_again() {
    let variant = Variant::read("tied_multi_head");
    let model = variant.model(&Frozen);
    let passes = Passes { warmup: 1, iterations: 5 };
    let found = latency(&model, &rows(), &[4, 1, 2], passes, 0, &mut Unobserved).unwrap();
    let shapes: Vec<(u64, u64, u64)> = found.iter().map(|batch| (batch.size, batch.length, batch.tokens)).collect();
    assert_eq!(shapes, [(4, 5, 12), (1, 3, 3), (2, 5, 8)]);
    for batch in found {
        assert!(batch.median_seconds > 0.0 && batch.median_seconds <= batch.p95_seconds, "{batch:?}");
        assert!(batch.p95_seconds < 5.0, "{batch:?}");
    }
}
