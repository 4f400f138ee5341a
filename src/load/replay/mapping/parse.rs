//! Reading a mapping file.

use toml::{Table, Value};

use super::keys::{Keys, Result, texts, wrong};
use super::{EventMap, FieldMap, Input, Join, KindOf, Mapping, Source, TimeOf, What, When};
use crate::load::kind::Kind;
use crate::load::replay::input::Format;
use crate::load::replay::path::Path;
use crate::load::replay::value::money::Money;
use crate::load::replay::value::time::{self, TimeFormat};

const KINDS: &str = "click, wishlist, purchase, order_status or skip";
const SOURCE: &str = "the name of a column, a list of names of which the first that is there counts, \
                      { constant = \"…\" } or { column = \"…\", values = { … } }";
/// The fields of an event that a mapping may fill, beside its time and its dimensions.
const FIELDS: [(&str, What); 11] = [
    ("event_id", What::Id),
    ("user_id", What::Id),
    ("session_id", What::Id),
    ("product_id", What::Dimension),
    ("category", What::Dimension),
    ("seller_id", What::Dimension),
    ("action", What::Action),
    ("order_id", What::OrderId),
    ("quantity", What::Quantity),
    ("currency", What::Currency),
    ("status", What::Status),
];
/// Those that a line of a purchase may have.
const ITEM_FIELDS: [&str; 4] = ["product_id", "category", "seller_id", "quantity"];
const PRICE: &str = "price_minor";

impl Mapping {
    /// Reads a mapping, or says what is wrong with it; `name` is said first.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let refused = |why: String| format!("{name}: {why}");
        let table: Table = text.parse().map_err(|error| refused(format!("{error}")))?;
        mapping(name, table).map_err(refused)
    }
}

fn mapping(name: &str, table: Table) -> Result<Mapping> {
    let mut keys = Keys::new("", table);
    let input = match keys.take("input") {
        Some(value) => input(Keys::of("input", value, "a table")?)?,
        None => Input::default(),
    };
    let joins = keys.tables("join")?.into_iter().map(join).collect::<Result<Vec<_>>>()?;
    let events = keys.tables("event")?.into_iter().map(event).collect::<Result<Vec<_>>>()?;
    keys.finish()?;
    if events.is_empty() {
        return Err("event is missing: one [[event]] for each event that a row may become".into());
    }
    let mapping = Mapping { name: name.to_owned(), input, joins, events };
    one_array(&mapping)?;
    Ok(mapping)
}

/// All that a row expands to comes from one array, or one joined file.
fn one_array(mapping: &Mapping) -> Result<()> {
    let of_event = |event: &EventMap<Path>| {
        let items = event.items.iter().flat_map(FieldMap::places);
        event.places().chain(items).filter_map(|path| path.array.clone()).collect::<Vec<_>>()
    };
    let mut arrays = mapping.events.iter().flat_map(of_event);
    let Some(first) = arrays.next() else { return Ok(()) };
    match arrays.find(|array| *array != first) {
        Some(other) => {
            let (first, other) = (first.join("."), other.join("."));
            Err(format!("`{first}[]` and `{other}[]`: one array may be expanded"))
        }
        None => Ok(()),
    }
}

fn input(mut keys: Keys) -> Result<Input> {
    let format = match keys.text("format")? {
        None => None,
        Some(name) => Some(Format::from_name(&name).ok_or_else(|| {
            format!("{} is `{name}`: expected {}", keys.at("format"), Format::NAMES)
        })?),
    };
    let header = keys.flag("header")?;
    let columns = keys.texts("columns")?;
    match (header.unwrap_or(columns.is_none()), &columns) {
        (true, Some(_)) => {
            return Err("input.columns names the columns of a file without a header: \
                        say header = false, or leave them out"
                .into());
        }
        (false, None) => {
            return Err("input.columns is missing: a file without a header needs names".into());
        }
        _ => {}
    }
    keys.finish()?;
    Ok(Input { format, columns })
}

fn join(mut keys: Keys) -> Result<Join> {
    let file = keys.required_text("file", "the name of a file beside the one that is replayed")?;
    let key = keys.required_text("key", "the column of that file to look in")?;
    let on = keys.required_text("on", "what the key has to be equal to")?;
    let on = path(&keys.at("on"), &on)?;
    let name = keys.required_text("name", "what its columns are called by: name.column")?;
    let many = keys.flag("many")?.unwrap_or(false);
    keys.finish()?;
    Ok(Join { file, key, on, name, many })
}

