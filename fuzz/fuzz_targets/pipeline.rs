//! A pipeline file of any text: read, expanded to its graph, and again with each of its profiles. Every mistake has a
//! message, and a place that lies in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plan::graph::Graph;
use spec::{diagnostic::Diagnostic, pipeline::Pipeline, text::Source};

fn look(faults: &[Diagnostic]) {
    assert!(!faults.is_empty());
    for fault in faults {
        assert!(!fault.message.is_empty());
        if let Some(place) = &fault.place {
            assert!(place.source.text.get(place.start..place.start + place.length).is_some(), "{fault}");
        }
        assert!(!fault.to_string().is_empty());
    }
}

fn open(text: &str, profile: Option<&str>) -> Option<Pipeline> {
    let pipeline = match Pipeline::read(Source::new("p.yaml", text), profile, &[]) {
        Ok(pipeline) => pipeline,
        Err(faults) => {
            look(&faults);
            return None;
        }
    };
    match Graph::expand(&pipeline) {
        Ok(graph) => {
            let mut names: Vec<String> = graph.nodes.iter().map(|node| node.name()).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "two members have one name");
        }
        Err(faults) => look(&faults),
    }
    Some(pipeline)
}

fuzz_target!(|text: &str| {
    let Some(pipeline) = open(text, None) else { return };
    let profiles: Vec<String> = pipeline.profiles().map(str::to_owned).collect();
    for profile in profiles.iter().take(3) {
        open(text, Some(profile));
    }
});
