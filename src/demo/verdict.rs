//! What came of it, and whether that is good enough: pure.

use std::fmt::Write;
use std::time::Duration;

use crate::load::kind::Reason;
use crate::load::ledger::Counts;
use crate::load::terminal::words::grouped;
use crate::service::{LedgerLine, Summary};

/// Below this, a run that is to end by itself counts as failed.
pub const APPLIED_PER_SECOND_MIN: u64 = 20_000;

/// What was observed of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By the generator's labels.
    pub produced: Counts,
    /// Records consumed, as the daemon counts them.
    pub consumed: u64,
    pub ledger: LedgerLine,
    pub windows_closed: u64,
    /// From the first record that was readable until all were.
    pub applying: Duration,
    /// The length of every latest board there should be.
    pub boards: Vec<(String, u64)>,
}

impl Outcome {
    pub fn new(
        produced: Counts,
        summary: &Summary,
        applying: Duration,
        boards: Vec<(String, u64)>,
    ) -> Self {
        Self {
            produced,
            consumed: summary.events,
            ledger: summary.ledger,
            windows_closed: summary.windows_closed,
            applying,
            boards,
        }
    }

    pub fn applied_per_second(&self) -> u64 {
        (self.ledger.applied as f64 / self.applying.as_secs_f64().max(1e-3)) as u64
    }

    fn empty_boards(&self) -> Vec<&str> {
        let empty = self.boards.iter().filter(|(_, length)| *length == 0);
        empty.map(|(name, _)| name.as_str()).collect()
    }

    /// What is not as it should be; empty if all is well.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let rate = self.applied_per_second();
        if rate < APPLIED_PER_SECOND_MIN {
            complaints.push(format!(
                "the rate was too low: {} events/s applied, at least {} were asked for \
                 (is this a release build on an idle machine?)",
                grouped(rate),
                grouped(APPLIED_PER_SECOND_MIN)
            ));
        }
        let empty = self.empty_boards();
        if self.boards.is_empty() {
            complaints.push("there are no boards".to_owned());
        } else if !empty.is_empty() {
            complaints.push(format!("boards are empty: {}", empty.join(", ")));
        }
        let accounted = self.reasons().iter().map(|(_, counted, _)| counted).sum();
        if accounted != self.consumed {
            complaints.push(format!(
                "the ledger does not close: {} consumed, {} accounted for",
                grouped(self.consumed),
                grouped(accounted)
            ));
        }
        if self.consumed != self.produced.total() {
            complaints.push(format!(
                "{} were produced, {} consumed",
                grouped(self.produced.total()),
                grouped(self.consumed)
            ));
        }
        complaints
    }

    /// The closing summary, as lines.
    pub fn report(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, said: String| _ = writeln!(text, "  {name:<10} {said}");
        line("produced", grouped(self.produced.total()));
        let seconds = self.applying.as_secs_f64();
        line(
            "applied",
            format!(
                "{} in {seconds:.1} s: {} events/s",
                grouped(self.ledger.applied),
                grouped(self.applied_per_second())
            ),
        );
        line("ledger", self.account());
        if self.reasons().iter().all(|(_, counted, label)| counted == label) {
            line("", "each reason as often as the generator meant it".to_owned());
        }
        line("windows", format!("{} closed", grouped(self.windows_closed)));
        let filled = self.boards.len() - self.empty_boards().len();
        line("boards", format!("{filled} of {} hold something", self.boards.len()));
        text
    }

    /// Each reason, with the generator's label where the two differ.
    fn account(&self) -> String {
        let mut text = format!("{} consumed =", grouped(self.consumed));
        for (at, (name, count, label)) in self.reasons().into_iter().enumerate() {
            let sign = if at == 0 { "" } else { " +" };
            _ = write!(text, "{sign} {} {name}", grouped(count));
            if label != count {
                _ = write!(text, " (sent: {})", grouped(label));
            }
        }
        text
    }

    /// By name: as the daemon counted, and as the generator meant it.
    fn reasons(&self) -> [(&'static str, u64, u64); 6] {
        let ledger = &self.ledger;
        Reason::ALL.map(|reason| {
            let counted = match reason {
                Reason::Applied => ledger.applied,
                Reason::Late => ledger.late,
                Reason::Duplicate => ledger.duplicate,
                Reason::Malformed => ledger.malformed,
                Reason::Future => ledger.future,
                Reason::Tombstone => ledger.tombstone,
            };
            (reason.name(), counted, self.produced[reason])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Outcome {
        Outcome {
            produced: Counts { applied: 500_000, late: 20, ..Counts::default() },
            consumed: 500_020,
            ledger: LedgerLine { applied: 500_000, late: 20, ..LedgerLine::default() },
            windows_closed: 3,
            applying: Duration::from_secs(20),
            boards: vec![("product:clicks:1m".into(), 1000), ("seller:orders:24h".into(), 1)],
        }
    }

    #[test]
    fn a_good_run_has_no_complaints() {
        assert_eq!(good().complaints(), Vec::<String>::new());
        assert_eq!(good().applied_per_second(), 25_000);
        assert!(good().report().contains("2 of 2"), "{}", good().report());
        assert!(!good().report().contains("sent:") && good().report().contains("generator meant"));
    }

    #[test]
    fn each_shortcoming_is_named_alone() {
        let check = |mar: fn(&mut Outcome), word: &str| {
            let mut outcome = good();
            mar(&mut outcome);
            let complaints = outcome.complaints();
            assert!(complaints.len() == 1 && complaints[0].contains(word), "{complaints:?}");
        };
        check(|outcome| outcome.applying = Duration::from_secs(26), "rate was too low: 19,230");
        check(|outcome| outcome.boards[1].1 = 0, "empty: seller:orders:24h");
        check(|outcome| outcome.boards.clear(), "no boards");
        check(|outcome| outcome.ledger.late = 19, "does not close: 500,020 consumed, 500,019");
        check(|outcome| outcome.produced.late = 21, "500,021 were produced, 500,020 consumed");
    }

    #[test]
    fn a_reason_that_was_meant_otherwise_shows() {
        let mut outcome = good();
        outcome.ledger.late = 0;
        outcome.ledger.applied += 20;
        assert!(outcome.report().contains("0 late (sent: 20)"), "{}", outcome.report());
        assert!(!outcome.report().contains("generator meant"));
    }

    #[test]
    fn no_time_is_no_division_by_zero() {
        let outcome = Outcome { applying: Duration::ZERO, ..good() };
        assert!(outcome.applied_per_second() > 0);
    }
}
