//! Whether a value fits a schema of the document: as much of JSON Schema as the document uses, and an error
//! for anything else, so that no rule goes unchecked.

use serde_json::{Map, Value};

/// Panics with the place in `value` that does not fit.
pub(super) fn check(document: &Value, schema: &Value, value: &Value, what: &str) {
    if let Err(error) = fits(document, schema, value, "$") {
        panic!("{what}: {error}\n{value:#}");
    }
}

fn fits(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let rules = schema.as_object().ok_or_else(|| format!("{place}: {schema} is no schema"))?;
    for (rule, wanted) in rules {
        if !fits_rule(document, rules, rule, wanted, value, place)? {
            return Err(format!("{place}: {value} breaks {rule}: {wanted}"));
        }
    }
    Ok(())
}

fn fits_rule(
    document: &Value,
    rules: &Map<String, Value>,
    rule: &str,
    wanted: &Value,
    value: &Value,
    place: &str,
) -> Result<bool, String> {
    let list = || wanted.as_array().unwrap();
    let number = || wanted.as_i64().unwrap();
    Ok(match rule {
        "description" | "format" | "example" | "title" => true,
        "$ref" => {
            let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
            fits(document, document.pointer(pointer).expect("a reference leads somewhere"), value, place)?;
            true
        }
        "oneOf" => {
            let fitting = list().iter().filter(|schema| fits(document, schema, value, place).is_ok());
            fitting.count() == 1
        }
        "type" => match wanted {
            Value::Array(kinds) => kinds.iter().any(|kind| is_a(value, kind)),
            kind => is_a(value, kind),
        },
        "enum" => list().contains(value),
        "pattern" => value.as_str().is_none_or(|text| matches(wanted.as_str().unwrap(), text)),
        "minimum" => value.as_i64().is_none_or(|value| value >= number()),
        "maximum" => value.as_i64().is_none_or(|value| value <= number()),
        "minItems" => value.as_array().is_none_or(|items| items.len() as i64 >= number()),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as i64 <= number()),
        "items" => {
            for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                fits(document, wanted, item, &format!("{place}[{i}]"))?;
            }
            true
        }
        "required" => list().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "properties" => {
            for (name, field) in value.as_object().into_iter().flatten() {
                // Fields that nobody documented are mistakes here, though clients must ignore them.
                let schema = wanted.get(name).ok_or_else(|| format!("{place}.{name} is not documented"))?;
                fits(document, schema, field, &format!("{place}.{name}"))?;
            }
            true
        }
        "additionalProperties" => {
            for (name, field) in value.as_object().into_iter().flatten() {
                fits(document, wanted, field, &format!("{place}.{name}"))?;
            }
            true
        }
        "propertyNames" => {
            for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
                fits(document, wanted, &Value::from(name.as_str()), &format!("{place}.{name}"))?;
            }
            true
        }
        other => return Err(format!("{place}: the rule {other} of {rules:?} is not known here")),
    })
}

fn is_a(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not known here"),
    }
}

/// Patterns are parsed by the engine that the document's readers use, too; it finds, and they are anchored.
fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).unwrap().is_match(text)
}

#[test]
fn what_does_not_fit_is_found() {
    use serde_json::json;
    let document =
        json!({"components": {"schemas": {"Hash": {"type": "string", "pattern": "^[0-9a-f]{4}$"}}}});
    let schema = json!({
        "type": "object",
        "required": ["hash", "count"],
        "properties": {
            "hash": {"$ref": "#/components/schemas/Hash"},
            "count": {"type": ["integer", "null"], "minimum": 0},
            "more": {"oneOf": [{"type": "null"}, {"type": "array", "items": {"enum": ["a"]}, "maxItems": 1}]},
        },
    });
    let fits = |value: Value| fits(&document, &schema, &value, "$").is_ok();
    assert!(fits(json!({"hash": "00ff", "count": 1, "more": ["a"]})));
    assert!(fits(json!({"hash": "00ff", "count": null, "more": null})));
    for wrong in [
        json!([]),
        json!({"hash": "00ff"}),
        json!({"hash": "00f", "count": 1}),
        json!({"hash": "00ff", "count": -1}),
        json!({"hash": "00ff", "count": "1"}),
        json!({"hash": "00ff", "count": 1, "more": ["b"]}),
        json!({"hash": "00ff", "count": 1, "more": ["a", "a"]}),
        json!({"hash": "00ff", "count": 1, "other": 1}),
    ] {
        assert!(!fits(wrong.clone()), "{wrong}");
    }
}
