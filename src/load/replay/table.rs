//! The columns of a file, and the files that are joined to it, held in memory by their keys.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path as FilePath;

use anyhow::{Context, bail, ensure};
use csv::{ReaderBuilder, StringRecord};

use super::input::{self, Format, Limited};
use super::mapping::{Join, Mapping};
use super::path::Path;
use super::place::{Array, Place};

/// All joined files together. The largest public one (a hundred thousand orders) takes 5 % of it.
const JOINED_BYTES_MAX: usize = 512 << 20;
/// What a row costs beside its text.
const ROW_OVERHEAD_BYTES: usize = 200;

#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<String>,
    joins: Vec<Joined>,
}

#[derive(Debug)]
struct Joined {
    name: String,
    on: Place,
    many: bool,
    columns: Vec<String>,
    rows: HashMap<String, Vec<StringRecord>>,
}

impl Table {
    /// The columns of `file`, and what the mapping joins to them from the directory it is in.
    pub fn load(columns: Vec<String>, mapping: &Mapping, file: &FilePath) -> anyhow::Result<Self> {
        let mut table = Self { columns, joins: Vec::new() };
        let mut bytes_left = JOINED_BYTES_MAX;
        for join in &mapping.joins {
            let refused = |why: String| format!("{}: join `{}`: {why}", mapping.name, join.name);
            let on = table.find(&join.on).map_err(|why| anyhow::anyhow!(refused(why)))?;
            ensure!(
                !join.many || !on.is_each(),
                refused("`many` cannot be joined to something that is many itself".into())
            );
            let joined = Joined::load(join, on, &beside(file, &join.file), &mut bytes_left)?;
            table.joins.push(joined);
        }
        Ok(table)
    }

    pub fn join_on(&self, join: usize) -> &Place {
        &self.joins[join].on
    }

    /// The rows of a key, in the order of their file.
    pub fn joined(&self, join: usize, key: &str) -> &[StringRecord] {
        self.joins[join].rows.get(key).map_or(&[], Vec::as_slice)
    }

    pub fn find_array(&self, array: &[String]) -> Result<Array, String> {
        let name = array.join(".");
        match self.joins.iter().position(|join| join.many && join.name == name) {
            Some(join) => Ok(Array::Joined { join }),
            None => Err(format!("`{name}[]`: no [[join]] with many = true has this name")),
        }
    }

    /// Where a name stands.
    pub fn find(&self, path: &Path) -> Result<Place, String> {
        if let Some(column) = position(&self.columns, path.as_str()) {
            return Ok(Place::Column(column));
        }
        let rest = path.rest.join(".");
        match &path.array {
            Some(array) => {
                let Array::Joined { join } = self.find_array(array)? else {
                    return Err(format!("`{path}` goes through no join"));
                };
                if let Some(column) = position(&self.joins[join].columns, &rest) {
                    return Ok(Place::Each(column));
                }
                match self.in_join(&path.rest, true)? {
                    Some((join, column)) => Ok(Place::EachJoined { join, column }),
                    None => Err(missing(path.as_str(), &self.joins[join].columns)),
                }
            }
            None => match self.in_join(&path.rest, false)? {
                Some((join, column)) => Ok(Place::Joined { join, column }),
                None => Err(missing(path.as_str(), &self.columns)),
            },
        }
    }

    /// `name.column` of a join to one row, on an element or on the row itself.
    fn in_join(&self, parts: &[String], on_each: bool) -> Result<Option<(usize, usize)>, String> {
        let Some((name, rest)) = parts.split_first() else { return Ok(None) };
        let is_it =
            |join: &Joined| !join.many && join.name == *name && join.on.is_each() == on_each;
        let Some(join) = self.joins.iter().position(is_it) else { return Ok(None) };
        let column = rest.join(".");
        match position(&self.joins[join].columns, &column) {
            Some(column) => Ok(Some((join, column))),
            None => Err(missing(&parts.join("."), &self.joins[join].columns)),
        }
    }
}

fn position(columns: &[String], name: &str) -> Option<usize> {
    columns.iter().position(|column| column == name)
}

fn missing(name: &str, columns: &[String]) -> String {
    format!("there is no column `{name}`; there are {}", columns.join(", "))
}

/// A file in the same directory, plain or compressed.
fn beside(file: &FilePath, name: &str) -> std::path::PathBuf {
    let path = file.with_file_name(name);
    let compressed = file.with_file_name(format!("{name}.gz"));
    if !path.exists() && compressed.exists() { compressed } else { path }
}

/// A reader of CSV or TSV whose rows may be ragged: how many cells there are is judged row by row.
pub fn csv_reader<R: Read>(inner: R, format: Format, has_header: bool) -> csv::Reader<R> {
    ReaderBuilder::new()
        .delimiter(format.delimiter())
        .has_headers(has_header)
        .flexible(true)
        .from_reader(inner)
}

/// The names of the columns, without a byte order mark.
pub fn header<R: Read>(reader: &mut csv::Reader<R>) -> csv::Result<Vec<String>> {
    let names = reader.headers()?.iter().enumerate();
    let name = |(at, name): (usize, &str)| match at {
        0 => name.trim_start_matches('\u{feff}').to_owned(),
        _ => name.to_owned(),
    };
    Ok(names.map(name).collect())
}

impl Joined {
    fn load(
        join: &Join,
        on: Place,
        path: &FilePath,
        bytes_left: &mut usize,
    ) -> anyhow::Result<Self> {
        let reading = || format!("read {}, which is joined as `{}`", path.display(), join.name);
        let format = Format::of(path).unwrap_or(Format::Csv);
        ensure!(format != Format::Jsonl, "{}: only CSV and TSV can be joined", path.display());
        let (limited, budget) = Limited::new(input::open(path)? as Box<dyn BufRead>);
        let mut reader = csv_reader(limited, format, true);
        let columns = header(&mut reader).with_context(reading)?;
        let Some(key) = position(&columns, &join.key) else {
            bail!("{}: {}", path.display(), missing(&join.key, &columns));
        };
        let mut rows: HashMap<String, Vec<StringRecord>> = HashMap::new();
        for row in reader.records() {
            let row = row.with_context(reading)?;
            input::refill(&budget);
            let line = row.position().map_or(0, csv::Position::line);
            let at = || format!("{}:{line}", path.display());
            ensure!(
                row.len() == columns.len(),
                "{}: {} columns, not {}",
                at(),
                row.len(),
                columns.len()
            );
            let bytes = row.as_slice().len() + ROW_OVERHEAD_BYTES;
            *bytes_left = bytes_left.checked_sub(bytes).with_context(|| {
                format!("{}: files to be joined take more than {JOINED_BYTES_MAX} bytes", at())
            })?;
            rows.entry(row[key].to_owned()).or_default().push(row);
        }
        Ok(Self { name: join.name.clone(), on, many: join.many, columns, rows })
    }
}
