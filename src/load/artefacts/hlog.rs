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
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::cut_off;
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

/// Everything that a run has measured: the sum of its intervals, by clock.
#[derive(Clone, Debug, Default)]
pub struct Histograms {
    stages: [Pair; 3],
}

impl Histograms {
    pub fn of(&self, stage: Stage) -> &Pair {
        &self.stages[stage as usize]
    }

    /// Adds a line; lines without a histogram of ours add nothing.
    fn add(&mut self, line: &[u8]) -> anyhow::Result<()> {
        for entry in IntervalLogIterator::new(line) {
            let entry = entry.map_err(|_| anyhow!("not a line of an interval log"))?;
            let LogEntry::Interval(interval) = entry else { continue };
            let tag = interval.tag();
            let Some(sum) = tag.and_then(|tag| self.tagged(tag.as_str())) else { continue };
            let bytes = STANDARD.decode(interval.encoded_histogram()).context("decode Base64")?;
            let histogram: Micros = Deserializer::new()
                .deserialize(&mut bytes.as_slice())
                .map_err(|error| anyhow!("decode a histogram: {error}"))?;
            sum.add(&histogram).map_err(|error| anyhow!("add a histogram: {error}"))?;
        }
        Ok(())
    }

    fn tagged(&mut self, tag: &str) -> Option<&mut Micros> {
        let stage = Stage::ALL.into_iter().find(|&stage| {
            let (corrected, uncorrected) = tags(stage);
            corrected == tag || uncorrected == Some(tag)
        })?;
        let pair = &mut self.stages[stage as usize];
        let is_corrected = tags(stage).0 == tag;
        Some(if is_corrected { &mut pair.corrected } else { &mut pair.uncorrected })
    }
}

/// The log of a run's directory, and whether its last line was cut off.
pub fn load(directory: &Path) -> anyhow::Result<(Histograms, bool)> {
    let path = directory.join(FILE);
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let mut histograms = Histograms::default();
    let (whole, is_cut_off) = cut_off(&bytes);
    for (at, line) in whole.split_inclusive(|&byte| byte == b'\n').enumerate() {
        histograms
            .add(line)
            .with_context(|| format!("parse line {} of {}", at + 1, path.display()))?;
    }
    Ok((histograms, is_cut_off))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::latency::recorder::empty;

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
                    let raw = STANDARD.decode(interval.encoded_histogram()).unwrap();
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

    /// A log of two intervals of `visible`: 3 ms, and 3 ms and 9 ms.
    fn written() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut log = HistogramLog::create(directory.path(), SystemTime::now()).unwrap();
        let mut pair = Pair { corrected: empty(), uncorrected: empty() };
        let second = Duration::from_secs(1);
        for (at, ms) in [(0, 3), (1, 9)] {
            pair.corrected.saturating_record(ms * 1000);
            pair.uncorrected.saturating_record(1000);
            log.write(Stage::Visible, second * at, second, &pair).unwrap();
        }
        directory
    }

    #[test]
    fn the_intervals_of_a_clock_are_added_up() {
        let directory = written();
        let (histograms, is_cut_off) = load(directory.path()).unwrap();
        let Pair { corrected, uncorrected } = histograms.of(Stage::Visible);
        assert_eq!((corrected.len(), uncorrected.len(), is_cut_off), (3, 3, false));
        assert_eq!((corrected.max() / 1000, uncorrected.max() / 1000), (9, 1));
        assert!(histograms.of(Stage::Ack).corrected.is_empty());
    }

    #[test]
    fn damage_is_an_error_that_names_the_line() {
        let directory = written();
        let path = directory.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        // What a killed run left of its last line is left out.
        std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        let (histograms, is_cut_off) = load(directory.path()).unwrap();
        let visible = histograms.of(Stage::Visible);
        assert_eq!((visible.corrected.len(), visible.uncorrected.len()), (3, 1));
        assert!(is_cut_off);
        // Any byte of it spoiled may be noticed or not, but is survived.
        let text = String::from_utf8(whole).unwrap();
        let first = text.find("Tag=").unwrap();
        for at in first..text.len() {
            for spoiled in [b'A', b'/', b'9', b',', b'\n', 0xff] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = spoiled;
                std::fs::write(&path, &bytes).unwrap();
                let _ = load(directory.path());
            }
        }
        let line = text[..first].lines().count() + 1;
        std::fs::write(&path, text.replacen("HIST", "HOST", 1)).unwrap();
        let error = format!("{:#}", load(directory.path()).unwrap_err());
        assert!(error.contains(&format!("parse line {line} of")), "{error}");
    }
}
