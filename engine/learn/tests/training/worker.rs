//! Whole jobs by the real worker: a random Llama learns, adapters stand on it, evaluations score them; and what it says
//! when a job cannot be done.

use std::process::Command;

use serde_json::{Value, json};
use spec::job::Event;

use crate::support::{Row, Space, rows};

fn base_settings() -> Value {
    json!({
        "model": { "random": { "llama": { "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                                          "num_attention_heads": 4, "tie_word_embeddings": true,
                                          "initializer_range": 0.06 } } },
        "data": "tokens",
        "adapter": "full",
        "epochs": 12,
        "batch": { "size": 16 },
        "optimizer": { "adamw": { "learning_rate": 4e-3, "beta2": 0.95 } },
        "schedule": { "linear": { "warmup": { "steps": 10 } } },
        "validate": { "on": "dev" },
    })
}

fn squad(model: &str) -> Value {
    json!({
        "model": model,
        "data": "tokens/dev",
        "protocol": { "generate": { "max_new_tokens": 4 } },
        "metrics": ["squad_v2"],
    })
}

#[test]
fn a_model_learns_from_nothing_is_adapted_and_is_scored() {
    let rows = rows();
    let mut dev = rows[..40].to_vec();
    dev.push(Row { failed: Some("it does not fit".into()), references: vec![], ..rows[0].clone() });
    dev[40].id = "too-long".into();
    let space = Space::new(&rows, &dev);

    let base = space.run(&space.job("base", "train", &base_settings(), None, None)).expect_finished();
    let summary = base.json("summary.json");
    assert!(summary["headline"]["loss"].as_f64().unwrap() < 0.1, "{summary}");
    assert_eq!(summary["headline"]["loss"], summary["validation_loss"]);
    assert_eq!(summary["trainable_parameters"], summary["total_parameters"]);
    assert_eq!((summary["steps"].as_u64(), summary["epochs"].as_f64()), (Some(12 * 13), Some(12.0)));
    assert!(base.warnings().iter().any(|warning| warning.contains("1 of 41 rows did not fit")), "{:?}", base.events);
    let history = base.lines("history.jsonl");
    assert_eq!(history.len(), 12 * 13 + 12);
    assert_eq!(history[0]["learning_rate"], 0.0);
    assert!(history[0]["loss"].as_f64().unwrap() > 1.5 && history[0]["grad_norm"].as_f64().unwrap() > 0.0);
    for name in ["config.json", "model.safetensors", "tokenizer.json", "special_ids.json", "generation_config.json"] {
        assert!(base.result.join(name).exists(), "{name}");
    }
    let measured = base.measured();
    for key in ["seconds", "tokens_per_second", "peak_memory_bytes"] {
        assert!(measured[key].as_f64().unwrap() > 0.0, "{measured}");
    }
    assert!(base.events.iter().any(|event| matches!(event, Event::Progress { total: 156, .. })), "{:?}", base.events);

    let scores = space.job("scores", "evaluate", &squad("base"), Some(space.model("base")), Some("dev"));
    let scored = space.run(&scores).expect_finished();
    let metrics = scored.json("metrics.json");
    assert_eq!((metrics["rows"].as_u64(), metrics["failed"].as_u64()), (Some(41), Some(1)));
    assert!(metrics["headline"]["squad_v2.has_ans_exact"].as_f64().unwrap() >= 95.0, "{metrics}");
    assert_eq!(metrics["headline"]["squad_v2.no_ans_exact"], 0.0, "a row that failed is wrong: {metrics}");
    assert_eq!(metrics["metrics"]["squad_v2"]["total"], 41.0);
    assert!(metrics["uncertainty"]["squad_v2"]["exact"]["standard_error"].as_f64().unwrap() > 0.0, "{metrics}");
    let signature = "nrefs:var|no_answer:empty|like:evaluate-v2.0.py|version:1";
    assert_eq!(metrics["signatures"]["squad_v2"], signature);
    let predictions = scored.lines("predictions.jsonl");
    let ids: Vec<&str> = predictions.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids, dev.iter().map(|row| row.id.as_str()).collect::<Vec<_>>());
    assert_eq!((&predictions[40]["output"], &predictions[40]["failed"]), (&Value::Null, &json!("it does not fit")));
    assert_eq!(predictions[3]["references"], json!([dev[3].references[0]]));

    // What is taken out of the answers is compared in their place; nothing taken out is wrong.
    let mut first = squad("base");
    first["protocol"]["generate"]["extract"] = json!({ "first_of": [dev[3].references[0]] });
    first["metrics"] = json!(["exact_match"]);
    let job = space.job("extracted", "evaluate", &first, Some(space.model("base")), Some("dev"));
    let refused = space.run(&job);
    let problem = &refused.failure().message;
    assert!(problem.contains("row 41 has no reference, and `exact_match` needs one"), "{problem}");
    first["metrics"] = json!(["squad_v2"]);
    let job = space.job("extracted", "evaluate", &first, Some(space.model("base")), Some("dev"));
    let lines = space.run(&job).expect_finished().lines("predictions.jsonl");
    for (line, whole) in lines.iter().zip(&predictions) {
        let has = whole["output"].as_str().is_some_and(|text| text.contains(&dev[3].references[0]));
        assert_eq!(line["extracted"].is_string(), has, "{line}");
        assert_eq!(line["output"], whole["output"]);
    }

    // The same rows with the question turned round, for an adapter; then one more adapter on top of it.
    let turned: Vec<Row> = rows
        .iter()
        .map(|row| {
            let last = row.prompt[row.prompt.len() - 2];
            let name = crate::support::WORDS[last as usize - 4].to_owned();
            Row { completion: vec![last, 2], references: vec![name], ..row.clone() }
        })
        .collect();
    let space_turned = Space::new(&turned, &turned[..40]);
    let adapter = json!({
        "model": "base", "data": "tokens", "epochs": 10,
        "adapter": { "dora": { "rank": 8, "alpha": 16.0, "targets": ["attention.q", "attention.k", "attention.v", "mlp.up"] } },
        "optimizer": { "adamw": { "learning_rate": 1e-2 } },
    });
    let mut carried = space.model("base");
    carried.result = base.result.clone();
    let job = space_turned.job("tuned", "train", &adapter, Some(carried.clone()), None);
    let tuned = space_turned.run(&job).expect_finished();
    let summary = tuned.json("summary.json");
    assert!(summary["trainable_parameters"].as_u64() < summary["total_parameters"].as_u64(), "{summary}");
    assert!(tuned.result.join("adapter_model.safetensors").exists() && !tuned.result.join("config.json").exists());
    let exact = |model, name: &str| {
        let job = space_turned.job(name, "evaluate", &squad("tuned"), Some(model), Some("dev"));
        space_turned.run(&job).expect_finished().json("metrics.json")["headline"]["squad_v2.exact"].as_f64().unwrap()
    };
    let before = exact(carried.clone(), "before");
    let tuned_input = space_turned.adapter("tuned", carried);
    let after = exact(tuned_input.clone(), "after");
    assert!(before < 40.0 && after > 80.0, "{before} before, {after} after");

    // Nearly nothing is learned in one step with a tiny rate: the second adapter stands on the first, merged.
    let mut more = adapter.clone();
    (more["epochs"], more["steps"]) = (Value::Null, json!(1));
    more["optimizer"]["adamw"]["learning_rate"] = json!(1e-9);
    space_turned.run(&space_turned.job("more", "train", &more, Some(tuned_input.clone()), None)).expect_finished();
    assert_eq!(exact(space_turned.adapter("more", tuned_input), "stacked"), after);
}

