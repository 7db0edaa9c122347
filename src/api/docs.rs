//! `GET /docs`: the document of the API as a page for people.
//!
//! One file without scripts, which loads nothing: it can be read wherever the server can be reached, and
//! saved.

use std::fmt::{self, Display, Write};
use std::sync::LazyLock;

use serde_json::Value;

use super::openapi;

/// The page.
pub fn page() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let document = serde_json::from_str(openapi::text()).unwrap_or_default();
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = write_page(&mut page, &document);
        page
    });
    &PAGE
}

const STYLE: &str = "\
body { font: 16px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
code, pre { font: 14px/1.4 monospace; background: #f4f4f4 }
pre { padding: .7em; overflow: auto; max-height: 30em }
table { border-collapse: collapse; width: 100%; margin: .5em 0 }
td, th { border-bottom: 1px solid #ddd; padding: .2em .8em .2em 0; text-align: left; vertical-align: top }
h2 { margin-top: 2.5em; border-bottom: 2px solid #222 } h3 { margin-top: 2em }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 } code, pre { background: #262626 } a { color: #8bf }
  td, th { border-color: #444 } h2 { border-color: #ddd }
}";

fn write_page(page: &mut String, document: &Value) -> fmt::Result {
    let title = text(&document["info"]["title"]);
    let version = text(&document["info"]["version"]);
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}: REST API</title>"
    )?;
    write!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body>"
    )?;
    write!(page, "<h1>{title} {version}: REST API</h1>\n{}", Prose(&document["info"]["description"]))?;
    write!(page, "<p>For programs: <a href=\"/openapi.json\">openapi.json</a>.</p>\n<ul>")?;
    let tags: Vec<&Value> = document["tags"].as_array().into_iter().flatten().collect();
    for tag in &tags {
        let name = text(&tag["name"]);
        writeln!(page, "<li><a href=\"#{name}\">{name}</a>: {}</li>", text(&tag["description"]))?;
    }
    writeln!(page, "<li><a href=\"#shapes\">shapes of answers</a></li></ul>")?;
    for tag in tags {
        let name = text(&tag["name"]);
        writeln!(page, "<h2 id=\"{name}\">{name}</h2>\n{}", Prose(&tag["description"]))?;
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let tags = operation["tags"].as_array();
                if tags.is_some_and(|tags| tags.contains(&tag["name"])) {
                    write_operation(page, path, method, operation)?;
                }
            }
        }
    }
    writeln!(page, "<h2 id=\"shapes\">shapes</h2>")?;
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        write_schema(page, name, schema)?;
    }
    writeln!(page, "</body></html>")
}

fn write_operation(page: &mut String, path: &str, method: &str, operation: &Value) -> fmt::Result {
    let (id, method) = (text(&operation["operationId"]), method.to_uppercase());
    writeln!(page, "<h3 id=\"{id}\"><code>{method} {}</code></h3>", Text(path))?;
    writeln!(page, "<p><b>{}</b></p>\n{}", text(&operation["summary"]), Prose(&operation["description"]))?;
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        writeln!(page, "<table><tr><th>parameter<th>in<th>type<th>meaning")?;
    }
    for parameter in &parameters {
        let [name, place, about] = ["name", "in", "description"].map(|field| text(&parameter[field]));
        writeln!(
            page,
            "<tr><td><code>{name}</code><td>{place}<td>{}<td>{about}",
            Type(&parameter["schema"])
        )?;
    }
    if !parameters.is_empty() {
        writeln!(page, "</table>")?;
    }
    let body = &operation["requestBody"]["content"]["application/json"];
    if !body.is_null() {
        writeln!(page, "<p>Body: {}</p>\n<pre>{}</pre>", Type(&body["schema"]), json(&body["example"]))?;
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let content = &response["content"]["application/json"];
        if status == "200" {
            writeln!(page, "<p>Answer: {} {}</p>", text(&response["description"]), Type(&content["schema"]))?;
            let example = &content["examples"]["regtest"];
            if !example.is_null() {
                let (summary, value) = (text(&example["summary"]), json(&example["value"]));
                writeln!(
                    page,
                    "<details><summary><code>{summary}</code></summary><pre>{value}</pre></details>"
                )?;
            }
            writeln!(page, "<details><summary>other answers</summary><table>")?;
        } else {
            writeln!(page, "<tr><td>{}<td>{}", Text(status), Prose(&response["description"]))?;
        }
    }
    writeln!(page, "</table></details>")
}

fn write_schema(page: &mut String, name: &str, schema: &Value) -> fmt::Result {
    writeln!(page, "<h3 id=\"schema-{0}\">{0}</h3>\n{1}", Text(name), Prose(&schema["description"]))?;
    let Some(fields) = schema["properties"].as_object() else {
        return writeln!(page, "<p>{}</p>", Type(schema));
    };
    writeln!(page, "<table><tr><th>field<th>type<th>meaning")?;
    for (field, schema) in fields {
        // Of something that may be null, it stands with what it is otherwise.
        let about = [&schema["description"], &schema["oneOf"][0]["description"]];
        let about = text(about.into_iter().find(|about| about.is_string()).unwrap_or(&Value::Null));
        writeln!(page, "<tr><td><code>{}</code><td>{}<td>{about}", Text(field), Type(schema))?;
    }
    writeln!(page, "</table>")
}

fn text(value: &Value) -> Text<'_> {
    Text(value.as_str().unwrap_or_default())
}

fn json(value: &Value) -> String {
    Text(&format!("{value:#}")).to_string()
}

/// Text with what HTML would take for its own written out, and with code between backticks.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Paragraphs.
struct Prose<'a>(&'a Value);

impl Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paragraphs = self.0.as_str().unwrap_or_default().split("\n\n").filter(|text| !text.is_empty());
        for paragraph in paragraphs {
            f.write_str("<p>")?;
            for (i, line) in paragraph.split("\n- ").enumerate() {
                f.write_str(if i > 0 { "<br>" } else { "" })?;
                for (i, part) in line.strip_prefix("- ").unwrap_or(line).split('`').enumerate() {
                    let (before, after) = if i % 2 == 1 { ("<code>", "</code>") } else { ("", "") };
                    write!(f, "{before}{}{after}", Text(part))?;
                }
            }
            f.write_str("</p>")?;
        }
        Ok(())
    }
}

/// What a schema allows, in a few words.
struct Type<'a>(&'a Value);

impl Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.0;
        if let Some(name) = schema["$ref"].as_str().and_then(|link| link.rsplit('/').next()) {
            return write!(f, "<a href=\"#schema-{0}\">{0}</a>", Text(name));
        }
        if let Some(kinds) = schema["oneOf"].as_array() {
            for (i, kind) in kinds.iter().enumerate() {
                write!(f, "{}{}", if i > 0 { " or " } else { "" }, Type(kind))?;
            }
            return Ok(());
        }
        if let Some(names) = schema["enum"].as_array() {
            let names: Vec<String> =
                names.iter().map(|name| format!("<code>{}</code>", text(name))).collect();
            return f.write_str(&names.join(", "));
        }
        match &schema["type"] {
            Value::String(kind) if kind == "array" => write!(f, "list of {}", Type(&schema["items"])),
            Value::String(kind) => write!(f, "{}", Text(kind)),
            Value::Array(kinds) => {
                let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
                write!(f, "{}", Text(&kinds.join(" or ")))
            }
            _ => Ok(()),
        }?;
        match schema["pattern"].as_str() {
            Some(pattern) => write!(f, " <code>{}</code>", Text(pattern)),
            None => Ok(()),
        }
    }
}
