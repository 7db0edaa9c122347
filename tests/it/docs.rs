//! What the documents say of the project is so.

use std::path::Path;

/// Text between backticks that names a test: a file and a function.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter_map(|span| span.split_once(".rs: ").map(|(file, name)| (file, name.trim()))).collect()
}

#[test]
fn every_promise_has_the_tests_that_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    for promise in text.split("\n- ").skip(1) {
        let tests = named_tests(promise);
        assert!(!tests.is_empty(), "no test is named for: {promise}");
        for (file, name) in tests {
            let path = root.join(format!("{file}.rs"));
            let code = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(code.contains(&format!("fn {name}(")), "there is no {name} in {file}.rs");
        }
    }
}
