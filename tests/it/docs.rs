//! What the documents say of the project is so.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kit::{Server, fixture, fixture_bench};

fn document(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Text between backticks that names a test: a file and a function.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter_map(|span| span.split_once(".rs: ").map(|(file, name)| (file, name.trim()))).collect()
}

#[test]
fn every_promise_has_the_tests_that_it_names() {
    for promise in document("docs/guarantees.md").split("\n- ").skip(1) {
        let tests = named_tests(promise);
        assert!(!tests.is_empty(), "no test is named for: {promise}");
        for (file, name) in tests {
            let code = document(&format!("{file}.rs"));
            assert!(code.contains(&format!("fn {name}(")), "there is no {name} in {file}.rs");
        }
    }
}

/// A block of a document between fences: its language, and its text.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

/// A `curl` of a document: path and query, and the body that it sends.
#[derive(Debug)]
struct Request {
    path: String,
    body: Option<String>,
}

/// Reads a command line: words, some of them in single quotes, with a backslash before a line that goes on.
fn requests(block: &str) -> Vec<Request> {
    let text = block.replace("\\\n", " ");
    let commands = text.lines().filter_map(|line| line.trim().strip_prefix("curl "));
    commands
        .map(|command| {
            let words: Vec<&str> =
                command.split('\'').enumerate().fold(Vec::new(), |mut words, (i, part)| {
                    match i % 2 {
                        0 => words.extend(part.split_whitespace()),
                        _ => words.push(part),
                    }
                    words
                });
            let after = |flag| words.iter().position(|word| *word == flag).map(|i| words[i + 1].to_owned());
            let url = words.iter().find_map(|word| word.strip_prefix("127.0.0.1:3080"));
            let path = url.unwrap_or_else(|| panic!("no address that `make run` serves: {command}"));
            Request { path: path.to_owned(), body: after("-d").or_else(|| after("--json")) }
        })
        .collect()
}

/// Whether an answer shows what an example shows: each field of it, somewhere in the answer.
fn shows(answer: &Value, example: &Value) -> bool {
    let inside = match answer {
        Value::Array(rows) => rows.iter().any(|row| shows(row, example)),
        Value::Object(fields) => fields.values().any(|field| shows(field, example)),
        _ => false,
    };
    inside || is_part(answer, example)
}

/// Whether every field and row of an example is in the answer at the same place.
fn is_part(answer: &Value, example: &Value) -> bool {
    match (answer, example) {
        (Value::Object(answer), Value::Object(example)) => {
            example.iter().all(|(name, field)| answer.get(name).is_some_and(|value| is_part(value, field)))
        }
        (Value::Array(answer), Value::Array(example)) => {
            example.iter().all(|row| answer.iter().any(|value| is_part(value, row)))
        }
        _ => answer == example,
    }
}

/// An example may be a part of an object.
fn parse(example: &str) -> Value {
    let whole = serde_json::from_str(example);
    whole
        .or_else(|_| serde_json::from_str(&format!("{{{example}}}")))
        .unwrap_or_else(|e| panic!("{e}: {example}"))
}

#[test]
fn the_requests_of_the_readme_are_answered_as_it_shows() {
    let source = ["--blocks-dir".into(), fixture("blocks").display().to_string()];
    let bench = fixture_bench();
    let server = Server::start(bench.command("run", "readme", &source));
    server.wait_for("the fixture chain", |status| status["synced"] == true);
    let readme = document("README.md");
    let (mut answers, mut asked, mut examples) = (Vec::new(), 0, 0);
    for (language, block) in blocks(&readme) {
        let requests = requests(block);
        if !requests.is_empty() {
            answers.clear();
        }
        for request in requests {
            let (status, answer) = match &request.body {
                Some(body) => server.post(&request.path, body),
                None => server.get(&request.path),
            };
            assert_eq!(status, 200, "{request:?}: {answer}");
            answers.push(answer);
            asked += 1;
        }
        if language == "json" {
            let example = parse(block);
            assert!(answers.iter().any(|answer| shows(answer, &example)), "no answer shows {example:#}");
            examples += 1;
        }
    }
    assert!(asked > 0 && examples > 0, "the README has {asked} requests and {examples} examples");
}

#[test]
fn examples_are_read_as_they_are_meant() {
    let block = "curl 127.0.0.1:3080/v1/a?b=c\ncurl '127.0.0.1:3080/v1/d?e=f&g=h' \\\n  -d '{\"x y\": 1}'\n";
    let requests = requests(block);
    assert_eq!(requests[0].path, "/v1/a?b=c");
    assert_eq!(
        (requests[1].path.as_str(), requests[1].body.as_deref()),
        ("/v1/d?e=f&g=h", Some("{\"x y\": 1}"))
    );
    let answer = parse(r#"{"rows": [{"a": 1, "b": {"c": [1, 2]}}, {"a": 2}]}"#);
    for (example, shown) in [
        (r#"{"a": 2}"#, true),
        (r#""b": {"c": [2]}"#, true),
        (r#"{"a": 1, "b": {"c": [3]}}"#, false),
        (r#"{"a": 3}"#, false),
        (r#"{"a": 2, "b": {}}"#, false),
    ] {
        assert_eq!(shows(&answer, &parse(example)), shown, "{example}");
    }
}
