//! The `inspect` stage by the real worker: against values of PEFT and NumPy (`tests/golden/inspection.py`), who is left out,
//! and that the bytes do not depend on threads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spec::inspection::{Inspection, Matrix};
use spec::job::{Job, JobInput};

use crate::resume::{job as train_job, with_adapter};
use crate::support::{Done, Space};

const TOLERANCE: f64 = 1e-6;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path)
}

fn input(name: &str, folder: PathBuf, carried: Option<JobInput>) -> JobInput {
    JobInput {
        stage: "tuned".to_owned(),
        kind: "train".to_owned(),
        coordinates: vec![("method".to_owned(), name.to_owned())],
        part: None,
        observed: folder.clone(),
        result: folder,
        carried: carried.map(Box::new),
        made: None,
    }
}

fn member(name: &str) -> JobInput {
    let base = input("base", golden("llama/biases/model"), None);
    input(name, golden("inspection").join(name), (name != "full").then_some(base))
}

fn inspect(space: &Space, name: &str, inputs: Vec<JobInput>, analyses: Value) -> Job {
    let settings = json!({ "models": "tuned", "analyses": analyses });
    let mut job = space.job(name, "inspect", &settings, None, None);
    job.inputs = BTreeMap::from([("models".to_owned(), inputs)]);
    job
}

fn empty() -> Space {
    Space::new(&[], &[])
}

fn found(done: &Done) -> Inspection {
    serde_json::from_slice(&done.bytes("inspection.json")).unwrap()
}

fn name(member: &str) -> String {
    format!("tuned[method={member}]")
}

fn assert_near(found: Option<f64>, expected: &Value, what: &str) {
    match (found, expected.as_f64()) {
        (None, None) => {}
        (Some(found), Some(expected)) => {
            let off = (found - expected).abs();
            assert!(off <= TOLERANCE * expected.abs() + 1e-12, "{what}: {found} instead of {expected}");
        }
        (found, _) => panic!("{what}: {found:?} instead of {expected}"),
    }
}

fn everything() -> Value {
    json!(["update_norms", { "subspaces": { "of": "a" } }, { "subspaces": { "of": "update" } }, "amplification", "magnitude_direction"])
}

const MEMBERS: [&str; 4] = ["lora2", "lora4", "dora", "full"];

