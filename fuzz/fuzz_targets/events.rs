//! What a stage's program prints, any bytes: events are handed on, everything else goes to the log, nothing is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plan::process::read_events;
use spec::job::Event;

fuzz_target!(|bytes: &[u8]| {
    let (mut log, mut events) = (Vec::new(), Vec::new());
    let verdict = read_events(bytes, &mut log, &mut |event| events.push(event)).expect("nothing here can fail");
    assert_eq!(verdict, events.iter().rfind(|event| matches!(event, Event::Finished | Event::Failed(_))).cloned());
    for event in &events {
        let line = serde_json::to_vec(event).expect("an event is JSON");
        assert_eq!(serde_json::from_slice::<Event>(&line).ok().as_ref(), Some(event));
    }
    assert!(log.len() <= bytes.len());
    assert!(!events.is_empty() || log == bytes);
});
