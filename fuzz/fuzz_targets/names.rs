//! References such as `tuned[method=dora]/dev`, and the folders of members: what is printed is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plan::views::{member_folder, member_of_folder};
use spec::{reference::Reference, text::YamlPath};

fuzz_target!(|text: &str| {
    match Reference::parse(text) {
        Ok(reference) => {
            let printed = reference.to_string();
            assert_eq!(Reference::parse(&printed).ok().as_ref(), Some(&reference), "{printed}");
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
    }
    let _ = YamlPath::dotted(text).to_string();
    if let Some(member) = member_of_folder(text) {
        assert_eq!(member_of_folder(&member_folder(&member)), Some(member));
    }
    let member = [("axis".to_owned(), text.to_owned())];
    let folder = member_folder(&member);
    assert!(!folder.contains('/') && folder.len() <= 200);
    if !folder.contains('~') {
        assert_eq!(member_of_folder(&folder).as_deref(), Some(&member[..]));
    }
});