#[test]
fn every_figure_is_that_of_whole_matrices_by_numpy() {
    let space = empty();
    let inputs = MEMBERS.map(member).to_vec();
    let done = space.run(&inspect(&space, "looked", inputs, everything())).expect_finished();
    let found = found(&done);
    let values: Value = serde_json::from_slice(&fs::read(golden("inspection/values.json")).unwrap()).unwrap();
    let of = |part: &str| values[part].as_object().unwrap().clone();

    let norms = of("update_norms");
    assert_eq!(norms.len(), found.update_norms.len());
    for (key, expected) in norms {
        let [member, module, step] = key.split(' ').collect::<Vec<_>>()[..] else { panic!("{key}") };
        let own = found.update_norms.iter().find(|entry| {
            entry.member == name(member) && entry.matrix.module == module && entry.step.to_string() == step
        });
        let own = own.unwrap_or_else(|| panic!("no {key}"));
        assert_near(Some(own.norm), &expected["norm"], &key);
        assert_near(own.relative, &expected["relative"], &key);
        assert_near(Some(own.spectral), &expected["spectral"], &key);
        assert_near(own.stable_rank, &expected["stable_rank"], &key);
        assert_near(own.effective_rank, &expected["effective_rank"], &key);
    }

    let moves = of("magnitude_direction");
    assert_eq!(moves.len(), found.magnitude_direction.len());
    for (key, expected) in moves {
        let [member, module, step] = key.split(' ').collect::<Vec<_>>()[..] else { panic!("{key}") };
        let own = found.magnitude_direction.iter().find(|entry| {
            entry.member == name(member) && entry.matrix.module == module && entry.step.to_string() == step
        });
        let own = own.unwrap_or_else(|| panic!("no {key}"));
        assert_near(Some(own.magnitude), &expected["magnitude"], &key);
        assert_near(Some(own.direction), &expected["direction"], &key);
    }

    for (key, expected) in of("subspaces") {
        let [kind, first, second, module] = key.split(' ').collect::<Vec<_>>()[..] else { panic!("{key}") };
        let own = found.subspaces.iter().find(|entry| {
            entry.of == kind
                && entry.first == name(first)
                && entry.second == name(second)
                && entry.matrix.module == module
        });
        let own = own.unwrap_or_else(|| panic!("no {key}"));
        let grid = expected.as_array().unwrap();
        assert_eq!((own.phi.len(), own.i.len()), (grid.len(), grid.len()), "{key}");
        assert_near(own.begun, &values["begun"][&key], &format!("{key} before the first step"));
        for (i, (row, expected)) in own.phi.iter().zip(grid).enumerate() {
            assert_eq!(row.len(), expected.as_array().unwrap().len());
            for (j, phi) in row.iter().enumerate() {
                assert_near(Some(*phi), &expected[j], &format!("{key}, {i}, {j}"));
                assert!((-1e-9..=1.0 + 1e-9).contains(phi), "{key}");
            }
        }
    }

    for (key, expected) in of("amplification") {
        let (member, module) = key.split_once(' ').unwrap();
        let own =
            found.amplification.iter().find(|entry| entry.member == name(member) && entry.matrix.module == module);
        let own = own.unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(expected["directions"], own.directions, "{key}");
        for (figure, own) in [
            ("weight", Some(own.weight)),
            ("update", Some(own.update)),
            ("in_update", Some(own.in_update)),
            ("in_weight", Some(own.in_weight)),
            ("in_random", Some(own.in_random)),
            ("factor", own.factor),
        ] {
            assert_near(own, &expected[figure], &format!("{key}, {figure}"));
        }
    }

    for (key, expected) in of("correlations") {
        let (member, role) = key.split_once(' ').unwrap();
        let role = (role != "all").then(|| role.to_owned());
        let own = found.correlations.iter().find(|entry| entry.member == name(member) && entry.role == role).unwrap();
        assert_eq!(expected["points"], own.points, "{key}");
        assert_near(own.correlation, &expected["correlation"], &key);
        assert_near(own.slope, &expected["slope"], &key);
    }

    // What the figures are of, and in which order.
    let kept: Vec<(&str, u64)> = found.members.iter().map(|one| (one.method.as_str(), one.kept_step)).collect();
    assert_eq!(kept, [("lora", 20), ("lora", 20), ("dora", 20), ("full", 10)]);
    assert!(found.members.iter().all(|member| member.steps == [0, 10, 20]));
    let first = &found.update_norms[0].matrix;
    let expected =
        Matrix { module: "model.layers.0.self_attn.q_proj".into(), role: "attention.q".into(), layer: Some(0) };
    assert_eq!(*first, expected);
    let roles: Vec<&str> = found.update_norms.iter().map(|entry| entry.matrix.role.as_str()).collect();
    assert!(roles.contains(&"embedding") && roles.contains(&"mlp.up") && !roles.contains(&"head"), "{roles:?}");
    let zero = found.magnitude_direction.iter().filter(|entry| entry.step == 0);
    for entry in zero {
        assert!(entry.magnitude < 1e-6 && entry.direction < 1e-12, "step 0: {entry:?}");
    }

    // Full fine-tuning has no A, which is said; the others are compared all the same.
    let said = &found.left_out;
    assert!(said.len() == 1 && said[0].member == name("full") && said[0].analysis.as_deref() == Some("subspaces"));
    assert!(done.warnings()[0].contains("{subspaces: {of: update}}"), "{:?}", done.warnings());
    assert!(found.subspaces.iter().any(|entry| entry.of == "update" && entry.second == name("full")));

    // The tables hold the same figures.
    let table = String::from_utf8(done.bytes("update_norms.csv")).unwrap();
    assert_eq!(table.lines().count(), found.update_norms.len() + 1);
    let line = table.lines().nth(1).unwrap();
    assert!(
        line.starts_with("tuned[method=lora2],model.layers.0.self_attn.q_proj,attention.q,0,0,false,0,0,0,,"),
        "{line}"
    );
    let phi: usize = found.subspaces.iter().map(|entry| entry.i.len() * entry.j.len()).sum();
    for (file, lines) in [
        ("subspaces.csv", phi),
        ("amplification.csv", found.amplification.len()),
        ("magnitude_direction.csv", found.magnitude_direction.len()),
        ("correlations.csv", found.correlations.len()),
    ] {
        assert_eq!(String::from_utf8(done.bytes(file)).unwrap().lines().count(), lines + 1, "{file}");
    }

    // Neither the number of threads nor a second look changes a byte; a member that is named twice is looked at once.
    let inputs = MEMBERS.map(member).into_iter().chain([member("dora")]).collect();
    let again = Job { threads: 2, ..inspect(&space, "again", inputs, everything()) };
    let again = space.run(&again).expect_finished();
    assert!(again.bytes("inspection.json") == done.bytes("inspection.json"));
}

