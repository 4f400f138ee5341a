//! The oracle's differences, by direction: what is too much, what is missing, and what went
//! with Redis' data.

use std::collections::BTreeMap;

use serde_json::Value;

/// By window label: the end of the newest closed window that nobody had in memory when Redis lost
/// its data.
pub type LostThrough = BTreeMap<String, i64>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    pub over: u64,
    pub under: u64,
    pub lost: u64,
    pub torn: u64,
    /// Some of the differences, as people read them.
    pub named: Vec<String>,
}

const NAMED_MAX: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Over,
    Under,
    Lost,
    Torn,
}

/// What a report may say without anybody being wrong.
#[derive(Clone, Debug, Default)]
pub struct Excuses {
    pub lost_through: LostThrough,
    /// Samples were taken while writers died: distinct counts of single entities follow the swap of
    /// their window, and may have stood behind it until the next writer came (docs/REDIS.md).
    pub writers_died: bool,
}

/// Sorts the differences of `nazar-load verify --json`.
pub fn judge(report: &Value, excuses: &Excuses) -> Judgement {
    let mut judgement = Judgement::default();
    let none = Vec::new();
    let differences = report["differences"]["first"].as_array().unwrap_or(&none);
    for difference in differences {
        let direction = direction(difference, excuses);
        match direction {
            Direction::Over => judgement.over += 1,
            Direction::Under => judgement.under += 1,
            Direction::Lost => judgement.lost += 1,
            Direction::Torn => judgement.torn += 1,
        }
        if matches!(direction, Direction::Over | Direction::Under)
            && judgement.named.len() < NAMED_MAX
        {
            let text = |name: &str| difference[name].as_str().unwrap_or("?").to_owned();
            judgement.named.push(format!(
                "{} {}: expected {}, found {}",
                text("key"),
                text("member"),
                text("expected"),
                text("found")
            ));
        }
    }
    // Differences that were counted and not named cannot be excused.
    let count = report["differences"]["count"].as_u64().unwrap_or(u64::MAX);
    judgement.under += count.saturating_sub(differences.len() as u64);
    judgement
}

/// More than expected, or less. What cannot be compared as numbers is wrong, and so missing,
/// unless nothing was expected at all.
fn direction(difference: &Value, excuses: &Excuses) -> Direction {
    let text = |name: &str| difference[name].as_str().unwrap_or_default();
    let (key, expected, found) = (text("key"), text("expected"), text("found"));
    if found.starts_with("no such") && is_lost(key, &excuses.lost_through) {
        return Direction::Lost;
    }
    if excuses.writers_died && is_latest_of_entity(key) {
        return Direction::Torn;
    }
    let expects_nothing = expected.starts_with("no ") || expected == "nothing";
    match (expected.parse::<f64>(), found.parse::<f64>()) {
        (Ok(expected), Ok(found)) if found > expected => Direction::Over,
        _ if expects_nothing => Direction::Over,
        _ => Direction::Under,
    }
}

/// Whether a closed view or a history entry was there when Redis lost its data, and only there.
fn is_lost(key: &str, lost_through: &LostThrough) -> bool {
    let place = match key.split_once(":history:") {
        Some((_, entry)) => entry.strip_suffix("-0").and_then(|entry| entry.split_once(' ')),
        None if key.contains(":closed:") => key.rsplit_once(':').and_then(|(rest, end)| {
            let (_, window) = rest.rsplit_once(':')?;
            Some((window, end))
        }),
        None => None,
    };
    place.is_some_and(|(window, end)| {
        let through = lost_through.get(window).copied().unwrap_or(i64::MIN);
        end.parse::<i64>().is_ok_and(|end| end <= through)
    })
}

/// `{prefix}:uniques:<kind>:<dimension>:<id>:<window>`; of all entities together it lacks two parts.
fn is_latest_of_entity(key: &str) -> bool {
    key.split_once("}:uniques:").is_some_and(|(_, rest)| rest.split(':').count() == 4)
}

/// The rules above by example; run before anything is judged by them.
pub fn check_rules() {
    let lost_through = LostThrough::from([("8s".to_owned(), 8_000)]);
    let excuses = Excuses { lost_through, writers_died: false };
    for (key, expected, found, direction) in [
        ("{a}:closed:top:product:clicks:8s:16000", "4", "5", Direction::Over),
        ("{a}:closed:top:product:clicks:8s:16000", "5", "4", Direction::Under),
        ("{a}:closed:top:product:clicks:8s:16000", "nothing", "4", Direction::Over),
        ("{a}:closed:top:product:clicks:8s:16000", "4", "nothing", Direction::Under),
        (
            "{a}:closed:top:product:clicks:8s:16000",
            "a board of 3 members",
            "no such key",
            Direction::Under,
        ),
        (
            "{a}:closed:top:product:clicks:8s:8000",
            "a board of 3 members",
            "no such key",
            Direction::Lost,
        ),
        ("{a}:closed:top:product:clicks:8s:8000", "4", "5", Direction::Over),
        (
            "{a}:closed:top:product:clicks:2s:8000",
            "a board of 3 members",
            "no such key",
            Direction::Under,
        ),
        ("{a}:history:8s 8000-0", "an entry with 9 events", "no such entry", Direction::Lost),
        ("{a}:history:8s 16000-0", "an entry with 9 events", "no such entry", Direction::Under),
        ("{a}:history:8s 16000-0", "no entry, for the window is empty", "4", Direction::Over),
        (
            "{a}:closed:top:product:clicks:8s:16000",
            "no such key, for its window has no such content",
            "a key",
            Direction::Over,
        ),
        ("{a}:totals:1h", "70", "no such key", Direction::Under),
    ] {
        let difference =
            serde_json::json!({"key": key, "member": "", "expected": expected, "found": found});
        assert_eq!(
            self::direction(&difference, &excuses),
            direction,
            "{key}: {expected} / {found}"
        );
    }
    let died = Excuses { writers_died: true, ..excuses.clone() };
    for (key, direction) in [
        ("{a}:uniques:click:category:Toys:8s", Direction::Torn),
        ("{a}:uniques:click:8s", Direction::Under),
        ("{a}:closed:uniques:click:category:Toys:8s:16000", Direction::Under),
    ] {
        let difference =
            serde_json::json!({"key": key, "member": "register 7", "expected": "3", "found": "0"});
        assert_eq!(self::direction(&difference, &died), direction, "{key}");
        assert_eq!(self::direction(&difference, &excuses), Direction::Under, "{key}");
    }
    let unnamed = serde_json::json!({"differences": {"count": 3, "first": []}});
    assert_eq!(judge(&unnamed, &excuses).under, 3);
}
