//! What each stage takes, alone and on one thread.

use super::stats::significant;
use super::{Measured, NOT_MEASURED};

pub fn table(measured: &Measured) -> String {
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), significant);
    let timed = measured.stages.iter().filter(|stage| stage.nanoseconds.is_some()).map(|stage| {
        let between = match stage.nanoseconds_between {
            Some((low, high)) => format!(" ({}–{})", significant(low), significant(high)),
            None => String::new(),
        };
        vec![
            stage.name.clone(),
            stage.per.clone(),
            format!("{}{between}", shown(stage.nanoseconds)),
            shown(stage.nanoseconds.map(|nanoseconds| 1000.0 / nanoseconds)),
        ]
    });
    let timed: Vec<_> = timed.collect();
    let counted = measured.stages.iter().filter(|stage| stage.instructions.is_some());
    let counted: Vec<_> = counted
        .map(|stage| {
            let name = stage.name.trim_start_matches("instructions/");
            vec![name.to_owned(), stage.per.clone(), shown(stage.instructions)]
        })
        .collect();
    let part = |lines: Vec<Vec<String>>, head: &[&str]| match lines.is_empty() {
        true => NOT_MEASURED.to_owned(),
        false => super::table(head, lines),
    };
    format!(
        "{}\n{}",
        part(counted, &["stage", "per", "instructions"]),
        part(timed, &["bench", "per", "ns (95 %)", "M/s"]),
    )
}

/// What each thing takes of memory.
pub fn footprint(measured: &Measured) -> String {
    let with_bytes = measured.stages.iter().filter_map(|stage| Some((stage, stage.bytes?)));
    let lines: Vec<_> =
        with_bytes.map(|(stage, bytes)| vec![stage.name.clone(), format!("{bytes:.0}")]).collect();
    match lines.is_empty() {
        true => NOT_MEASURED.to_owned(),
        false => super::table(&["what", "bytes"], lines),
    }
}
