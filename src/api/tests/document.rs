//! The document of the API: it is what the handlers say, and answers are what it says.
//!
//! `make openapi` writes the documents anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::regtest::Regtest;
use super::{Fixture, Reply, schema};
use crate::api::openapi::{self, Answers, Example};
use crate::api::query::MAX_LIMIT;

/// Set by `make openapi`.
const WRITE: &str = "BTKN_WRITE_SCHEMA";

/// Whoever sends these paths anything learns nothing about parameters: they have none, or read nothing.
const SAMPLE: &str = "x";

fn request(example: &Example) -> Request<Body> {
    let request = Request::builder().method(example.method.to_uppercase().as_str()).uri(&example.request);
    match &example.body {
        Some(body) => {
            request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string()))
        }
        None => request.body(Body::empty()),
    }
    .unwrap()
}

/// What the examples are answered, on the chain of the fixture.
async fn answers() -> Answers {
    let regtest = Regtest::open();
    let mut answers = Answers::new();
    for example in openapi::examples() {
        let reply = regtest.send(request(&example)).await;
        assert_eq!(reply.status, 200, "{}: {}", example.request, reply.body);
        answers.insert(example.operation, reply.body);
    }
    answers
}

fn committed(name: &str) -> Value {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn the_committed_document_is_what_the_handlers_say_and_answer() {
    let answers = answers().await;
    let answered = serde_json::to_value(&answers).unwrap();
    let files = [("schema/examples.json", answered), ("schema/openapi.json", openapi::document(&answers))];
    for (name, value) in files {
        if std::env::var_os(WRITE).is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            std::fs::write(path, format!("{value:#}\n")).unwrap();
        }
        assert!(committed(name) == value, "{name} is out of date: run `make openapi`");
    }
}

#[tokio::test]
async fn every_operation_has_an_example_and_a_name_of_its_own() {
    let mut document = committed("schema/openapi.json");
    let with_example: BTreeSet<_> =
        openapi::examples().into_iter().map(|example| example.operation).collect();
    let mut names = BTreeSet::new();
    for (path, _, operation) in operations(&mut document) {
        let name = operation["operationId"].as_str().unwrap().to_owned();
        let is_json = !operation["responses"]["200"]["content"]["application/json"].is_null();
        assert_eq!(with_example.contains(&name), is_json, "{path} has an example, unless it is no JSON");
        assert!(names.insert(name), "{path}");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{path} has no summary");
    }
}

