//! The files, read from the first row to the last, as events.

use std::ops::ControlFlow;
use std::path::{Path as FilePath, PathBuf};

use anyhow::{Context, anyhow, ensure};
use csv::{ByteRecord, StringRecord};

use super::account::{Account, At};
use super::event::Event;
use super::input::{self, Format, Limited};
use super::lines::{Line, Lines};
use super::mapper::Mapper;
use super::mapping::Mapping;
use super::place::Row;
use super::table::{Table, csv_reader, header};
use super::value::Unmapped;
use crate::load::workload::Key;

/// What an event costs in memory beside its bytes.
const EVENT_OVERHEAD_BYTES: u64 = 96;

#[derive(Debug)]
pub struct Source {
    pub files: Vec<PathBuf>,
    pub mapping: Mapping,
    pub key: Key,
    /// Ends after so many events, in the order of the files.
    pub limit: Option<u64>,
    /// By event time, in memory of so many bytes.
    pub sort_bytes: Option<u64>,
}

type Visit<'a> = dyn FnMut(&Event, &mut Account) -> ControlFlow<()> + 'a;

impl Source {
    /// Visits the events in the order in which they are to be sent. The account is of the rows; whoever
    /// visits notes the events.
    pub fn each(&self, account: &mut Account, visit: &mut Visit<'_>) -> anyhow::Result<()> {
        let Some(sort_bytes) = self.sort_bytes else { return self.in_file_order(account, visit) };
        let (mut events, mut bytes) = (Vec::new(), 0);
        self.in_file_order(account, &mut |event, _| {
            bytes += (event.key.len() + event.body.len()) as u64 + EVENT_OVERHEAD_BYTES;
            events.push(event.clone());
            if bytes > sort_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        ensure!(
            bytes <= sort_bytes,
            "the first {} events take more than the {sort_bytes} bytes in which they may be sorted: \
             raise --sort-memory, replay fewer with --limit, or sort the file beforehand",
            events.len()
        );
        // A stable sort: events of the same time stay in the order of the file.
        events.sort_by_key(|event| event.time_ms);
        for event in &events {
            if visit(event, account).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn in_file_order(&self, account: &mut Account, visit: &mut Visit<'_>) -> anyhow::Result<()> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        if left == 0 {
            return Ok(());
        }
        let mut limited = |event: &Event, account: &mut Account| {
            visit(event, account)?;
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        for file in &self.files {
            let format = self.mapping.input.format.or_else(|| Format::of(file));
            let format = format.ok_or_else(|| {
                anyhow!(
                    "{}: neither its name nor input.format of {} says whether it is {}",
                    file.display(),
                    self.mapping.name,
                    Format::NAMES
                )
            })?;
            let read = match format {
                Format::Jsonl => self.json(file, account, &mut limited),
                Format::Csv | Format::Tsv => self.cells(file, format, account, &mut limited),
            };
            if read?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn refused(&self, file: &FilePath) -> impl Fn(String) -> anyhow::Error {
        let (name, file) = (self.mapping.name.clone(), file.display().to_string());
        move |why| anyhow!("{name} does not fit {file}: {why}")
    }

    fn json(
        &self,
        file: &FilePath,
        account: &mut Account,
        visit: &mut Visit<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let mut mapper = Mapper::for_json(&self.mapping, self.key).map_err(self.refused(file))?;
        let mut lines = Lines::new(input::open(file)?);
        loop {
            let number = lines.number() + 1;
            let at = At { file, line: number };
            let line = lines.next_line().with_context(|| format!("read {}", file.display()))?;
            let object: Result<serde_json::Value, Unmapped> = match line {
                None => return Ok(ControlFlow::Continue(())),
                Some(Line::Whole(line)) if line.trim_ascii().is_empty() => continue,
                Some(Line::Whole(line)) => serde_json::from_slice(line)
                    .map_err(|error| Unmapped { reason: "invalid_json", why: error.to_string() }),
                Some(Line::TooLong) => {
                    let why = format!("it is longer than {} bytes", input::ROW_BYTES_MAX);
                    Err(Unmapped { reason: "row_too_long", why })
                }
            };
            let refused = match object {
                Ok(object) if object.is_object() => {
                    if mapper.map(Row::Object(&object), at, account, visit).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    continue;
                }
                Ok(_) => Unmapped { reason: "not_an_object", why: "it is no object".to_owned() },
                Err(refused) => refused,
            };
            account.rows += 1;
            account.refuse(refused, at);
        }
    }

    fn cells(
        &self,
        file: &FilePath,
        format: Format,
        account: &mut Account,
        visit: &mut Visit<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let reading = || format!("read {}", file.display());
        let (limited, budget) = Limited::new(input::open(file)?);
        let named = self.mapping.input.columns.clone();
        let mut reader = csv_reader(limited, format, named.is_none());
        let columns = match named {
            Some(columns) => columns,
            None => header(&mut reader).with_context(reading)?,
        };
        let width = columns.len();
        let table = Table::load(columns, &self.mapping, file)?;
        let mapper = Mapper::for_table(&self.mapping, &table, self.key);
        let mut mapper = mapper.map_err(self.refused(file))?;
        let mut bytes = ByteRecord::new();
        loop {
            input::refill(&budget);
            if !reader.read_byte_record(&mut bytes).with_context(reading)? {
                return Ok(ControlFlow::Continue(()));
            }
            let at = At { file, line: bytes.position().map_or(0, csv::Position::line) };
            let refused = match StringRecord::from_byte_record(std::mem::take(&mut bytes)) {
                Ok(cells) if cells.len() == width => {
                    let row = Row::Cells { table: &table, cells: &cells };
                    if mapper.map(row, at, account, visit).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    bytes = cells.into_byte_record();
                    continue;
                }
                Ok(cells) => Unmapped {
                    reason: "wrong_columns",
                    why: format!("it has {} columns, not {width}", cells.len()),
                },
                Err(error) => Unmapped { reason: "invalid_utf8", why: error.to_string() },
            };
            account.rows += 1;
            account.refuse(refused, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::replay::mapping::builtin;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const MAPPING: &str = r#"
        [[event]]
        kind = { column = "k", values = { v = "click", b = "purchase", s = "skip" } }
        timestamp = { column = "t", format = "epoch_s" }
        user_id = "u"
        product_id = ["p", "q"]
        price_minor = "m"
    "#;

    fn source(files: Vec<PathBuf>, name: &str, text: &str) -> Source {
        let mapping = Mapping::parse(name, text).unwrap();
        Source { files, mapping, key: Key::Product, limit: None, sort_bytes: None }
    }

    fn events(source: &Source) -> (Vec<(Value, String)>, Account) {
        let (mut account, mut events) = (Account::default(), Vec::new());
        let visit = &mut |event: &Event, _: &mut Account| {
            let mut out = Vec::new();
            event.write(event.time_ms, &mut out);
            let value = serde_json::from_slice(&out).unwrap();
            events.push((value, String::from_utf8(event.key.clone()).unwrap()));
            ControlFlow::Continue(())
        };
        source.each(&mut account, visit).unwrap();
        (events, account)
    }

    /// kind, seconds, user, two products, cents
    type Cells = (String, u64, String, String, String, u64);

    /// What the mapping says, said again for one row.
    fn model((kind, time, user, first, second, cents): &Cells) -> Option<(Value, String)> {
        let mut event = json!({"timestamp": time * 1000});
        let product = if first.is_empty() { second } else { first };
        for (name, value) in [("user_id", user), ("product_id", product)] {
            if !value.is_empty() {
                event[name] = json!(value);
            }
        }
        match kind.as_str() {
            "v" => {}
            "b" => event["price_minor"] = json!(cents),
            _ => return None,
        }
        Some((event, if product.is_empty() { user } else { product }.clone()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// The same rows in every format are the same events, whatever has to be quoted in them.
        #[test]
        fn every_format_says_the_same(
            rows in prop::collection::vec((
                "[vbsx]", 1_000_000_000u64..2_000_000_000, "[a\",; é]{0,5}", "[b\"']{0,2}", "[c]{0,1}", 0u64..100_000,
            ), 0..20),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            let names = ["k", "t", "u", "p", "q", "m"];
            let cells = |(kind, time, user, first, second, cents): &Cells| {
                let price = format!("{}.{:02}", cents / 100, cents % 100);
                [kind.clone(), time.to_string(), user.clone(), first.clone(), second.clone(), price]
            };
            for (name, delimiter) in [("a.csv", b','), ("a.tsv", b'\t')] {
                let mut writer =
                    csv::WriterBuilder::new().delimiter(delimiter).from_path(path(name)).unwrap();
                writer.write_record(names).unwrap();
                rows.iter().for_each(|row| writer.write_record(cells(row)).unwrap());
                writer.flush().unwrap();
            }
            let object = |row: &Cells| {
                let members = names.iter().map(|name| (*name).to_owned());
                let object: serde_json::Map<String, Value> =
                    members.zip(cells(row).map(Value::String)).collect();
                serde_json::to_string(&object).unwrap() + "\n"
            };
            std::fs::write(path("a.jsonl"), rows.iter().map(object).collect::<String>()).unwrap();

            let expected: Vec<_> = rows.iter().filter_map(model).collect();
            let unknown = rows.iter().filter(|row| row.0 == "x").count() as u64;
            let skipped = rows.iter().filter(|row| row.0 == "s").count() as u64;
            for name in ["a.csv", "a.tsv", "a.jsonl"] {
                let (found, account) = events(&source(vec![path(name)], "m", MAPPING));
                prop_assert_eq!(&found, &expected, "{}", name);
                prop_assert_eq!((account.rows, account.unmapped_rows()), (rows.len() as u64, unknown));
                prop_assert_eq!(account.left_out.values().sum::<u64>(), skipped);
            }
        }
    }

    #[test]
    fn arrays_expand_and_broken_elements_leave_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("train.jsonl");
        let lines = [
            r#"{"session":7,"events":[{"aid":1,"ts":1659304800025,"type":"clicks"},{"aid":2,"ts":"x","type":"orders"},{"aid":3,"ts":1659304800024,"type":"orders"}]}"#,
            r#"{"session":8,"events":{}}"#,
            r#"{"session":9}"#,
            "[1]",
            "{",
            "",
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let mut source = source(vec![path.clone()], "otto", builtin::text("otto").unwrap());
        let ids = |source: &Source| -> Vec<String> {
            let (events, _) = events(source);
            events
                .iter()
                .map(|(event, _)| event["product_id"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(ids(&source), ["1", "3"]);
        let (_, account) = events(&source);
        assert_eq!(account.rows, 5);
        let reasons: Vec<&str> = account.unmapped.keys().map(String::as_str).collect();
        assert_eq!(reasons, ["invalid_json", "not_an_array", "not_an_object", "unreadable_time"]);
        let example = &account.unmapped["not_an_array"].example;
        assert!(example.ends_with("train.jsonl:2: events is no array"), "{example}");

        // By time; and the first of the file, before they are sorted.
        source.sort_bytes = Some(1 << 20);
        assert_eq!(ids(&source), ["3", "1"]);
        source.limit = Some(1);
        assert_eq!(ids(&source), ["1"]);
        source.files = vec![path.clone(), path];
        (source.limit, source.sort_bytes) = (Some(3), None);
        assert_eq!(ids(&source), ["1", "3", "1"]);
    }
}
