//! TOML as a tree of values that know their line.

use config::{Map, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The tables whose keys contain dots themselves.
pub(super) const DOTTED: [&str; 2] = ["properties", "properties_files"];

/// A TOML document as a table; or the lines that are wrong and why.
///
/// `origin` turns a line, counted from 1, into what errors call it.
pub(super) fn document(
    text: &str,
    origin: &dyn Fn(usize) -> String,
) -> Result<Map<String, Value>, Vec<(usize, String)>> {
    let line = |position: usize| {
        let before = &text.as_bytes()[..position.min(text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    };
    let (table, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        let faults = faults.iter().map(|fault| {
            (line(fault.span().map_or(0, |span| span.start)), fault.message().replace('\n', "; "))
        });
        return Err(faults.collect());
    }
    let mut map = convert_table(table.get_ref(), &|position| origin(line(position)));
    flatten_properties(&mut map);
    Ok(map)
}

fn convert_table(table: &DeTable<'_>, origin: &dyn Fn(usize) -> String) -> Map<String, Value> {
    table
        .iter()
        .map(|(key, value)| (key.get_ref().to_string(), convert(value, key.span().start, origin)))
        .collect()
}

/// `position` is where the value's key stands: the line people look for.
fn convert(
    value: &Spanned<DeValue<'_>>,
    position: usize,
    origin: &dyn Fn(usize) -> String,
) -> Value {
    let kind = match value.get_ref() {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => ValueKind::I64(number),
            Err(_) => ValueKind::Float(f64::INFINITY),
        },
        DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
        DeValue::Datetime(time) => ValueKind::String(time.to_string()),
        DeValue::Array(items) => ValueKind::Array(
            items.iter().map(|item| convert(item, item.span().start, origin)).collect(),
        ),
        DeValue::Table(table) => ValueKind::Table(convert_table(table, origin)),
    };
    Value::new(Some(&origin(position)), kind)
}

/// `sasl.mechanism = "PLAIN"` nests in TOML; a property's name is the whole of it.
pub(super) fn flatten_properties(map: &mut Map<String, Value>) {
    let Some(Value { kind: ValueKind::Table(kafka), .. }) = map.get_mut("kafka") else { return };
    for name in DOTTED {
        if let Some(Value { kind: ValueKind::Table(properties), .. }) = kafka.get_mut(name) {
            let mut flat = Map::new();
            flatten("", std::mem::take(properties), &mut flat);
            *properties = flat;
        }
    }
}

fn flatten(prefix: &str, table: Map<String, Value>, flat: &mut Map<String, Value>) {
    for (key, value) in table {
        match value.kind {
            ValueKind::Table(inner) => flatten(&format!("{prefix}{key}."), inner, flat),
            _ => {
                flat.insert(format!("{prefix}{key}"), value);
            }
        }
    }
}

/// A list or table on one line, as `--set` and the environment give it.
pub(super) fn inline(text: &str, is_list: bool, origin: &str) -> Result<Value, String> {
    let example = match is_list {
        true => r#"write a list as TOML: [{size="1m", slide="1s"}, …]"#,
        false => r#"write a table as TOML: {key="value", …}"#,
    };
    let value = DeValue::parse(text).map_err(|_| format!("not valid TOML; {example}"))?;
    match value.get_ref() {
        DeValue::Array(_) if is_list => Ok(convert(&value, 0, &|_| origin.to_owned())),
        DeValue::Table(_) if !is_list => Ok(convert(&value, 0, &|_| origin.to_owned())),
        _ => Err(example.to_owned()),
    }
}
