//! What each stage takes, alone and on one thread.

use super::stats::significant;
use super::{Measured, NOT_MEASURED};

pub fn table_of(measured: &Measured) -> Vec<Vec<String>> {
    let line = |stage: &crate::stage::Stage| {
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), significant);
        let between = match stage.nanoseconds_between {
            Some((low, high)) => format!(" ({}–{})", significant(low), significant(high)),
            None => String::new(),
        };
        vec![
            stage.name.clone(),
            stage.per.clone(),
            format!("{}{between}", shown(stage.nanoseconds)),
            shown(stage.nanoseconds.map(|nanoseconds| 1000.0 / nanoseconds)),
            shown(stage.instructions),
        ]
    };
    measured.stages.iter().map(line).collect()
}

pub fn table(measured: &Measured) -> String {
    let lines = table_of(measured);
    if lines.is_empty() {
        return NOT_MEASURED.to_owned();
    }
    super::table(&["stage", "per", "ns (95 %)", "M/s", "instructions"], lines)
}
