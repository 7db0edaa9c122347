//! The document of the API, OpenAPI 3.1, made from the handlers.
//!
//! What every path, every read of the state and every list has in common is said here and added to each:
//! errors with their codes, headers, the answer to a client that has it already. Shapes that are composed
//! of others are written out, as a program that is generated from the document likes them best. Examples of
//! answers were recorded on the chain of `fixtures/regtest` (`schema/examples.json`), and a test records
//! them again and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use utoipa::openapi::{self, ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder};

use super::endpoints;
use super::error::Code;
use super::schemas;

/// Where the document refers to schemas.
const SCHEMAS: &str = "#/components/schemas/";

/// Codes of errors that any request can meet.
const OF_ALL: &[Code] = &[
    Code::UnknownParameter,
    Code::DuplicateParameter,
    Code::BadQuery,
    Code::BadRequest,
    Code::Timeout,
    Code::PayloadTooLarge,
    Code::UriTooLong,
    Code::HeadersTooLarge,
    Code::InternalError,
    Code::Busy,
];

/// Codes that a read of the state can meet.
const OF_STATE: &[Code] = &[
    Code::BadBlock,
    Code::BadParameter,
    Code::BlockNotFound,
    Code::HistoryPruned,
    Code::StoreError,
    Code::CatchingUp,
];

/// Codes that a page of a list can meet.
const OF_LISTS: &[Code] = &[Code::BadParameter, Code::BadCursor, Code::CursorReorged];

const DESCRIPTION: &str = "\
BTKN token balances, rebuilt from Bitcoin blocks alone.

Token amounts are strings of decimal digits in base units. Every answer from the state says in `as_of` which \
block and which snapshots it rests on; what happened on Spark after these snapshots is not in it. \
`height` or `block` reads the state as of an earlier block. A list continues with `next_cursor`, and is the \
list of one block, however many come while it is read. A field without a value is `null`, never left out; \
new fields may be added. Every error is `{\"error\": {\"code\", \"message\"}}` with a stable code.

Examples are of the regtest chain that `make run` serves.";

/// An example as it is declared with a handler.
#[derive(Clone, Debug)]
pub struct Example {
    /// Which operation.
    pub operation: String,
    /// `get` or `post`.
    pub method: String,
    /// Path and query.
    pub request: String,
    /// Body of the request.
    pub body: Option<Value>,
}

/// Answers of examples, by operation.
pub type Answers = BTreeMap<String, Value>;

/// What the document begins with.
pub fn head() -> OpenApi {
    let tags = [
        ("server", "The server itself: progress, entities, health."),
        ("chain", "Blocks with their events, and messages that had no effect."),
        ("tokens", "Tokens and who owns them."),
        ("owners", "What an owner has."),
        ("ttxos", "Token outputs on Spark that a snapshot declared."),
        ("exits", "Withdrawals to L1."),
        ("snapshots", "Snapshots that entities inscribed."),
    ];
    let tags = tags.map(|(name, description)| {
        let mut tag = openapi::Tag::new(name);
        tag.description = Some(description.into());
        tag
    });
    let info = InfoBuilder::new()
        .title("btkn-indexer")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(License::builder().name("MIT").identifier(Some("MIT")).build()));
    let here = openapi::Server::new("/");
    let components = ComponentsBuilder::new().schemas_from_iter(schemas::of_parameters()).build();
    let document = OpenApiBuilder::new().info(info.build()).servers(Some([here])).tags(Some(tags));
    document.components(Some(components)).build()
}

/// The document as it is served and committed.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let answers = serde_json::from_str(include_str!("../../schema/examples.json")).unwrap_or_default();
        let mut text = format!("{:#}", document(&answers));
        text.push('\n');
        text
    });
    &TEXT
}

/// The document with these answers as examples.
pub fn document(answers: &Answers) -> Value {
    let mut document = from_handlers();
    for operation in operations(&mut document) {
        let example = take_example(&operation.path, &operation.method, operation.value);
        complete(operation.value);
        if let Some(example) = example {
            show(&operation.path, operation.value, &example, answers.get(&example.operation));
        }
    }
    let asked = asked(&document["paths"]);
    write_out(&mut document["components"]["schemas"], &asked);
    document["components"]["schemas"]["Error"] = error_schema();
    drop_unused(&mut document);
    widen(&mut document);
    document
}