fn path(place: &str, text: &str) -> Result<Path> {
    Path::parse(text).map_err(|why| format!("{place} is {why}"))
}

fn kind(place: &str, name: &str) -> Result<Option<Kind>> {
    match (name, Kind::from_name(name)) {
        ("skip", _) => Ok(None),
        (_, Some(kind)) => Ok(Some(kind)),
        (_, None) => Err(format!("{place} is `{name}`: expected {KINDS}")),
    }
}

fn event(mut keys: Keys) -> Result<EventMap<Path>> {
    let place = keys.at("kind");
    let kind = kind_of(&place, keys.required("kind", KINDS)?)?;
    let when = match keys.take("when") {
        Some(value) => Some(when(Keys::of(&keys.at("when"), value, "{ column = …, is = […] }")?)?),
        None => None,
    };
    let expected = "{ column = \"…\", format = \"epoch_ms\" }";
    let value = keys.required("timestamp", expected)?;
    let time = time_of(Keys::of(&keys.at("timestamp"), value, expected)?)?;
    let mut items = Vec::new();
    if let Some(value) = keys.take("items") {
        let mut lines = Keys::of(&keys.at("items"), value, "a table of fields")?;
        items = fields(&mut lines, |name| ITEM_FIELDS.contains(&name))?;
        lines.finish()?;
    }
    let fields = fields(&mut keys, |_| true)?;
    let event = EventMap { kind, when, time, fields, items };
    let goes_through = |path: &Path| path.array.is_some();
    if !event.items.is_empty() {
        if !event.items.iter().flat_map(FieldMap::places).any(goes_through) {
            return Err(format!(
                "{} needs a name that goes through an array: items[].sku",
                keys.at("items")
            ));
        }
        if let Some(path) = event.places().find(|path| goes_through(path)) {
            return Err(format!(
                "{} has `{path}` beside items: an array becomes either several events or the lines of one",
                keys.at("").trim_end_matches('.')
            ));
        }
    }
    keys.finish()?;
    Ok(event)
}

fn kind_of(place: &str, value: Value) -> Result<KindOf<Path>> {
    match value {
        Value::String(name) => match kind(place, &name)? {
            Some(kind) => Ok(KindOf::Always(kind)),
            None => Err(format!("{place} is `skip`: leave the whole [[event]] out")),
        },
        Value::Table(table) => {
            let mut keys = Keys::new(place, table);
            let column = column(&mut keys)?;
            let place = keys.at("values");
            let expected = "a table such as { view = \"click\", cart = \"skip\" }";
            let Value::Table(table) = keys.required("values", expected)? else {
                return Err(format!("{place} is not {expected}"));
            };
            keys.finish()?;
            let named = |(value, name): (String, Value)| match name {
                Value::String(name) => {
                    let kind = kind(&format!("{place}.{value}"), &name)?;
                    Ok((value, kind))
                }
                other => Err(wrong(&format!("{place}.{value}"), &other, KINDS)),
            };
            let values = table.into_iter().map(named).collect::<Result<_>>()?;
            Ok(KindOf::By { place: column, values })
        }
        other => Err(wrong(place, &other, &format!("{KINDS}, or {{ column = …, values = … }}"))),
    }
}

fn column(keys: &mut Keys) -> Result<Path> {
    let text = keys.required_text("column", "the name of a column, or a path in JSON")?;
    path(&keys.at("column"), &text)
}

fn when(mut keys: Keys) -> Result<When<Path>> {
    let place = column(&mut keys)?;
    let is = keys.required("is", "a list of values")?;
    let is = texts(&keys.at("is"), is)?;
    keys.finish()?;
    Ok(When { place, is })
}

fn time_of(mut keys: Keys) -> Result<TimeOf<Path>> {
    let place = column(&mut keys)?;
    let format = keys.required_text("format", time::FORMATS)?;
    let zone = keys.text("zone")?;
    let format = TimeFormat::new(&format, zone.as_deref())
        .map_err(|why| format!("{} is {why}", keys.at("format")))?;
    let mut limit = |key: &'static str, absent: i64| match keys.text(key)? {
        None => Ok(absent),
        Some(text) => time::rfc3339_ms(&text).ok_or_else(|| {
            format!("{} is `{text}`: expected a time such as 2017-11-25T00:00:00Z", keys.at(key))
        }),
    };
    let (from_ms, until_ms) = (limit("from", i64::MIN)?, limit("until", i64::MAX)?);
    let optional = keys.flag("optional")?.unwrap_or(false);
    keys.finish()?;
    Ok(TimeOf { place, format, from_ms, until_ms, optional })
}

