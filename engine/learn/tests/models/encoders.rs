//! BERT and RoBERTa with their heads against transformers and PEFT: hidden states, scores, losses, one step's gradients.
//! The values are made by `tests/golden/encoders.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use learn::adapters::{self, Frozen, Full, Lora, Method, saved_method};
use learn::layers::Mode;
use learn::models::bert::Config;
use learn::models::{Builder, Model, Task, Texts, bert, read_config, roberta};
use learn::numerics::Numerics;
use learn::objectives::{
    Classify, Examples, Labelled, Normalize, Regress, Span, TextExamples, TextObjective, TextRow, span_scores,
};
use learn::parameters::Parameters;
use learn::peft::Saved;
use learn::targets::{Role, Targets};
use learn::weights::{Checkpoint, Random, SafetensorsFile, WithoutPrefix, write_tensors};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, assert_close, change_json, copy_folder, distance, golden};

struct Golden {
    folder: PathBuf,
    values: Value,
    tensors: HashMap<String, Tensor>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let folder = golden("encoders").join(name);
        let values = serde_json::from_slice(&std::fs::read(folder.join("values.json")).unwrap()).unwrap();
        let tensors = Tensor::read_safetensors(folder.join("values.safetensors")).unwrap().into_iter().collect();
        Self { folder, values, tensors }
    }

    fn model(&self, task: Task, method: &dyn Method) -> Model {
        Model::load_for(task, &self.folder.join("model"), method, 3, Device::Cpu).unwrap()
    }

    fn adapted(&self, task: Task) -> Model {
        let folder = self.folder.join("lora");
        let mut model = self.model(task, saved_method(&folder).unwrap().as_ref());
        adapters::load(&folder, &mut model.trainable).unwrap();
        model
    }

    fn rows(&self) -> Vec<TextRow> {
        let numbers = |name: &str, row: i64| Vec::<i64>::try_from(self.tensors[name].get(row)).unwrap();
        let cut = |values: Vec<i64>, length: usize| values.into_iter().take(length).map(|value| value as i32).collect();
        let lengths = self.values["lengths"].as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize);
        lengths
            .zip(0..)
            .map(|(length, row)| TextRow {
                id: format!("{row}"),
                ids: cut(numbers("ids", row), length),
                types: cut(numbers("types", row), length),
            })
            .collect()
    }

    fn texts(&self, padding: i64) -> Texts {
        let rows = self.rows();
        let rows: Vec<(&[i32], &[i32])> = rows.iter().map(|row| (row.ids.as_slice(), row.types.as_slice())).collect();
        Texts::new(&rows, padding, Device::Cpu).unwrap()
    }

    fn labels<T>(&self, of: impl Fn(&Value) -> T) -> Vec<T> {
        self.values["labels"].as_array().unwrap().iter().map(of).collect()
    }

    /// Loss and gradients of an objective are the golden ones, in one micro-batch and row by row.
    fn learn<O: TextObjective>(&self, model: &Model, method: &str, targets: Vec<O::Target>) {
        let examples = self.examples::<O>(model, targets);
        let all: Vec<usize> = (0..examples.len()).collect();
        let weighed = Normalize::Tokens.weigh(&examples, &all, all.len());
        let expected = self.values["loss"][method].as_f64().unwrap();
        for micro in [all.len(), 1] {
            let loss: f64 =
                weighed.chunks(micro).map(|part| examples.backward(model, part).unwrap().double_value(&[])).sum();
            assert!((loss - expected).abs() < TOLERANCE * expected, "{loss} and {expected}");
            self.check_gradients(&model.trainable, method);
        }
        let loss = examples.loss(model, &weighed).unwrap().double_value(&[]);
        assert!((loss - expected).abs() < TOLERANCE * expected, "in evaluation {loss}, {expected}");
    }

    fn examples<O: TextObjective>(&self, model: &Model, targets: Vec<O::Target>) -> TextExamples<O> {
        let rows = self.rows().into_iter().zip(targets).map(|(text, target)| Labelled { text, target }).collect();
        TextExamples::new(rows, model.config["pad_token_id"].as_i64().unwrap())
    }

    /// The loss of all rows; their gradients are then the model's.
    fn backward<O: TextObjective>(&self, model: &Model, targets: Vec<O::Target>) -> f64 {
        let examples = self.examples::<O>(model, targets);
        let all: Vec<usize> = (0..examples.len()).collect();
        let weighed = Normalize::Tokens.weigh(&examples, &all, all.len());
        examples.backward(model, &weighed).unwrap().double_value(&[])
    }

    /// Hidden states without those of padding.
    fn hidden(&self, numerics: Numerics) -> Tensor {
        let folder = self.folder.join("model");
        let json = read_config(&folder).unwrap();
        let config = Config::read(&json).unwrap();
        let mut weights = Checkpoint::open(&folder, Device::Cpu).unwrap();
        let bare = !weights.any_begins("bert.") && !weights.any_begins("roberta.");
        let mut stripped;
        let source: &mut dyn learn::weights::Source = if bare {
            stripped = WithoutPrefix::new(&mut weights, "bert.");
            &mut stripped
        } else {
            &mut weights
        };
        let fresh = Random::new(0, Device::Cpu);
        let mut builder = Builder::new(source, &Frozen, &fresh, numerics);
        let hidden = if json["model_type"] == "bert" {
            let texts = self.texts(0);
            let encoder = bert::encoder(&config, &mut builder).unwrap();
            encoder.hidden(&texts, &encoder.from_zero(&texts).unwrap(), Mode::Eval).unwrap()
        } else {
            roberta::Roberta::new(&config, &mut builder).unwrap().hidden(&self.texts(1), Mode::Eval).unwrap()
        };
        hidden * self.tensors["mask"].unsqueeze(-1)
    }

    fn check_gradients(&self, trainable: &Parameters, method: &str) {
        let prefix = format!("{method}.gradient.");
        let expected = self.tensors.keys().filter(|name| name.starts_with(&prefix)).count();
        let mut compared = 0;
        let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
        let scale = trainable.iter().map(|(_, tensor)| largest(&tensor.grad())).fold(0.0, f64::max);
        for (name, tensor) in trainable.iter() {
            let Some(golden) = self.tensors.get(&format!("{prefix}{name}")) else { continue };
            // The gradient of a key's bias is zero but for rounding.
            let off = largest(&(tensor.grad() - golden));
            assert!(off <= TOLERANCE * largest(golden).max(0.1 * scale), "gradient of {name}: off by {off:.1e}");
            let _ = tensor.grad().zero_();
            compared += 1;
        }
        assert_eq!(compared, expected, "{method}: tensors with a gradient");
        assert_eq!(compared, trainable.len(), "{method}: tensors that train");
    }
}