/// The examples that the handlers declare.
pub fn examples() -> Vec<Example> {
    let mut document = from_handlers();
    let operations = operations(&mut document).into_iter();
    operations.filter_map(|o| take_example(&o.path, &o.method, o.value)).collect()
}

fn from_handlers() -> Value {
    serde_json::to_value(endpoints::all().into_openapi()).unwrap_or_default()
}

struct Operation<'a> {
    path: String,
    method: String,
    value: &'a mut Value,
}

fn operations(document: &mut Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let all = paths.flat_map(|(path, item)| {
        let methods = item.as_object_mut().into_iter().flatten();
        methods.map(|(method, value)| Operation { path: path.clone(), method: method.clone(), value })
    });
    all.collect()
}

fn take_example(path: &str, method: &str, operation: &mut Value) -> Option<Example> {
    let request = take(operation, "x-example")?;
    let request = request.as_str().unwrap_or(path).to_owned();
    let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
    Some(Example { operation: name, method: method.into(), request, body: take(operation, "x-example-body") })
}

fn take(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut()?.remove(key)
}

/// Adds what an operation has in common with others.
fn complete(operation: &mut Value) {
    let own = take(operation, "x-errors").unwrap_or_default();
    let own: Vec<&str> = own.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let has = |name: &str| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.filter(|parameter| parameter["in"] == "query").any(|parameter| parameter["name"] == name)
    };
    let (reads_state, is_list) = (has("allow_stale"), has("cursor"));
    let is_named = |code: &Code| own.contains(&code.as_str());
    let mut codes: BTreeSet<Code> = OF_ALL.iter().copied().collect();
    codes.extend(Code::ALL.iter().copied().filter(is_named));
    codes.extend(OF_STATE.iter().filter(|_| reads_state));
    codes.extend(OF_LISTS.iter().filter(|_| is_list));
    if has("limit") {
        codes.insert(Code::BadParameter);
    }
    for code in Code::ALL.iter().filter(|code| codes.contains(code)) {
        let response = &mut operation["responses"][code.status().as_str()];
        add_code(response, *code);
    }
    if reads_state {
        let not_again = "The client has the answer already, as its `If-None-Match` says; no body.";
        operation["responses"]["304"] = json!({ "description": not_again });
        for status in ["200", "304"] {
            operation["responses"][status]["headers"] = state_headers();
        }
    }
}

/// One line per code; programs find the codes under `x-codes`.
fn add_code(response: &mut Value, code: Code) {
    if response.is_null() {
        let schema = json!({ "$ref": format!("{SCHEMAS}Error") });
        *response = json!({
            "description": "",
            "content": { "application/json": { "schema": schema } },
            "x-codes": [],
        });
        if code.status().as_u16() == 503 {
            let seconds = json!({ "type": "integer", "minimum": 0 });
            response["headers"]["Retry-After"] =
                json!({ "description": "Seconds after which it is worth another try.", "schema": seconds });
        }
    }
    let described = response["description"].as_str().unwrap_or_default();
    let separator = if described.is_empty() { "" } else { "\n" };
    response["description"] = format!("{described}{separator}- `{code}`: {}", code.meaning()).into();
    if let Some(codes) = response["x-codes"].as_array_mut() {
        codes.push(code.as_str().into());
    }
}

fn state_headers() -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "btkn-height": {
            "description": "Height of the block that the answer rests on.",
            "schema": { "$ref": format!("{SCHEMAS}Height") },
        },
        "btkn-block-hash": {
            "description": "Its hash.",
            "schema": { "$ref": format!("{SCHEMAS}BlockHash") },
        },
        "btkn-synced": {
            "description": "Whether the best block known was applied.",
            "schema": { "type": "string", "enum": ["true", "false"] },
        },
        "etag": text("Changes with the block that the answer rests on."),
        "cache-control": text("A second at the tip; for ever where the block is 100 blocks deep."),
    })
}

