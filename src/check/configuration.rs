//! What the configuration amounts to, and whether its memory is there.

use bytesize::ByteSize;

use super::memory::{MemoryLimit, memory_limit};
use super::{Finding, Section};
use crate::config::{Config, MemoryEstimate};
use crate::pipeline::definitions::Definitions;

pub fn section(config: &Config) -> Section {
    let definitions = config.definitions();
    let mut findings = vec![
        Finding::ok("windows", windows(&definitions)),
        Finding::ok("boards", boards(&definitions)),
        Finding::ok("distinct users", uniques(&definitions)),
        memory(&config.memory_estimate(), memory_limit()),
    ];
    findings.extend(config.warnings().into_iter().map(|text| Finding::warn("security", text, "")));
    Section { name: "configuration".to_owned(), findings }
}

fn windows(definitions: &Definitions) -> String {
    let windows = definitions.windows.iter().map(|window| {
        let (slide, step) = (window.slide.label(), window.closed_step.label());
        format!("{} every {slide} (closed every {step})", window.label)
    });
    windows.collect::<Vec<_>>().join(", ")
}

/// `product top 1000 by clicks, orders; category top 100 by clicks`
fn boards(definitions: &Definitions) -> String {
    let mut text = String::new();
    let mut before = None;
    for board in &definitions.boards {
        let metric = board.metric.name();
        if before == Some((board.dimension, board.top)) {
            text.push_str(&format!(", {metric}"));
        } else {
            let dimension = &definitions.dimensions[board.dimension].name;
            let separator = if before.is_some() { "; " } else { "" };
            text.push_str(&format!("{separator}{dimension} top {} by {metric}", board.top));
        }
        before = Some((board.dimension, board.top));
    }
    text
}

fn uniques(definitions: &Definitions) -> String {
    let dimensions = definitions.dimensions.iter().filter(|dimension| dimension.uniques);
    let names: Vec<&str> = dimensions.map(|dimension| dimension.name.as_str()).collect();
    match names.as_slice() {
        [] => "per kind of event".to_owned(),
        names => format!("per kind of event, and per {}", names.join(", per ")),
    }
}

fn memory(estimate: &MemoryEstimate, limit: Option<MemoryLimit>) -> Finding {
    let size = |bytes| ByteSize(bytes).display().iec();
    let found = format!(
        "expected {}, at most {}",
        size(estimate.expected_bytes),
        size(estimate.worst_bytes)
    );
    let Some(limit) = limit else {
        return Finding::ok("memory", found).remark("this system does not tell how much there is");
    };
    let found = format!("{found}; {} has {}", limit.origin, size(limit.bytes));
    let mut parts = estimate.parts.clone();
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let largest: Vec<String> =
        parts.iter().take(3).map(|(name, bytes)| format!("{name} {}", size(*bytes))).collect();
    let advice =
        format!("lower a bound under [limits], or give it more; largest: {}", largest.join(", "));
    if estimate.expected_bytes > limit.bytes {
        Finding::fail("memory", found, format!("it would be killed when busy: {advice}"))
    } else if estimate.worst_bytes > limit.bytes {
        Finding::warn("memory", found, format!("it would be killed at its bounds: {advice}"))
    } else {
        Finding::ok("memory", found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    #[test]
    fn the_defaults_in_words() {
        let definitions = Config::default().definitions();
        let text = [windows(&definitions), boards(&definitions), uniques(&definitions)].join("\n");
        insta::assert_snapshot!(text, @r"
        1m every 1s (closed every 1m), 5m every 5s (closed every 1m), 1h every 1m (closed every 1m), 24h every 15m (closed every 15m)
        product top 1000 by clicks, wishlists, orders, units, revenue_minor; category top 100 by clicks, wishlists, orders, units, revenue_minor; seller top 100 by clicks, wishlists, orders, units, revenue_minor
        per kind of event, and per category
        ");
    }

    #[test]
    fn memory_is_held_against_the_limit() {
        let estimate = MemoryEstimate {
            expected_bytes: 1 << 30,
            worst_bytes: 4 << 30,
            parts: vec![("panes", 3 << 30), ("process", 1 << 20), ("prefetch", 1 << 30)],
        };
        let judge = |bytes| {
            let limit = MemoryLimit { bytes, origin: "this machine" };
            memory(&estimate, Some(limit))
        };
        assert_eq!(judge(4 << 30).verdict, Verdict::Ok);
        assert_eq!(judge(2 << 30).verdict, Verdict::Warn);
        assert_eq!(judge((1 << 30) - 1).verdict, Verdict::Fail);
        insta::assert_snapshot!(
            judge(2 << 30).advice,
            @"it would be killed at its bounds: lower a bound under [limits], or give it more; largest: panes 3.0 GiB, prefetch 1.0 GiB, process 1.0 MiB"
        );
    }
}