/// The fields of an event or of a line, as far as they are allowed there.
fn fields(keys: &mut Keys, is_allowed: impl Fn(&str) -> bool) -> Result<Vec<FieldMap<Path>>> {
    let mut fields = Vec::new();
    for (name, what) in FIELDS {
        if is_allowed(name)
            && let Some(value) = keys.take(name)
        {
            let source = source(&keys.at(name), value)?;
            fields.push(FieldMap { name: name.to_owned(), what, source });
        }
    }
    if let Some(value) = keys.take(PRICE) {
        fields.push(price(&keys.at(PRICE), value)?);
    }
    if let Some(value) = keys.take("dimensions") {
        let place = keys.at("dimensions");
        for (name, value) in Keys::of(&place, value, "a table of names")?.rest() {
            let is_name =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            let is_taken = ["timestamp", "items", PRICE].contains(&name.as_str())
                || FIELDS.iter().any(|(field, _)| *field == name);
            if is_taken || name.is_empty() || !name.bytes().all(is_name) {
                return Err(format!(
                    "{place}.{name} is not a name for a dimension: expected lower-case letters, digits and _, \
                     and no field that has a meaning already"
                ));
            }
            let source = source(&format!("{place}.{name}"), value)?;
            fields.push(FieldMap { name, what: What::Dimension, source });
        }
    }
    Ok(fields)
}

fn source(place: &str, value: Value) -> Result<Source<Path>> {
    match value {
        Value::String(text) => Ok(Source::FirstOf(vec![path(place, &text)?])),
        value @ Value::Array(_) => {
            let names = texts(place, value)?;
            let paths = names.iter().map(|name| path(place, name)).collect::<Result<Vec<_>>>()?;
            if paths.is_empty() {
                Err(format!("{place} is empty: expected {SOURCE}"))
            } else {
                Ok(Source::FirstOf(paths))
            }
        }
        Value::Table(table) => {
            let mut keys = Keys::new(place, table);
            if let Some(text) = keys.text("constant")? {
                keys.finish()?;
                return Ok(Source::Constant(text));
            }
            let column = column(&mut keys)?;
            let default = keys.text("default")?;
            let values = match keys.take("values") {
                None if default.is_none() => {
                    keys.finish()?;
                    return Ok(Source::FirstOf(vec![column]));
                }
                None => Vec::new(),
                Some(value) => value_table(&keys.at("values"), value)?,
            };
            keys.finish()?;
            Ok(Source::Table { place: column, values, default })
        }
        other => Err(wrong(place, &other, SOURCE)),
    }
}

fn value_table(place: &str, value: Value) -> Result<Vec<(String, String)>> {
    let expected = "a table such as { canceled = \"CANCELLED\" }";
    let Value::Table(table) = value else { return Err(wrong(place, &value, expected)) };
    let pair = |(from, to): (String, Value)| match to {
        Value::String(to) => Ok((from, to)),
        other => Err(wrong(&format!("{place}.{from}"), &other, "text")),
    };
    table.into_iter().map(pair).collect()
}