#[test]
fn perplexity_is_the_exponential_of_the_training_loss() {
    let rows = rows();
    let space = Space::new(&rows, &rows[..60]);
    let mut settings = base_settings();
    settings["epochs"] = json!(1);
    let base = space.run(&space.job("base", "train", &settings, None, None)).expect_finished();
    let evaluate = json!({
        "model": "base", "data": "tokens/dev", "protocol": "perplexity", "metrics": ["perplexity"], "batch": { "size": 7 },
    });
    let job = space.job("scores", "evaluate", &evaluate, Some(space.model("base")), Some("dev"));
    let metrics = space.run(&job).expect_finished().json("metrics.json");
    let perplexity = metrics["headline"]["perplexity.perplexity"].as_f64().unwrap();
    let loss = base.json("summary.json")["validation_loss"].as_f64().unwrap();
    assert!((perplexity.ln() - loss).abs() < 1e-6, "{metrics}, loss {loss}");
    assert_eq!(metrics["metrics"]["perplexity"]["tokens"], 120.0);
}

#[test]
fn the_same_job_leaves_the_same_bytes() {
    let rows = rows();
    let space = Space::new(&rows, &rows[..10]);
    let mut settings = base_settings();
    settings["epochs"] = json!(2);
    let one = space.run(&space.job("one", "train", &settings, None, None)).expect_finished();
    let other = space.run(&space.job("other", "train", &settings, None, None)).expect_finished();
    for entry in std::fs::read_dir(&one.result).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(one.bytes(&name) == other.bytes(&name), "{name}");
    }
}

