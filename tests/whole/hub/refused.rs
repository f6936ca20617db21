//! What the Hub refuses, and what is said of it.

use std::net::TcpListener;

use super::{
    bytes, download,
    models::small,
    server::{Hub, STRANGER, TOKEN},
};

#[test]
fn a_gated_model() {
    let hub = Hub::new();
    let (project, _) = small(&hub);
    hub.change("models/owner/small", |repository| repository.is_gated = true);
    let page = format!("{}/owner/small", hub.endpoint);
    let settings = format!("{}/settings/tokens", hub.endpoint);
    hub.run(&project, &[]).fails_with(&["`owner/small` is gated", "no token", &page, &settings, "HF_TOKEN"]);
    hub.run_with(&project, &[], &[("HF_TOKEN", STRANGER)])
        .fails_with(&["the account of the token in HF_TOKEN has no access", &page]);
    hub.run_with(&project, &[], &[("HF_TOKEN", "hf_mistyped")])
        .fails_with(&["does not accept the token in HF_TOKEN", &settings]);
    hub.run_with(&project, &[], &[("HF_TOKEN", TOKEN)]).exit(0);
    assert!(!hub.asked().is_empty());
}

#[test]
fn names_that_are_not_there() {
    let hub = Hub::new();
    let (project, _) = small(&hub);
    hub.change("models/owner/small", |repository| repository.is_private = true);
    hub.run(&project, &[]).fails_with(&["no model `owner/small` at the Hub, or it is private", "HF_TOKEN"]);
    hub.run_with(&project, &[], &[("HF_TOKEN", STRANGER)]).fails_with(&["that the token in HF_TOKEN may read"]);
    hub.run_with(&project, &[], &[("HF_TOKEN", TOKEN)]).exit(0);
    hub.commit("datasets/owner/rows", "main", &[("train.csv", b"a\n1\n")]);
    hub.run(&download("hf://owner/rows"), &[])
        .fails_with(&["no model `owner/rows`", "there is a data set of that name: `hf://datasets/owner/rows`"]);
    hub.run(&download("hf://datasets/owner/row"), &[]).fails_with(&["no data set `owner/row`", "check its name"]);
}

#[test]
fn no_network() {
    let hub = Hub::new();
    let (project, _) = small(&hub);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("http://{free}");
    let ran = hub.run_with(&project, &[], &[("HF_ENDPOINT", &nowhere)]);
    ran.fails_with(&["the Hub cannot be reached", &nowhere, "HF_HUB_OFFLINE=1"]);
    let absent = [("HF_ENDPOINT", "https://hub.invalid")];
    hub.run_with(&project, &[], &absent).fails_with(&["cannot be reached", "https://hub.invalid"]);
    hub.run_with(&project, &[], &[("HF_ENDPOINT", "hub.invalid")]).fails_with(&["HF_ENDPOINT"]);
}

#[test]
fn another_server_than_the_hub() {
    let hub = Hub::new();
    let project = download("hf://owner/small");
    hub.commit("models/owner/small", "main", &[("model.safetensors", &bytes(1, 2000))]);
    let below = format!("{}/elsewhere", hub.endpoint);
    hub.run_with(&project, &[], &[("HF_ENDPOINT", &below)]).fails_with(&["at the Hub"]);
}

#[test]
fn doctor_tells_of_the_hub() {
    let hub = Hub::new();
    let (project, _) = small(&hub);
    let answers = format!("hub        {} answers", hub.endpoint);
    let cache = hub.cache("").display().to_string();
    let doctor = |variables: &[(&str, &str)]| hub.engine(&project, &["doctor"], variables);
    doctor(&[]).exit(0).says(&[&answers, "no token", cache.trim_end_matches('/')]);
    doctor(&[("HF_TOKEN", TOKEN)]).exit(0).says(&[&answers, "the token in HF_TOKEN is accepted"]);
    doctor(&[("HF_TOKEN", "hf_mistyped")]).exit(1).says(&[&answers, "the token in HF_TOKEN is refused"]);
    doctor(&[("HF_HUB_OFFLINE", "1")]).exit(0).says(&["not asked: HF_HUB_OFFLINE is set"]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    doctor(&[("HF_ENDPOINT", &format!("http://{free}"))]).exit(0).says(&["does not answer: the Hub cannot be reached"]);
    doctor(&[("HF_ENDPOINT", "nothing")]).exit(1).says(&["HF_ENDPOINT"]);
}