/// Shows an example: its parameters, the body of the request, and the answer.
fn show(path: &str, operation: &mut Value, example: &Example, answer: Option<&Value>) {
    let (request, query) = example.request.split_once('?').unwrap_or((&example.request, ""));
    let in_path = path.split('/').zip(request.split('/'));
    let in_path =
        in_path.filter_map(|(name, value)| Some((name.strip_prefix('{')?.strip_suffix('}')?, value)));
    let in_query = query.split('&').filter_map(|pair| pair.split_once('='));
    let in_path = in_path.map(|(name, value)| (("path", name), value));
    let in_query = in_query.map(|(name, value)| (("query", name), value));
    let values: BTreeMap<(&str, &str), &str> = in_path.chain(in_query).collect();
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let place = parameter["in"].as_str().zip(parameter["name"].as_str());
        let Some(text) = place.and_then(|place| values.get(&place)) else { continue };
        let is_number = parameter["schema"]["type"] == "integer";
        let number = text.parse::<u64>().ok().filter(|_| is_number).map(Value::from);
        parameter["example"] = number.unwrap_or_else(|| Value::from(*text));
    }
    if let Some(body) = &example.body {
        operation["requestBody"]["content"]["application/json"]["example"] = body.clone();
    }
    if let Some(answer) = answer {
        let summary = format!("{} {}", example.method.to_uppercase(), example.request);
        operation["responses"]["200"]["content"]["application/json"]["examples"] =
            json!({ "regtest": { "summary": summary, "value": answer } });
    }
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "description": "What is wrong.",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": {
                        "type": "string",
                        "description": "A stable name, for programs.",
                        "enum": Code::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>(),
                    },
                    "message": {
                        "type": "string",
                        "description": "For people; it may change.",
                    },
                },
            },
        },
    })
}

/// Writes every object out: the fields of the parts that it is composed of become its own. All fields of
/// an answer are always there.
fn write_out(schemas: &mut Value, asked: &BTreeSet<String>) {
    let composed = schemas.clone();
    let answered = schemas.as_object_mut().into_iter().flatten().filter(|(name, _)| !asked.contains(*name));
    for (_, schema) in answered {
        for one in schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(fields) = one["properties"].as_object() {
                one["required"] = fields.keys().cloned().collect();
            }
        }
        let fields = fields(schema, &composed);
        if fields.is_empty() {
            continue;
        }
        let description = take(schema, "description");
        let names: Vec<&String> = fields.keys().collect();
        *schema = json!({ "type": "object", "required": names, "properties": fields });
        if let Some(description) = description {
            schema["description"] = description;
        }
    }
}

/// What requests consist of: a field of theirs may be left out, if its annotation says so.
fn asked(paths: &Value) -> BTreeSet<String> {
    let operations = paths.as_object().into_iter().flatten().flat_map(|(_, item)| item.as_object());
    let bodies = operations.flatten().map(|(_, operation)| &operation["requestBody"]);
    bodies.flat_map(references).collect()
}

fn fields(schema: &Value, schemas: &Value) -> Map<String, Value> {
    if let Some(name) = schema["$ref"].as_str().and_then(|text| text.strip_prefix(SCHEMAS)) {
        return fields(&schemas[name], schemas);
    }
    let mut all = Map::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        all.extend(fields(part, schemas));
    }
    all.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    all
}

/// Drops schemas that nothing refers to, being parts of others.
fn drop_unused(document: &mut Value) {
    let mut used = BTreeSet::new();
    let mut open = vec![document["paths"].clone()];
    while let Some(value) = open.pop() {
        for name in references(&value) {
            if used.insert(name.clone()) {
                open.push(document["components"]["schemas"][&name].clone());
            }
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| used.contains(name));
    }
}

/// Numbers that have no sign and 32 bits do not fit into those that `int32` means.
fn widen(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("format").is_some_and(|format| format == "int32") {
                fields.insert("format".into(), "int64".into());
            }
            fields.values_mut().for_each(widen);
        }
        Value::Array(values) => values.iter_mut().for_each(widen),
        _ => {}
    }
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(SCHEMAS));
            own.map(str::to_owned).into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(values) => values.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
