//! Which of two accounts of a window stands afterwards: pure rules.

use std::collections::BTreeSet;

use crate::pipeline::period::Period;
use crate::time::EventTime;

/// Field names and values of a history entry, in order.
pub type Fields = Vec<(String, String)>;

/// What becomes of a window that the backfill has computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The live history lacks it.
    Added,
    /// It says something else than what stands.
    Replaced,
    /// It says the same.
    Equal,
    /// What stands was complete, and this is not.
    Worse,
    /// The live prefix has not closed it: its writer will.
    NotClosed,
    /// No window of the period.
    Outside,
}

impl Verdict {
    /// Whether the backfill's account stands afterwards.
    pub fn is_taken(self) -> bool {
        matches!(self, Verdict::Added | Verdict::Replaced | Verdict::Equal)
    }
}

/// Judges a backfilled entry by the live one with the same end.
pub fn judge(
    end: EventTime,
    period: &Period,
    closed_through: Option<EventTime>,
    backfilled: &Fields,
    live: Option<&Fields>,
) -> Verdict {
    if !period.holds(end) {
        return Verdict::Outside;
    }
    if closed_through.is_none_or(|through| end > through) {
        return Verdict::NotClosed;
    }
    match live {
        None => Verdict::Added,
        Some(live) if live == backfilled => Verdict::Equal,
        Some(live) if is_complete(live) && !is_complete(backfilled) => Verdict::Worse,
        Some(_) => Verdict::Replaced,
    }
}

fn is_complete(fields: &Fields) -> bool {
    fields.iter().any(|(name, value)| name == "complete" && value == "1")
}

/// Of which windows the boards change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boards {
    pub promoted: Vec<i64>,
    /// Older than the last `keep`, now that there are more.
    pub fallen: Vec<i64>,
    /// Backfilled ones that are.
    pub too_old: usize,
}

/// Of both, the boards of the last `keep` windows stay; of all, where it is 0.
pub fn boards(live: &[i64], backfilled: &[i64], keep: usize) -> Boards {
    let all: BTreeSet<i64> = live.iter().chain(backfilled).copied().collect();
    let keep = if keep == 0 { all.len() } else { keep };
    let kept: BTreeSet<i64> = all.into_iter().rev().take(keep).collect();
    let (promoted, old): (Vec<i64>, Vec<i64>) =
        backfilled.iter().partition(|end| kept.contains(end));
    Boards {
        promoted,
        fallen: live.iter().copied().filter(|end| !kept.contains(end)).collect(),
        too_old: old.iter().filter(|end| !live.contains(end)).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Period =
        Period { from: EventTime::from_millis(100), to: EventTime::from_millis(200) };

    fn entry(events: u64, complete: u8) -> Fields {
        [("events", events.to_string()), ("complete", complete.to_string())]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    #[test]
    fn each_window_has_its_verdict() {
        let at = EventTime::from_millis;
        let judge = |end, closed_through: Option<i64>, backfilled: &Fields, live| {
            judge(at(end), &PERIOD, closed_through.map(at), backfilled, live)
        };
        let (whole, part) = (entry(7, 1), entry(7, 0));
        assert_eq!(judge(100, Some(300), &whole, None), Verdict::Outside);
        assert_eq!(judge(101, Some(300), &whole, None), Verdict::Added);
        assert_eq!(judge(200, Some(300), &whole, Some(&whole)), Verdict::Equal);
        assert_eq!(judge(201, Some(300), &whole, None), Verdict::Outside);
        assert_eq!(judge(150, Some(150), &entry(8, 1), Some(&whole)), Verdict::Replaced);
        assert_eq!(judge(150, Some(149), &whole, None), Verdict::NotClosed);
        assert_eq!(judge(150, None, &whole, None), Verdict::NotClosed);
        assert_eq!(judge(150, Some(300), &part, Some(&whole)), Verdict::Worse);
        assert_eq!(judge(150, Some(300), &part, None), Verdict::Added);
        assert_eq!(judge(150, Some(300), &whole, Some(&part)), Verdict::Replaced);
        assert_eq!(judge(150, Some(300), &entry(9, 0), Some(&part)), Verdict::Replaced);
    }

    #[test]
    fn boards_of_the_last_windows_stay() {
        let plan = |live: &[i64], backfilled: &[i64], keep| {
            let Boards { promoted, fallen, too_old } = boards(live, backfilled, keep);
            (promoted, fallen, too_old)
        };
        assert_eq!(plan(&[], &[1, 2, 3], 2), (vec![2, 3], vec![], 1));
        assert_eq!(plan(&[4, 5], &[1, 2, 3], 2), (vec![], vec![], 3));
        assert_eq!(plan(&[1, 5], &[2, 3], 2), (vec![3], vec![1], 1));
        assert_eq!(plan(&[1, 2], &[1, 2], 2), (vec![1, 2], vec![], 0));
        assert_eq!(plan(&[1, 5], &[2, 3], 0), (vec![2, 3], vec![], 0));
    }
}