/// Rules that are `null` are none, and programs that read the document stop at them.
#[test]
fn nothing_in_the_document_is_null_but_values_of_examples() {
    fn nulls(value: &Value, place: &str, found: &mut Vec<String>) {
        match value {
            Value::Null => found.push(place.to_owned()),
            Value::Object(fields) => {
                let rules = fields.iter().filter(|(name, _)| !name.starts_with("example"));
                rules.for_each(|(name, value)| nulls(value, &format!("{place}/{name}"), found));
            }
            Value::Array(values) => values.iter().for_each(|value| nulls(value, place, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    nulls(&openapi::document(&Answers::new()), "", &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

/// The answers that the document has, by path template, method and status.
pub(super) struct Schemas {
    document: Value,
    operations: BTreeMap<(String, String), Value>,
}

impl Schemas {
    pub(super) fn new() -> Schemas {
        let mut document = committed("schema/openapi.json");
        let operations = operations(&mut document).into_iter();
        let operations = operations.map(|(path, method, operation)| ((path, method), operation)).collect();
        Schemas { document, operations }
    }

    /// Panics unless the answer is one that the document has for a path.
    pub(super) fn check(&self, template: &str, method: &str, reply: &Reply, what: &str) {
        let operation = &self.operations[&(template.to_owned(), method.to_owned())];
        let response = &operation["responses"][reply.status.as_str()];
        let schema = &response["content"]["application/json"]["schema"];
        assert!(!schema.is_null(), "{what}: {method} {template} has no {}", reply.status);
        if let Some(codes) = response["x-codes"].as_array() {
            assert!(codes.contains(&json!(reply.code())), "{what}: {}", reply.body);
        }
        schema::check(&self.document, schema, &reply.body, what);
    }
}

fn operations(document: &mut Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object_mut().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
    });
    all.collect()
}

/// The template of the document that a path belongs to.
fn template(path: &str) -> String {
    let path = path.split('?').next().unwrap();
    let fits = |template: &str| {
        let (a, b) = (template.split('/'), path.split('/'));
        a.clone().count() == b.clone().count() && a.zip(b).all(|(a, b)| a == b || a.starts_with('{'))
    };
    let all = operations(&mut committed("schema/openapi.json"));
    all.into_iter().map(|(template, ..)| template).find(|template| fits(template)).unwrap()
}

#[tokio::test]
async fn every_answer_on_the_chain_of_the_fixture_fits_its_schema() {
    let (regtest, schemas) = (Regtest::open(), Schemas::new());
    for example in openapi::examples() {
        let reply = regtest.send(request(&example)).await;
        schemas.check(&template(&example.request), &example.method, &reply, &example.request);
    }
    for path in regtest.paths().await {
        let reply = regtest.get(&path).await;
        assert_eq!(reply.status, 200, "{path}");
        schemas.check(&template(&path), "get", &reply, &path);
    }
}

/// A value that no parameter takes for one of its own, but that every path gets to see.
fn sample(path: &str, parameter: &Value) -> String {
    let name = parameter["name"].as_str().unwrap();
    let example = &parameter["example"];
    assert!(parameter["in"] != "path" || !example.is_null(), "{path} has no example of {name}");
    match example {
        Value::String(text) => text.clone(),
        Value::Null if name == "limit" => MAX_LIMIT.to_string(),
        Value::Null => SAMPLE.into(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn paths_have_the_parameters_of_the_document_and_no_others() {
    let regtest = Regtest::open();
    let all = operations(&mut committed("schema/openapi.json"));
    let of = |operation: &Value, place: &str| -> Vec<Value> {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.filter(|parameter| parameter["in"] == place).cloned().collect()
    };
    let names: BTreeSet<String> = all
        .iter()
        .flat_map(|(_, _, operation)| of(operation, "query"))
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect();
    for (template, method, operation) in &all {
        let mut path = template.clone();
        for parameter in of(operation, "path") {
            let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
            path = path.replace(&name, &sample(template, &parameter));
        }
        let own: BTreeMap<String, String> = of(operation, "query")
            .iter()
            .map(|parameter| (parameter["name"].as_str().unwrap().to_owned(), sample(template, parameter)))
            .collect();
        for name in &names {
            let value = own.get(name).map_or(SAMPLE, String::as_str);
            let of = |example: &Example| operation["operationId"] == example.operation.as_str();
            let body = openapi::examples().into_iter().find(of).and_then(|example| example.body);
            let request_path = format!("{path}?{name}={value}");
            let example =
                Example { operation: String::new(), method: method.clone(), request: request_path, body };
            let reply = regtest.send(request(&example)).await;
            let unknown = reply.code() == "unknown_parameter";
            assert_eq!(unknown, !own.contains_key(name), "{method} {}: {}", example.request, reply.body);
        }
    }
}

#[tokio::test]
async fn the_document_and_a_page_for_people_are_served() {
    let fixture = Fixture::new(0);
    let reply = fixture.get("/openapi.json").await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/json"));
    assert_eq!(reply.body["openapi"], "3.1.0");
    assert_eq!(reply.body, committed("schema/openapi.json"));
    let (status, headers, page) = fixture.text(Request::get("/docs").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status.as_u16(), headers["content-type"].to_str().unwrap()),
        (200, "text/html; charset=utf-8")
    );
    for (path, _, operation) in operations(&mut committed("schema/openapi.json")) {
        assert!(page.contains(&format!("{path}</code>")), "{path}");
        assert!(page.contains(operation["summary"].as_str().unwrap()), "{path}");
    }
    // It needs nothing from elsewhere, and every link leads somewhere.
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
    for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(page.contains(&format!("id=\"{link}\"")), "{link}");
    }
}

#[test]
fn the_guide_names_every_path_and_no_other() {
    let guide = include_str!("../../../schema/rest.md");
    let paths: BTreeSet<String> =
        operations(&mut committed("schema/openapi.json")).into_iter().map(|(path, ..)| path).collect();
    let named = guide.split('`').skip(1).step_by(2).map(|code| code.strip_prefix("POST ").unwrap_or(code));
    let named: BTreeSet<String> =
        named.filter(|code| code.starts_with('/') && !code.contains('…')).map(str::to_owned).collect();
    let own = ["/openapi.json", "/docs"];
    assert!(paths.iter().all(|path| named.contains(path)), "{:?}", paths.difference(&named));
    let other: Vec<_> = named.difference(&paths).filter(|path| !own.contains(&path.as_str())).collect();
    assert!(other.is_empty(), "{other:?}");
}