#[test]
fn asked_for_directions_are_those_and_only_what_was_asked_is_left() {
    let space = empty();
    let analyses = json!([{ "subspaces": { "directions": [1, 4] } }, { "amplification": { "directions": 1 } }]);
    let inputs = ["lora2", "lora4"].map(member).to_vec();
    let done = space.run(&inspect(&space, "looked", inputs, analyses)).expect_finished();
    let found = found(&done);
    assert!(found.update_norms.is_empty() && found.magnitude_direction.is_empty() && found.correlations.is_empty());
    assert!(!done.result.join("update_norms.csv").exists());
    assert!(found.subspaces.iter().all(|entry| entry.i == [1] && entry.j[0] == 1));
    assert!(found.subspaces.iter().any(|entry| entry.j == [1, 4]));
    assert!(found.amplification.iter().all(|entry| entry.directions == 1));
}

#[test]
fn members_without_a_sum_are_left_out_with_the_reason_and_alone_they_fail() {
    let (space, mut settings) = with_adapter(json!({ "prompt": { "tokens": 3 } }));
    settings["steps"] = json!(2);
    space.run(&train_job(&space, "guided", &settings)).expect_finished();
    settings["adapter"] = json!("full");
    space.run(&train_job(&space, "unkept", &settings)).expect_finished();
    settings["adapter"] =
        json!([{ "prompt": { "tokens": 3 } }, { "lora": { "rank": 2, "alpha": 3.0, "targets": ["attention.q"] } }]);
    settings["snapshots"] = json!({ "every": { "steps": 1 } });
    space.run(&train_job(&space, "both", &settings)).expect_finished();
    let left = |name: &str, carried: bool| input(name, space.path(name), carried.then(|| space.model("base")));
    let useless = vec![left("guided", true), left("unkept", false)];

    let inputs = useless.iter().cloned().chain([left("both", true)]).collect();
    let done = space.run(&inspect(&space, "looked", inputs, json!(["update_norms"]))).expect_finished();
    let found = found(&done);
    let names: Vec<&str> = found.left_out.iter().map(|left| left.member.as_str()).collect();
    assert_eq!(names, [name("guided"), name("unkept")]);
    assert!(found.left_out[0].reason.contains("`prompt` adds no matrix"), "{}", found.left_out[0].reason);
    assert!(found.left_out[1].reason.contains("`snapshots`"), "{}", found.left_out[1].reason);
    assert_eq!(found.members.len(), 1);
    assert_eq!(found.members[0].steps, [0, 1, 2]);
    let norms: Vec<f64> = found.update_norms.iter().take(3).map(|entry| entry.norm).collect();
    assert!(norms[0] == 0.0 && norms[1] > 0.0 && norms[2] != norms[1], "{norms:?}");

    let done = space.run(&inspect(&space, "nothing", useless, json!(["update_norms"])));
    assert!(!done.finished);
    assert_eq!(done.failure().message, "no member can be looked at");
    assert!(done.failure().place.as_ref().unwrap().contains("`prompt` adds no matrix"), "{:?}", done.failure());
}

/// W of an adapter that was trained on another is what that one had made of its model.
#[test]
fn what_stands_on_an_adapter_is_compared_with_both_together() {
    let space = empty();
    let below = member("lora4");
    let base = golden("llama/biases/model");
    let above = input("lora2", golden("inspection/lora2"), Some(below));
    let plain = member("lora2");
    let looked = |name: &str, input: JobInput| {
        let done = space.run(&inspect(&space, name, vec![input], json!(["update_norms"]))).expect_finished();
        found(&done).update_norms.into_iter().filter(|entry| entry.step == 20).collect::<Vec<_>>()
    };
    let (plain, above) = (looked("plain", plain), looked("above", above));
    assert_eq!(plain.len(), above.len());
    let merged = learn::inspect::Base::whole(&base).unwrap().adapted(&golden("inspection/lora4")).unwrap();
    for (plain, above) in plain.iter().zip(&above) {
        assert_eq!(plain.norm, above.norm, "the change is the same");
        let weight = merged.weight(&plain.matrix.module).unwrap().unwrap();
        let relative = above.norm / weight.norm().double_value(&[]);
        assert!((above.relative.unwrap() / relative - 1.0).abs() < 1e-7, "{}", plain.matrix.module);
        let both = ["attention.q", "attention.v"].contains(&plain.matrix.role.as_str());
        assert_eq!(plain.relative != above.relative, both, "{}", plain.matrix.module);
    }
}
