//! The document that figures are written into.

use std::path::Path;

/// Where the figures of the benchmarks stand.
pub const PERFORMANCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");

/// Puts a text between the markers with this name.
///
/// # Panics
/// Where the document has no such markers.
pub fn replace(document: &Path, name: &str, text: &str) {
    let old = std::fs::read_to_string(document).expect("the document can be read");
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let parts = old.split_once(&begin).and_then(|(head, rest)| Some((head, rest.split_once(&end)?.1)));
    let (head, tail) = parts.expect("the document has the markers");
    let new = format!("{head}{begin}\n{}\n{end}{tail}", text.trim_end());
    std::fs::write(document, new).expect("the document can be written");
}