/// `{ column = "price", decimals = 2, rate = "0.92" }`
fn price(place: &str, value: Value) -> Result<FieldMap<Path>> {
    let mut money = Money::default();
    let value = match value {
        Value::Table(table) => {
            let mut keys = Keys::new(place, table);
            if let Some(decimals) = keys.whole("decimals", 6)? {
                money.decimals = decimals as u32;
            }
            if let Some(rate) = keys.text("rate")? {
                money = money
                    .with_rate(&rate)
                    .map_err(|why| format!("{} is {why}", keys.at("rate")))?;
            }
            Value::Table(keys.rest().collect())
        }
        other => other,
    };
    let source = source(place, value)?;
    Ok(FieldMap { name: PRICE.to_owned(), what: What::Price(money), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "timestamp = { column = \"t\", format = \"epoch_s\" }\n";

    fn refusal(text: &str) -> String {
        Mapping::parse("shop.toml", text).unwrap_err()
    }

    /// A mapping with one event that has this beside kind and time.
    fn with(line: &str) -> String {
        refusal(&format!("[[event]]\nkind = \"purchase\"\n{TIME}{line}"))
    }

    #[test]
    fn refusals_name_the_file_the_key_the_value_and_what_would_be_right() {
        let kind = |kind: &str| refusal(&format!("[[event]]\nkind = {kind}\n{TIME}"));
        let texts = [
            refusal("[input]\nformat = \"xml\""),
            refusal("[input]\nheader = false"),
            refusal("[input]\ncolumns = [\"a\"]\nheader = true"),
            refusal("[inputs]"),
            refusal(""),
            kind("\"clik\""),
            kind("{ column = \"k\", values = { pv = \"view\" } }"),
            kind("{ column = \"k\" }"),
            refusal("[[event]]\nkind = \"click\""),
            with("user = \"uid\""),
            with("user_id = 5"),
            with("user_id = { constant = \"a\", column = \"b\" }"),
            with("price_minor = { column = \"p\", decimals = 9 }"),
            with("price_minor = { column = \"p\", rate = \"-1\" }"),
            with("product_id = \"a..b\""),
            with("items = { product_id = \"sku\" }"),
            with("user_id = \"x[].u\"\nitems = { product_id = \"x[].sku\" }"),
            with("user_id = \"x[].u\"\nsession_id = \"y[].s\""),
            refusal(
                "[[event]]\nkind = \"click\"\ntimestamp = { column = \"t\", format = \"iso\" }",
            ),
            refusal(
                "[[event]]\nkind = \"click\"\ntimestamp = { column = \"t\", format = \"epoch_s\", from = \"2017\" }",
            ),
            refusal("[[join]]\nfile = \"a.csv\""),
        ];
        insta::assert_snapshot!(texts.join("\n"), @r#"
        shop.toml: input.format is `xml`: expected csv, tsv or jsonl
        shop.toml: input.columns is missing: a file without a header needs names
        shop.toml: input.columns names the columns of a file without a header: say header = false, or leave them out
        shop.toml: inputs is not a key: did you mean `input`?
        shop.toml: event is missing: one [[event]] for each event that a row may become
        shop.toml: event[1].kind is `clik`: expected click, wishlist, purchase, order_status or skip
        shop.toml: event[1].kind.values.pv is `view`: expected click, wishlist, purchase, order_status or skip
        shop.toml: event[1].kind.values is missing: a table such as { view = "click", cart = "skip" }
        shop.toml: event[1].timestamp is missing: { column = "…", format = "epoch_ms" }
        shop.toml: event[1].user is not a key: did you mean `user_id`?
        shop.toml: event[1].user_id is 5: expected the name of a column, a list of names of which the first that is there counts, { constant = "…" } or { column = "…", values = { … } }
        shop.toml: event[1].user_id.column is not a key: there are constant
        shop.toml: event[1].price_minor.decimals is 9: expected 0 to 6
        shop.toml: event[1].price_minor.rate is `-1`: expected what one unit is worth, such as "0.92"
        shop.toml: event[1].product_id is `a..b`: expected a name such as price, customer.city or events[].ts
        shop.toml: event[1].items needs a name that goes through an array: items[].sku
        shop.toml: event[1] has `x[].u` beside items: an array becomes either several events or the lines of one
        shop.toml: `x[]` and `y[]`: one array may be expanded
        shop.toml: event[1].timestamp.format is `iso`: expected epoch_s, epoch_ms, rfc3339 or a pattern such as "%Y-%m-%d %H:%M:%S" (of strftime)
        shop.toml: event[1].timestamp.from is `2017`: expected a time such as 2017-11-25T00:00:00Z
        shop.toml: join[1].key is missing: the column of that file to look in
        "#);
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let text = format!("[[event]]\nkind = \"wishlist\"\n{TIME}user_id = [\"a\", \"b\"]\n");
        let mapping = Mapping::parse("m", &text).unwrap();
        assert_eq!(mapping.input, Input::default());
        assert!(mapping.makes(Kind::Wishlist) && !mapping.makes(Kind::Click));
        let fields = &mapping.events[0].fields;
        assert!(matches!(&fields[0].source, Source::FirstOf(places) if places.len() == 2));
        assert!(!mapping.events[0].time.optional);
    }
}
