//! References such as `tuned[method=dora]/dev`, and the folders of members: what is written is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plan::views::{member_folder, member_of_folder};
use spec::{reference::Reference, text::YamlPath};

fuzz_target!(|text: &str| {
    match Reference::parse(text) {
        Ok(reference) => {
            assert!(!reference.to_string().is_empty());
            let written = serde_yaml::to_value(&reference).expect("a reference has a YAML form");
            assert_eq!(serde_yaml::from_value(written).ok(), Some(reference));
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
    }
    let _ = YamlPath::dotted(text).to_string();
    if let Some(member) = member_of_folder(text) {
        let folder = member_folder(&member);
        assert!(folder.contains('~') || member_of_folder(&folder) == Some(member));
    }
    let member = [("axis".to_owned(), text.to_owned())];
    let folder = member_folder(&member);
    assert!(!folder.contains('/') && folder.len() <= 200);
    if !folder.contains('~') {
        assert_eq!(member_of_folder(&folder).as_deref(), Some(&member[..]));
    }
});
