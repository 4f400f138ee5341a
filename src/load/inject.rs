//! Which faults to inject, as people write it: `late=1%:30s..5m,dup=0.5%,reorder=2%:5s`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// One fault: how often, and within which bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// Share of all records, 0 to 1.
    pub ratio: f64,
    pub min_ms: i64,
    pub max_ms: i64,
}

impl Fault {
    const fn none(min_ms: i64, max_ms: i64) -> Self {
        Self { ratio: 0.0, min_ms, max_ms }
    }
}

/// The faults of a run. What the bounds mean stands with each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Inject {
    /// How far behind the oldest time that would still be accepted.
    pub late: Fault,
    /// How long after the original the copy is sent.
    pub dup: Fault,
    /// Bounds mean nothing here.
    pub malformed: Fault,
    /// How far behind the schedule the event time lies; never so far that it is late.
    pub reorder: Fault,
    /// How far beyond what is still accepted.
    pub future: Fault,
    /// Bounds mean nothing here.
    pub tombstone: Fault,
    /// Bounds mean nothing here.
    pub drift: Fault,
}

impl Default for Inject {
    fn default() -> Self {
        Self {
            late: Fault::none(0, 300_000),
            dup: Fault::none(0, 2_000),
            malformed: Fault::none(0, 0),
            reorder: Fault::none(1, 5_000),
            future: Fault::none(1, 600_000),
            tombstone: Fault::none(0, 0),
            drift: Fault::none(0, 0),
        }
    }
}

impl Inject {
    /// What `usual` stands for: about what careful published data sets show, rounded up.
    pub const USUAL: &str = "reorder=2%:5s,late=1%,dup=0.5%,malformed=0.1%,future=0.05%";
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct InjectError(String);

impl FromStr for Inject {
    type Err = InjectError;

    fn from_str(text: &str) -> Result<Self, InjectError> {
        let mut inject = Inject::default();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        for part in parts.flat_map(|part| match part {
            "usual" => Inject::USUAL.split(',').collect::<Vec<_>>(),
            part => vec![part],
        }) {
            let (name, value) = part.split_once('=').ok_or_else(|| {
                InjectError(format!("`{part}`: expected fault=ratio, for example late=1%"))
            })?;
            let fault = match name {
                "late" => &mut inject.late,
                "dup" => &mut inject.dup,
                "malformed" => &mut inject.malformed,
                "reorder" => &mut inject.reorder,
                "future" => &mut inject.future,
                "tombstone" => &mut inject.tombstone,
                "drift" => &mut inject.drift,
                _ => {
                    return Err(InjectError(format!(
                        "unknown fault `{name}`: expected late, dup, malformed, reorder, future, tombstone or drift"
                    )));
                }
            };
            set(fault, part, value)?;
        }
        let Inject { late, dup, malformed, reorder, future, tombstone, drift } = inject;
        let faults = [late, dup, malformed, future, tombstone, drift, reorder];
        if faults.iter().map(|fault| fault.ratio).sum::<f64>() > 1.0 {
            return Err(InjectError("the ratios add up to more than 100%".into()));
        }
        Ok(inject)
    }
}

/// `1%`, `0.01`, each optionally with `:5s` (up to) or `:30s..5m` (between).
fn set(fault: &mut Fault, part: &str, value: &str) -> Result<(), InjectError> {
    let (ratio, bounds) = match value.split_once(':') {
        Some((ratio, bounds)) => (ratio, Some(bounds)),
        None => (value, None),
    };
    let (number, unit) = match ratio.strip_suffix('%') {
        Some(percent) => (percent, 0.01),
        None => (ratio, 1.0),
    };
    fault.ratio = number
        .parse::<f64>()
        .ok()
        .map(|number| number * unit)
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| InjectError(format!("`{part}`: `{ratio}` is not a ratio from 0 to 100%")))?;
    let Some(bounds) = bounds else { return Ok(()) };
    let millis = |text: &str| {
        humantime::parse_duration(text)
            .map_err(|error| InjectError(format!("`{part}`: `{text}` is not a time: {error}")))
            .map(|duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4))
    };
    match bounds.split_once("..") {
        Some((min, max)) => (fault.min_ms, fault.max_ms) = (millis(min)?, millis(max)?),
        None => fault.max_ms = millis(bounds)?,
    }
    if fault.min_ms > fault.max_ms {
        return Err(InjectError(format!("`{part}`: the bounds `{bounds}` are empty")));
    }
    Ok(())
}

impl fmt::Display for Inject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = [
            ("reorder", self.reorder),
            ("late", self.late),
            ("dup", self.dup),
            ("malformed", self.malformed),
            ("future", self.future),
            ("tombstone", self.tombstone),
            ("drift", self.drift),
        ];
        let mut separator = "";
        for (name, fault) in faults.into_iter().filter(|(_, fault)| fault.ratio > 0.0) {
            write!(f, "{separator}{name}={}", fault.ratio)?;
            if fault.max_ms > 0 {
                write!(f, ":{}ms..{}ms", fault.min_ms, fault.max_ms)?;
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_people_write() {
        let inject: Inject = "late=1%:30s..5m, dup=0.005,reorder=2%:5s".parse().unwrap();
        assert_eq!(inject.late, Fault { ratio: 0.01, min_ms: 30_000, max_ms: 300_000 });
        assert_eq!(inject.dup, Fault { ratio: 0.005, min_ms: 0, max_ms: 2_000 });
        assert_eq!(inject.reorder, Fault { ratio: 0.02, min_ms: 1, max_ms: 5_000 });
        assert_eq!(inject.future.ratio, 0.0);
        let usual: Inject = "usual".parse().unwrap();
        assert_eq!(usual, Inject::USUAL.parse().unwrap());
        assert_eq!("".parse::<Inject>().unwrap(), Inject::default());
    }

    #[test]
    fn what_it_prints_it_reads() {
        let inject: Inject = "usual,tombstone=0.2%,drift=0.1%,late=1%:30s..5m".parse().unwrap();
        assert_eq!(inject.to_string().parse::<Inject>().unwrap(), inject);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Inject>().unwrap_err().to_string();
        assert!(error("lat=1%").contains("unknown fault `lat`"));
        assert!(error("late").contains("expected fault=ratio"));
        assert!(error("late=150%").contains("not a ratio"));
        assert!(error("late=1%:5x").contains("not a time"));
        assert!(error("late=1%:5m..1s").contains("empty"));
        assert!(error("late=60%,dup=50%").contains("100%"));
    }
}
