//! As much of JSON Schema as the published schemas use. A keyword that it does not know is a failure,
//! so that no schema promises what is not looked at.

#![allow(dead_code)]

use std::path::Path;

use serde_json::Value;

const DESCRIBES: [&str; 5] = ["$schema", "$id", "$defs", "title", "description"];

/// The ways in which `value` is not what the schema `docs/schema/<name>` says.
pub fn violations(name: &str, value: &Value) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(name);
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut found = Vec::new();
    check(&schema, &schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    for (keyword, expected) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            keyword if DESCRIBES.contains(&keyword) => true,
            "$ref" => {
                let pointer = expected.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(pointer).unwrap(), value, place, found);
                true
            }
            "const" => value == expected,
            "enum" => expected.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|value| value >= expected.as_f64().unwrap()),
            "type" => match expected {
                Value::Array(types) => types.iter().any(|name| is_of_type(value, name)),
                name => is_of_type(value, name),
            },
            "required" => expected
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, schema) in expected.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(root, schema, value, &format!("{place}/{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                let others = value.as_object().into_iter().flatten();
                let mut is_allowed = true;
                for (name, value) in others.filter(|(name, _)| !known.contains_key(*name)) {
                    match expected {
                        Value::Bool(allowed) => is_allowed &= allowed,
                        schema => check(root, schema, value, &format!("{place}/{name}"), found),
                    }
                }
                is_allowed
            }
            "items" => {
                for (at, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, expected, value, &format!("{place}/{at}"), found);
                }
                true
            }
            keyword => panic!("the schema uses `{keyword}`, which nothing checks"),
        };
        if !holds {
            found.push(format!("{place}: {keyword} {expected}, found {value}"));
        }
    }
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        name => panic!("unknown type {name}"),
    }
}
