//! Opening a file: what it is by its name and its first bytes, and rows of a bounded size.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, ensure};
use flate2::bufread::MultiGzDecoder;

/// A longer row is a quote that is never closed, or not a file of rows at all. Large enough for a
/// session of some ten thousand events.
pub const ROW_BYTES_MAX: usize = 4 << 20;
const BUFFER_BYTES: usize = 1 << 16;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    Tsv,
    Jsonl,
}

impl Format {
    pub const NAMES: &str = "csv, tsv or jsonl";

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            _ => None,
        }
    }

    /// By the extension, that of a compressed file being the one before `.gz`.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        Self::from_name(name.rsplit_once('.')?.1)
    }

    pub fn delimiter(self) -> u8 {
        if self == Format::Tsv { b'\t' } else { b',' }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Jsonl => "jsonl",
        })
    }
}

/// Opens a file, decompressed if its first bytes are those of gzip.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let first = reader.fill_buf().with_context(|| format!("read {}", path.display()))?;
    let is_compressed = first.starts_with(&GZIP_MAGIC);
    let is_empty = first.is_empty();
    let is_named_so =
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    ensure!(
        is_compressed || is_empty || !is_named_so,
        "{} is named .gz, but does not begin as gzip does",
        path.display()
    );
    if is_compressed {
        // Files that were compressed in parts and put together are common.
        let decoder = MultiGzDecoder::new(reader);
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)));
    }
    Ok(Box::new(reader))
}

/// Passes bytes on until a row takes too many. The budget is given anew for each row.
pub struct Limited<R> {
    inner: R,
    budget: Rc<Cell<usize>>,
}

impl<R: Read> Limited<R> {
    /// The reader, and the budget that whoever takes rows from it has to refill with [`refill`].
    pub fn new(inner: R) -> (Self, Rc<Cell<usize>>) {
        let budget = Rc::new(Cell::new(0));
        refill(&budget);
        (Self { inner, budget: Rc::clone(&budget) }, budget)
    }
}

pub fn refill(budget: &Cell<usize>) {
    // A parser reads ahead by a buffer of its own.
    budget.set(ROW_BYTES_MAX + BUFFER_BYTES);
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let budget = self.budget.get();
        if budget == 0 {
            let why = format!("a row is longer than {ROW_BYTES_MAX} bytes: is a quote not closed?");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let wanted = out.len().min(budget);
        let count = self.inner.read(&mut out[..wanted])?;
        self.budget.set(budget - count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn names_say_what_a_file_is() {
        let of = |name: &str| Format::of(Path::new(name));
        assert_eq!(of("a/UserBehavior.csv"), Some(Format::Csv));
        assert_eq!(of("b.TSV.gz"), Some(Format::Tsv));
        assert_eq!((of("c.jsonl"), of("c.ndjson.gz")), (Some(Format::Jsonl), Some(Format::Jsonl)));
        assert_eq!((of("c.parquet"), of("c"), of("c.gz")), (None, None, None));
    }

    #[test]
    fn gzip_is_recognised_by_its_bytes_and_read_to_its_last_part() {
        let directory = tempfile::tempdir().unwrap();
        let compressed = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let read = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let mut text = String::new();
            open(&path)?.read_to_string(&mut text)?;
            anyhow::Ok(text)
        };
        let parts = [compressed("a\n"), compressed("b\n")].concat();
        assert_eq!(read("x.csv", &parts).unwrap(), "a\nb\n");
        assert_eq!(read("x.csv", b"plain").unwrap(), "plain");
        assert_eq!(read("x.csv.gz", b"").unwrap(), "");
        let error = read("x.csv.gz", b"plain").unwrap_err().to_string();
        assert!(error.contains("is named .gz"), "{error}");
        // One that was cut is an error, not the end of the file.
        assert!(read("x.csv", &parts[..parts.len() - 9]).is_err());
    }

    #[test]
    fn a_row_has_a_largest_size() {
        let (mut limited, budget) = Limited::new(io::repeat(b'x'));
        let mut out = vec![0; BUFFER_BYTES];
        let mut read = || {
            let mut total = 0;
            loop {
                match limited.read(&mut out) {
                    Ok(count) => total += count,
                    Err(error) => return (total, error.to_string()),
                }
            }
        };
        let (total, error) = read();
        assert_eq!(total, ROW_BYTES_MAX + BUFFER_BYTES);
        assert!(error.contains("is a quote not closed?"), "{error}");
        refill(&budget);
        assert_eq!(read().0, total);
    }
}