fn classify(labels: i64) -> Task {
    Task::SequenceClassification { labels }
}

#[test]
fn hidden_states_of_padded_texts() {
    for name in ["bert_classifier", "bert_headless", "roberta_classifier"] {
        let golden = Golden::read(name);
        let mask = golden.tensors["mask"].unsqueeze(-1);
        let hidden = golden.hidden(Device::Cpu.into());
        assert_close(&hidden, &(&golden.tensors["hidden"] * &mask), TOLERANCE, name);
    }
}

#[test]
fn scores_losses_and_gradients_of_every_head() {
    for name in ["bert_classifier", "roberta_classifier", "bert_regression", "roberta_regression"] {
        let golden = Golden::read(name);
        let labels = golden.tensors["scores"].size2().unwrap().1;
        let model = golden.model(classify(labels), &Full);
        let texts = golden.texts(model.config["pad_token_id"].as_i64().unwrap());
        let scores = model.network.sequence_classifier().unwrap().scores(&texts, Mode::Train).unwrap();
        assert_close(&scores, &golden.tensors["scores"], TOLERANCE, name);
        assert!(model.fresh().is_empty(), "{name}: {:?}", model.fresh());
        if labels == 1 {
            golden.learn::<Regress>(&model, "full", golden.labels(|label| label.as_f64().unwrap() as f32));
        } else {
            golden.learn::<Classify>(&model, "full", golden.labels(|label| label.as_i64().unwrap()));
        }
    }
    for name in ["bert_answers", "roberta_answers"] {
        let golden = Golden::read(name);
        let model = golden.model(Task::QuestionAnswering, &Full);
        let texts = golden.texts(model.config["pad_token_id"].as_i64().unwrap());
        let scores = span_scores(&model, &texts, Mode::Train).unwrap();
        let mask = golden.tensors["mask"].unsqueeze(-1);
        let kept = scores.nan_to_num(0.0, 0.0, 0.0) * &mask;
        assert_close(&kept, &(&golden.tensors["scores"] * &mask), TOLERANCE, name);
        golden.learn::<Span>(&model, "full", golden.labels(span));
    }
}

