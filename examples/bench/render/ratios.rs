//! nazar beside the ceiling.

use super::stats::{Spread, mebibytes, millions, percent, significant};
use super::{Measured, NOT_MEASURED};
use crate::row::{Row, Verified};

/// Cases that are no points of a curve.
const CASES: [(&str, &str); 3] =
    [("sb1", "SB1"), ("default", "default views"), ("memory", "a million live products")];

/// Both programs of one case.
pub struct Pair {
    pub ceiling_rate: Spread,
    pub nazar_rate: Spread,
    /// nazar's rate of each round by that of the ceiling of the same round.
    pub ratio: Spread,
    /// Events per second of processor time.
    pub ceiling_per_processor: Spread,
    pub nazar_per_processor: Spread,
    pub ceiling_memory: Spread,
    pub nazar_memory: Spread,
    pub memory_ratio: Spread,
}

impl Pair {
    pub fn of(measured: &Measured, case: &str) -> Option<Self> {
        let ceiling: Vec<&Row> = measured.of(case, "ceiling").collect();
        let nazar: Vec<&Row> = measured.of(case, "nazar").collect();
        let spread =
            |rows: &[&Row], figure: fn(&Row) -> f64| Spread::of(rows.iter().map(|row| figure(row)));
        let by_round = |figure: fn(&Row) -> f64| {
            Spread::of(nazar.iter().filter_map(|row| {
                let same = ceiling.iter().find(|other| other.round == row.round)?;
                Some(figure(row) / figure(same))
            }))
        };
        Some(Self {
            ceiling_rate: spread(&ceiling, Row::events_per_second)?,
            nazar_rate: spread(&nazar, Row::events_per_second)?,
            ratio: by_round(Row::events_per_second)?,
            ceiling_per_processor: spread(&ceiling, per_processor)?,
            nazar_per_processor: spread(&nazar, per_processor)?,
            ceiling_memory: spread(&ceiling, memory)?,
            nazar_memory: spread(&nazar, memory)?,
            memory_ratio: by_round(memory)?,
        })
    }
}

fn per_processor(row: &Row) -> f64 {
    1e6 / row.processor_seconds_per_million()
}

fn memory(row: &Row) -> f64 {
    row.spent.peak_rss_bytes as f64
}

pub fn table(measured: &Measured) -> String {
    let pairs: Vec<_> = CASES
        .into_iter()
        .filter_map(|(case, name)| Some((case, name, Pair::of(measured, case)?)))
        .collect();
    if pairs.is_empty() {
        return NOT_MEASURED.to_owned();
    }
    let rates = pairs.iter().filter_map(|(case, name, pair)| {
        let first = measured.of(case, "nazar").next()?;
        Some(vec![
            (*name).to_owned(),
            format!("{} million over {}", significant(first.events as f64 / 1e6), span(first)),
            pair.ceiling_rate.shown(millions),
            pair.nazar_rate.shown(millions),
            format!("**{}**", pair.ratio.shown(percent)),
            pair.ratio.runs.to_string(),
            verified(measured.of(case, "nazar")),
        ])
    });
    let head =
        ["job", "events", "ceiling, M/s", "nazar, M/s", "nazar / ceiling", "runs", "verified"];
    let rates = super::table(&head, rates);
    let costs = pairs.iter().map(|(_, name, pair)| {
        vec![
            (*name).to_owned(),
            pair.ceiling_per_processor.shown(millions),
            pair.nazar_per_processor.shown(millions),
            percent(pair.nazar_per_processor.median / pair.ceiling_per_processor.median),
            pair.ceiling_memory.shown(mebibytes),
            pair.nazar_memory.shown(mebibytes),
            format!("**{}**", pair.memory_ratio.shown(significant)),
        ]
    });
    let head = [
        "job",
        "ceiling, M events per processor second",
        "nazar",
        "nazar / ceiling",
        "ceiling, peak memory in MiB",
        "nazar",
        "nazar / ceiling",
    ];
    format!("{rates}\n{}\n{}", super::table(&head, costs), by_part(measured))
}

fn span(row: &Row) -> String {
    humantime::format_duration(std::time::Duration::from_secs(row.span_seconds)).to_string()
}

/// How much of what was published has been compared with a recount.
pub fn verified<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let verified: Vec<_> = rows.filter_map(|row| row.verified).collect();
    if verified.is_empty() {
        return "no".to_owned();
    }
    let sum = |figure: fn(&Verified) -> u64| verified.iter().map(figure).sum::<u64>();
    format!(
        "{} differences in {} windows, {} members of boards",
        sum(|one| one.differences),
        sum(|one| one.windows),
        sum(|one| one.members)
    )
}

/// Where the processor time of a job went, over the three processes.
fn by_part(measured: &Measured) -> String {
    let per_million = |rows: &[&Row], figure: &dyn Fn(&Row) -> Option<f64>| {
        let values = rows.iter().filter_map(|row| Some(figure(row)? / row.events as f64 * 1e6));
        Spread::of(values).map_or("-".to_owned(), |spread| spread.shown(significant))
    };
    let line = |(case, name): (&str, &str), program: &str| {
        let rows: Vec<&Row> = measured.of(case, program).collect();
        (!rows.is_empty()).then(|| {
            vec![
                format!("{name}, {program}"),
                per_million(&rows, &|row| Some(row.spent.user_seconds)),
                per_million(&rows, &|row| Some(row.spent.system_seconds)),
                per_million(&rows, &|row| row.broker_processor_seconds),
                per_million(&rows, &|row| row.redis_processor_seconds),
            ]
        })
    };
    let lines = CASES
        .into_iter()
        .flat_map(|case| ["ceiling", "nazar"].map(|program| line(case, program)))
        .flatten();
    let head = ["processor seconds per million events", "user", "system", "broker", "Redis"];
    super::table(&head, lines)
}
