//! `latency.hlog`: HdrHistogram's interval log, which its tools in many languages read and plot.
//!
//! Tags: `schedule`, `ack`, `ack.uncorrected`, `visible`, `visible.uncorrected`. Values are
//! microseconds; the column of maxima is in milliseconds. Time stamps count from `BaseTime`, the
//! start of the run.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::load::latency::meter::Stage;
use crate::load::latency::recorder::{Micros, Pair};

pub const FILE: &str = "latency.hlog";
const MICROS_PER_MILLI: f64 = 1000.0;

/// The tags of a clock: corrected, uncorrected.
pub const fn tags(stage: Stage) -> (&'static str, Option<&'static str>) {
    match stage {
        Stage::Schedule => ("schedule", None),
        Stage::Ack => ("ack", Some("ack.uncorrected")),
        Stage::Visible => ("visible", Some("visible.uncorrected")),
    }
}

/// Writes line by line: each interval is appended by a writer of its own, as the library's one
/// borrows its file and serializer for as long as it lives.
pub struct HistogramLog {
    file: BufWriter<File>,
    serializer: V2DeflateSerializer,
}

impl HistogramLog {
    pub fn create(directory: &Path, started: SystemTime) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let (mut file, mut serializer) = (BufWriter::new(file), V2DeflateSerializer::new());
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(started)
            .with_base_time(started)
            .with_max_value_divisor(MICROS_PER_MILLI)
            .begin_log_with(&mut file, &mut serializer)
            .with_context(|| format!("write {FILE}"))?;
        writeln!(
            file,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )
        .with_context(|| format!("write {FILE}"))?;
        Ok(Self { file, serializer })
    }

    /// One clock in one interval, if it has measured anything.
    pub fn write(
        &mut self,
        stage: Stage,
        from: Duration,
        length: Duration,
        pair: &Pair,
    ) -> anyhow::Result<()> {
        let (corrected, uncorrected) = tags(stage);
        self.histogram(corrected, from, length, &pair.corrected)?;
        if let Some(tag) = uncorrected {
            self.histogram(tag, from, length, &pair.uncorrected)?;
        }
        self.file.flush().with_context(|| format!("write {FILE}"))
    }

    fn histogram(
        &mut self,
        tag: &str,
        from: Duration,
        length: Duration,
        histogram: &Micros,
    ) -> anyhow::Result<()> {
        if histogram.is_empty() {
            return Ok(());
        }
        let mut line = Vec::new();
        IntervalLogWriterBuilder::new()
            .with_max_value_divisor(MICROS_PER_MILLI)
            .begin_log_with(&mut line, &mut self.serializer)
            .with_context(|| format!("write {FILE}"))?
            .write_histogram(histogram, from, length, Tag::new(tag))
            .map_err(|error| anyhow!("encode a histogram of {tag}: {error:?}"))?;
        // The library begins every log with what its header says already.
        let text = String::from_utf8_lossy(&line);
        let mut lines = text.lines().filter(|line| line.starts_with("Tag="));
        lines
            .try_for_each(|line| writeln!(self.file, "{line}"))
            .with_context(|| format!("write {FILE}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn the_librarys_own_reader_finds_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_000_000);
        let mut log = HistogramLog::create(directory.path(), started).unwrap();
        let mut pair = Pair::default();
        let second = Duration::from_secs(1);
        log.write(Stage::Schedule, second, second, &pair).unwrap();
        pair.corrected.saturating_record(7_000);
        pair.uncorrected.saturating_record(5_000);
        log.write(Stage::Visible, second * 2, second, &pair).unwrap();
        drop(log);

        let bytes = std::fs::read(directory.path().join(FILE)).unwrap();
        let mut found = Vec::new();
        let mut starts = 0;
        for entry in IntervalLogIterator::new(&bytes) {
            match entry.unwrap() {
                LogEntry::Interval(interval) => {
                    let raw = base64(interval.encoded_histogram());
                    let histogram: Micros =
                        Deserializer::new().deserialize(&mut raw.as_slice()).unwrap();
                    let tag = interval.tag().unwrap().as_str().to_owned();
                    found.push((tag, interval.start_timestamp(), histogram.max() / 1000));
                }
                LogEntry::StartTime(_) | LogEntry::BaseTime(_) => starts += 1,
            }
        }
        let at = Duration::from_secs(2);
        let expected = [("visible".to_owned(), at, 7), ("visible.uncorrected".to_owned(), at, 5)];
        assert_eq!((found, starts), (expected.to_vec(), 2));
    }

    fn base64(text: &str) -> Vec<u8> {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bytes, mut word, mut bits) = (Vec::new(), 0u32, 0);
        for digit in text.bytes().filter(|&byte| byte != b'=') {
            let value = ALPHABET.iter().position(|&letter| letter == digit).unwrap();
            word = word << 6 | value as u32;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push((word >> bits) as u8);
            }
        }
        bytes
    }
}