/// The same kernels round the same numbers: transformers and this library are much nearer to each other than either is to
/// float32. Norms that are computed in bfloat16 step by step, which the golden values have too, are not.
#[test]
fn bfloat16_is_that_of_transformers() {
    for (name, task) in [
        ("bert_classifier", classify(3)),
        ("bert_regression", classify(1)),
        ("bert_answers", Task::QuestionAnswering),
        ("roberta_classifier", classify(4)),
        ("roberta_regression", classify(1)),
        ("roberta_answers", Task::QuestionAnswering),
    ] {
        let golden = Golden::read(name);
        let theirs_all: HashMap<String, Tensor> =
            Tensor::read_safetensors(golden.folder.join("bf16.safetensors")).unwrap().into_iter().collect();
        let numerics = Numerics::all(Kind::BFloat16, Device::Cpu);
        let load =
            |method: &dyn Method| Model::load_for(task, &golden.folder.join("model"), method, 3, numerics).unwrap();
        let model = load(&Frozen);
        let texts = golden.texts(model.config["pad_token_id"].as_i64().unwrap());
        let mask = golden.tensors["mask"].unsqueeze(-1);
        let (scores, mask_of_scores) = match task {
            Task::QuestionAnswering => (span_scores(&model, &texts, Mode::Eval).unwrap(), mask.shallow_clone()),
            _ => (model.network.sequence_classifier().unwrap().scores(&texts, Mode::Eval).unwrap(), Tensor::from(1i64)),
        };
        let scores = scores.nan_to_num(0.0, 0.0, 0.0);
        for (what, found, mask) in [("hidden", golden.hidden(numerics), &mask), ("scores", scores, &mask_of_scores)] {
            let (exact, theirs) = (&golden.tensors[what] * mask, &theirs_all[what] * mask);
            let (apart, rounding) = (distance(&(found * mask), &theirs), distance(&theirs, &exact));
            assert!(
                rounding > 1e-3 && apart < 0.5 * rounding,
                "{name}, {what}: apart {apart:.1e}, rounding {rounding:.1e}"
            );
            if what == "hidden" {
                let wrong = distance(&(&theirs_all["hidden_of_wrong_norms"] * mask), &theirs);
                assert!(
                    wrong > 0.9 * rounding,
                    "{name}: norms in bfloat16 are {wrong:.1e} off, rounding {rounding:.1e}"
                );
            }
        }
        let model = load(&Full);
        let loss = match task {
            Task::QuestionAnswering => golden.backward::<Span>(&model, golden.labels(span)),
            Task::SequenceClassification { labels: 1 } => {
                golden.backward::<Regress>(&model, golden.labels(|label| label.as_f64().unwrap() as f32))
            }
            _ => golden.backward::<Classify>(&model, golden.labels(|label| label.as_i64().unwrap())),
        };
        let (exact, theirs_loss) =
            (golden.values["loss"]["full"].as_f64().unwrap(), theirs_all["loss"].double_value(&[]));
        let allowed = (theirs_loss - exact).abs().max(exact / 128.0);
        assert!((loss - exact).abs() <= allowed, "{name}: loss {loss}, theirs {theirs_loss}, exact {exact}");
        // The weights that train are float32, so the embeddings are rounded later. Where that moves a ReLU's input past zero,
        // a gradient jumps, and nothing can be compared.
        if model.config["hidden_act"] == "relu" {
            continue;
        }
        let (mut rounding, mut own, mut size) = (0.0, 0.0, 0.0);
        for (parameter, tensor) in model.trainable.iter() {
            let square = |tensor: Tensor| tensor.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
            let exact = &golden.tensors[&format!("full.gradient.{parameter}")];
            rounding += square(&theirs_all[&format!("gradient.{parameter}")] - exact);
            own += square(tensor.grad() - exact);
            size += square(exact.shallow_clone());
        }
        let [rounding, own] = [rounding, own].map(|sum: f64| (sum / size).sqrt());
        assert!(
            own < 1.5 * rounding,
            "{name}: gradients are off by {own:.1e}, those of transformers by {rounding:.1e}"
        );
    }
}

fn span(label: &Value) -> (i64, i64) {
    (label[0].as_i64().unwrap(), label[1].as_i64().unwrap())
}

