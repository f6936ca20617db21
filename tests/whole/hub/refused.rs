//! What the Hub refuses, and what is said of it.

use std::net::TcpListener;

use super::{
    bytes, download,
    models::small,
    server::{Hub, Odd, SIGNATURE, STRANGER, TOKEN},
    texts,
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
    let commit = hub.commit("models/owner/small", "main", &[("model.safetensors", &bytes(1, 2000))]);
    let project = download("hf://owner/small");
    let below = format!("{}/elsewhere", hub.endpoint);
    hub.run_with(&project, &[], &[("HF_ENDPOINT", &below)]).fails_with(&["at the Hub"]);
    let list = "/api/models/owner/small/revision/main";
    let file = format!("/owner/small/resolve/{commit}/model.safetensors");
    let to = |address: &str| vec![("Location", address.to_owned())];
    let contents = format!("{}/x?{SIGNATURE}", hub.endpoint);
    let odd: [(&str, Odd, &str); 8] = [
        (list, (200, vec![], "<html>a page to log in</html>"), "answers oddly"),
        (list, (200, vec![], r#"{"sha": "../../x", "siblings": []}"#), "names no commit"),
        (list, (302, vec![], ""), "sends on to nowhere"),
        (list, (302, to(list), ""), "lead around in a ring"),
        (list, (302, to("file:///etc/passwd"), ""), "leads to no address"),
        (&file, (302, to(&contents), ""), "the Hub answered 404"),
        (&file, (200, vec![("X-Repo-Commit", "0".repeat(40))], "x"), "answers with commit 0000"),
        (&file, (200, vec![("X-Linked-Etag", "f".repeat(64))], "x"), "answers with contents ffff"),
    ];
    for (path, answer, message) in odd {
        hub.state().odd.insert(path.to_owned(), answer);
        hub.run_with(&project, &[], &[("HF_TOKEN", TOKEN)]).failed(&["got"]).fails_with(&[message]);
        hub.state().odd.clear();
    }
    hub.run(&project, &[]).exit(0);
    assert!(!texts(&project.path("")).contains(SIGNATURE));
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