#[test]
fn what_cannot_be_done_is_said_with_place_and_hint() {
    let rows = rows();
    let silent: Vec<Row> = rows[..3].iter().map(|row| Row { completion: vec![], ..row.clone() }).collect();
    let space = Space::new(&rows, &silent);
    let failure = |settings: Value, model: Option<&str>| {
        let job = space.job("failing", "train", &settings, model.map(|name| space.model(name)), None);
        let done = space.run(&job);
        assert!(!done.finished);
        let failure = done.failure().clone();
        assert!(failure.hint.is_some(), "no hint: {failure:?}");
        (failure.message, failure.place.unwrap_or_default())
    };
    let with = |key: &str, value: Value| {
        let mut settings = base_settings();
        settings[key] = value;
        settings
    };
    let (message, _) = failure(base_settings(), None);
    assert!(message.contains("no token of the split `dev` carries loss (3 rows"), "{message}");
    let no_split = with("validate", json!({ "on": "nowhere" }));
    let (message, _) = failure(no_split, None);
    assert!(message.contains("nowhere.parquet"), "{message}");
    let mut diverging = with("optimizer", json!({ "adamw": { "learning_rate": 1e20 } }));
    diverging["validate"] = Value::Null;
    let (message, place) = failure(diverging, None);
    assert!(message.contains("not finite") && place.contains("step "), "{message} at {place}");
    std::fs::create_dir_all(space.path("empty")).unwrap();
    let mut from_nothing = with("model", json!("empty"));
    from_nothing["validate"] = Value::Null;
    let (message, _) = failure(from_nothing, Some("empty"));
    assert!(message.contains("left no model here"), "{message}");
    std::fs::copy(space.path("tokens/special_ids.json"), space.path("tokens/train.parquet")).unwrap();
    let (message, _) = failure(with("validate", Value::Null), None);
    assert!(message.contains("train.parquet: is no readable Parquet file"), "{message}");
}

#[test]
fn targets_that_match_nothing_and_a_tokenizer_of_another_model_are_refused() {
    let rows = rows();
    let space = Space::new(&rows, &rows[..10]);
    let mut settings = base_settings();
    settings["epochs"] = json!(1);
    space.run(&space.job("base", "train", &settings, None, None)).expect_finished();
    let lora = json!({
        "model": "base", "data": "tokens", "steps": 1,
        "adapter": { "lora": { "rank": 2, "alpha": 2.0, "targets": { "suffix": ["q_porj"] } } },
    });
    let job = space.job("lora", "train", &lora, Some(space.model("base")), None);
    let failure = space.run(&job).failure().clone();
    assert!(failure.message.contains("q_porj") && failure.hint.unwrap().contains("q_proj"));
    let special = json!({ "bos": 1, "eos": [2], "pad": 0, "vocabulary": 500 });
    std::fs::write(space.path("tokens/special_ids.json"), special.to_string()).unwrap();
    let mut lora = lora;
    lora["adapter"]["lora"]["targets"] = json!("all-linear");
    let job = space.job("lora", "train", &lora, Some(space.model("base")), None);
    // More ids than the model knows do no harm as long as no row holds them.
    space.run(&job).expect_finished();
    let job = space.job("again", "train", &lora, Some(space.model("base")), None);
    let special = json!({ "bos": 1, "eos": [2, 14], "pad": 0, "vocabulary": 500 });
    std::fs::write(space.path("tokens/special_ids.json"), special.to_string()).unwrap();
    let failure = space.run(&job).failure().clone();
    let sizes = "knows 14 token ids, the tokenizer of the data has 500; ";
    assert!(failure.message.contains(&format!("{sizes}a special token has the id 14")), "{failure:?}");

    let mut rows = rows;
    rows[3].completion = vec![4, 14, 2];
    let other = Space::new(&rows, &rows[..10]);
    let special = json!({ "bos": 1, "eos": [2], "pad": 0, "vocabulary": 15 });
    std::fs::write(other.path("tokens/special_ids.json"), special.to_string()).unwrap();
    std::fs::rename(space.path("base"), other.path("base")).unwrap();
    let failure = other.run(&other.job("lora", "train", &lora, Some(other.model("base")), None)).failure().clone();
    let row = &rows[3].id;
    assert!(failure.message.contains(&format!("row `{row}` holds the id 14")), "{failure:?}");
}

#[test]
fn the_build_id_is_told_and_a_job_that_is_none_is_refused() {
    let worker = || Command::new(env!("CARGO_BIN_EXE_engine-worker"));
    let output = worker().arg("--build-id").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), build_id::BUILD_ID);
    assert_eq!(worker().output().unwrap().status.code(), Some(2));
    let output = worker().arg("/nowhere/job.json").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let event: Event = serde_json::from_slice(&output.stdout).unwrap();
    let Event::Failed(failure) = event else { panic!("{event:?}") };
    assert!(failure.message.starts_with("cannot read the job") && failure.hint.is_some());
}