#[test]
fn lora_beside_a_head_that_peft_saved() {
    let golden = Golden::read("roberta_classifier");
    let model = golden.adapted(classify(4));
    let texts = golden.texts(1);
    let scores = model.network.sequence_classifier().unwrap().scores(&texts, Mode::Eval).unwrap();
    assert_close(&scores, &golden.tensors["lora.scores"], TOLERANCE, "classifier");
    golden.learn::<Classify>(&model, "lora", golden.labels(|label| label.as_i64().unwrap()));
    let merged = model.merged().unwrap();
    let scores = merged.network.sequence_classifier().unwrap().scores(&texts, Mode::Eval).unwrap();
    assert_close(&scores, &golden.tensors["lora.scores"], TOLERANCE, "merged");
    let golden = Golden::read("bert_answers");
    let model = golden.adapted(Task::QuestionAnswering);
    golden.learn::<Span>(&model, "lora", golden.labels(span));
}

#[test]
fn an_adapter_of_torch_save_is_the_same_adapter() {
    for (name, task) in [("roberta_classifier", classify(4)), ("bert_answers", Task::QuestionAnswering)] {
        let golden = Golden::read(name);
        let folder = tempfile::tempdir().unwrap();
        let put = |from: &Path, to: &str| assert!(std::fs::copy(from, folder.path().join(to)).is_ok());
        let file = "adapter_model.bin";
        put(&golden.folder.join("lora/adapter_config.json"), "adapter_config.json");
        put(&golden.folder.join(file), file);
        let load = || {
            let found = learn::peft::task(folder.path())?;
            assert_eq!(found, task);
            let mut model = golden.model(found, saved_method(folder.path())?.as_ref());
            adapters::load(folder.path(), &mut model.trainable).map(|()| model)
        };
        let (model, expected) = (load().unwrap(), golden.adapted(task));
        for (parameter, tensor) in expected.trainable.iter() {
            assert!(model.trainable.get(parameter).unwrap().equal(tensor), "{name}: {parameter}");
        }
        // Safetensors come first.
        put(&golden.folder.join("lora/adapter_model.safetensors"), "adapter_model.safetensors");
        std::fs::write(folder.path().join(file), "x").unwrap();
        load().unwrap();
        std::fs::remove_file(folder.path().join("adapter_model.safetensors")).unwrap();
        let bytes = std::fs::read(golden.folder.join(file)).unwrap();
        let cases = [
            (golden_file("torch_files/bad/os_system.bin"), "the pickle wants `posix.system`: refused"),
            (golden_file("torch_files/bad/legacy.bin"), "before 1.6"),
            (golden_file("torch_files/model/tied/pytorch_model.bin"), "matches nothing in the model"),
            (bytes[..bytes.len() - 2].to_vec(), "is a damaged zip"),
        ];
        for (bytes, problem) in cases {
            std::fs::write(folder.path().join(file), bytes).unwrap();
            let error = load().unwrap_err().to_string();
            // What the classes are is asked for first.
            let classes = name == "roberta_classifier" && error.contains("holds no classifier");
            assert!(error.contains(file) && (error.contains(problem) || classes), "{error}");
        }
    }
}

fn golden_file(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap()
}

#[test]
fn an_adapter_with_a_head_is_saved_as_peft_saves_it() {
    for (name, task) in [("roberta_classifier", classify(4)), ("bert_answers", Task::QuestionAnswering)] {
        let golden = Golden::read(name);
        let model = golden.adapted(task);
        let targets = vec![Role::AttentionQ, Role::AttentionV, Role::MlpUp];
        let method = Lora::new(3, 7.5, 0.0, Targets::Roles(targets)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        method.save(&Saved::of(&model, None), folder.path()).unwrap();
        let open = |folder: &Path| SafetensorsFile::open(&folder.join("adapter_model.safetensors")).unwrap();
        let (ours, theirs) = (open(folder.path()), open(&golden.folder.join("lora")));
        assert_eq!(ours.names(), theirs.names(), "{name}");
        let config = |folder: &Path| -> Value {
            serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
        };
        let (ours, theirs) = (config(folder.path()), config(&golden.folder.join("lora")));
        assert_eq!(ours["task_type"], theirs["task_type"]);
        assert_eq!(ours["target_modules"], theirs["target_modules"]);
        let head = if name == "bert_answers" { "qa_outputs" } else { "classifier" };
        assert_eq!(ours["modules_to_save"], serde_json::json!([head]));
        assert!(theirs["modules_to_save"].as_array().unwrap().contains(&head.into()), "{theirs}");
    }
}

#[test]
fn a_head_that_the_weights_lack_is_newly_made_and_trains_beside_an_adapter() {
    let golden = Golden::read("bert_headless");
    let lora = Lora::new(2, 4.0, 0.0, Targets::Roles(vec![Role::AttentionQ])).unwrap();
    let model = golden.model(classify(5), &lora);
    assert_eq!(model.fresh(), ["classifier.weight", "classifier.bias"], "the pooler is in the file");
    assert!(model.trainable.get("classifier.weight").is_some());
    assert!(model.trainable.get("bert.pooler.dense.weight").is_none());
    // Without a pooler in the file, that is new too.
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&golden.folder.join("model"), folder.path());
    let path = folder.path().join("model.safetensors");
    let mut tensors = Tensor::read_safetensors(&path).unwrap();
    tensors.retain(|(name, _)| !name.starts_with("pooler."));
    write_tensors(&path, &tensors).unwrap();
    let model = Model::load_for(classify(2), folder.path(), &lora, 1, Device::Cpu).unwrap();
    assert_eq!(model.fresh().len(), 4);
    let saved = tempfile::tempdir().unwrap();
    lora.save(&Saved::of(&model, None), saved.path()).unwrap();
    let method = saved_method(saved.path()).unwrap();
    let mut again = Model::load_for(classify(2), folder.path(), method.as_ref(), 2, Device::Cpu).unwrap();
    adapters::load(saved.path(), &mut again.trainable).unwrap();
    let texts = golden.texts(0);
    let scores = |model: &Model| model.network.sequence_classifier().unwrap().scores(&texts, Mode::Eval).unwrap();
    assert!(scores(&again).equal(&scores(&model)));
}

#[test]
fn files_as_they_were_published_years_ago() {
    let golden = Golden::read("bert_classifier");
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&golden.folder.join("model"), folder.path());
    let path = folder.path().join("model.safetensors");
    let older = |name: &str| {
        let front = name.strip_suffix("LayerNorm.weight").map(|front| format!("{front}LayerNorm.gamma"));
        front.or_else(|| name.strip_suffix("LayerNorm.bias").map(|front| format!("{front}LayerNorm.beta")))
    };
    let mut tensors: Vec<(String, Tensor)> = Tensor::read_safetensors(&path)
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (older(&name).unwrap_or(name), tensor))
        .collect();
    // What a pretrained file holds beside: heads that are not asked for.
    tensors.push(("cls.predictions.bias".to_owned(), Tensor::ones([40], (Kind::Float, Device::Cpu))));
    write_tensors(&path, &tensors).unwrap();
    let model = Model::load_for(classify(3), folder.path(), &Frozen, 0, Device::Cpu).unwrap();
    let scores = model.network.sequence_classifier().unwrap().scores(&golden.texts(0), Mode::Eval).unwrap();
    assert_close(&scores, &golden.tensors["scores"], TOLERANCE, "gamma and beta");
}

#[test]
fn what_does_not_fit_is_said() {
    let golden = Golden::read("bert_classifier");
    let problem = |task: Task, change: fn(&mut Value)| {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&golden.folder.join("model"), folder.path());
        change_json(&folder.path().join("config.json"), change);
        let error = Model::load_for(task, folder.path(), &Frozen, 0, Device::Cpu).unwrap_err();
        format!("{error} / {}", error.hint().unwrap())
    };
    let text = problem(Task::LanguageModel, |_| ());
    assert!(text.starts_with("model: a model of the family `bert` cannot be used for language modelling"), "{text}");
    let text = problem(classify(7), |_| ());
    assert!(text.contains("classifier.weight: has shape [3, 16] in the weights, [7, 16] is asked for"), "{text}");
    let text = problem(classify(3), |config| config["hidden_act"] = "mish".into());
    assert!(text.contains("hidden_act: unknown variant `mish`"), "{text}");
    let text = problem(classify(3), |config| config["num_attention_heads"] = 3.into());
    assert!(text.contains("16 is not a multiple of num_attention_heads, 3"), "{text}");
    let model = golden.model(classify(3), &Frozen);
    let long = vec![4; 21];
    let texts = Texts::new(&[(&long, &[])], 0, Device::Cpu).unwrap();
    let error = model.network.sequence_classifier().unwrap().scores(&texts, Mode::Eval).unwrap_err();
    assert_eq!(error.to_string(), "max_length: a row has 21 tokens, the model has positions for 20");
    assert!(model.network.causal_lm().unwrap_err().to_string().contains("is a classifier of texts, not a causal"));
}
