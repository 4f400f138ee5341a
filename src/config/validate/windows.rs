//! Time and windows.

use std::time::Duration;

use super::Rules;
use crate::config::format::duration;
use crate::config::{Config, WindowConfig};
use crate::time::Span;

/// Windows are slid pane by pane; beyond this, catching up over a gap takes noticeable time.
const SLIDES_PER_SIZE_MAX: i64 = 100_000;
/// The structure for distinct users counts base panes in 19 bits, less a margin for lateness.
const PANES_PER_WINDOW_MAX: i64 = 500_000;
/// A finer base pane holds hardly one event and only multiplies the bookkeeping.
const BASE_PANE_MIN: Span = Span::from_millis(10);

pub(super) fn check(config: &Config, rules: &mut Rules<'_>) {
    check_time(config, rules);
    rules.refuse_if(
        config.window.is_empty(),
        "window",
        "nothing to compute: declare at least one [[window]]",
    );
    for (index, window) in config.window.iter().enumerate() {
        check_window(config, index, window, rules);
    }
    check_panes(config, rules);
}

fn check_time(config: &Config, rules: &mut Rules<'_>) {
    let time = &config.time;
    for (path, value, consequence) in [
        ("time.max_future", time.max_future, "every record would be rejected as future"),
        ("time.max_skew", time.max_skew, "every partition but the slowest would be paused"),
        ("time.stall_limit", time.stall_limit, "every partition would be left out at once"),
    ] {
        rules.refuse_if(value.is_zero(), path, format!("must be longer than 0: {consequence}"));
    }
}

fn check_window(config: &Config, index: usize, window: &WindowConfig, rules: &mut Rules<'_>) {
    let path = |key: &str| format!("window[{index}].{key}");
    let (size, slide) = (Span::from(window.size), Span::from(window.slide));
    if size == Span::ZERO || slide == Span::ZERO {
        rules.refuse_if(size == Span::ZERO, &path("size"), "must be longer than 0");
        return rules.refuse_if(slide == Span::ZERO, &path("slide"), "must be longer than 0");
    }
    if slide > size {
        let size = duration(window.size);
        rules.refuse(
            &path("slide"),
            format!(
                "must not be longer than size ({size}): events between two windows would be \
                     in none"
            ),
        );
    } else if !size.is_multiple_of(slide) {
        let slide = duration(window.slide);
        rules.refuse(
            &path("size"),
            format!(
                "must be a multiple of slide ({slide}): windows are cut from panes of that \
                     width"
            ),
        );
    } else if size.millis() / slide.millis() > SLIDES_PER_SIZE_MAX {
        rules.refuse(
            &path("slide"),
            format!("is too fine for its size: at most {SLIDES_PER_SIZE_MAX} slides per size"),
        );
    }
    let twin = config.window[..index].iter().any(|other| other.size == window.size);
    rules.refuse_if(
        twin,
        &path("size"),
        "is declared twice: the size names a window's keys, so only one slide can go with it",
    );
    check_cadence(config, window, &path, rules);
}

/// How often a window is emitted and written.
fn check_cadence(
    config: &Config,
    window: &WindowConfig,
    path: &dyn Fn(&str) -> String,
    rules: &mut Rules<'_>,
) {
    if let Some(step) = window.closed_step {
        let fits = Span::from(step).is_multiple_of(window.slide.into()) && !step.is_zero();
        let slide = duration(window.slide);
        rules.refuse_if(
            !fits,
            &path("closed_step"),
            format!("must be a multiple of slide ({slide}): only there do windows end"),
        );
    }
    if window.refresh.is_some_and(|refresh| refresh < config.redis.flush) {
        let flush = duration(config.redis.flush);
        rules.refuse(
            &path("refresh"),
            format!(
                "must not be shorter than redis.flush ({flush}): nothing is written more \
                     often"
            ),
        );
    }
}

fn check_panes(config: &Config, rules: &mut Rules<'_>) {
    let base = config.window.iter().fold(Span::ZERO, |base, window| base.gcd(window.slide.into()));
    let longest = config.window.iter().map(|window| window.size).max().unwrap_or(Duration::ZERO);
    if base == Span::ZERO {
        return;
    }
    if base < BASE_PANE_MIN {
        let label = base.label();
        return rules.refuse(
            "window",
            format!(
                "the slides have {label} as their greatest common divisor, and panes are that \
                 wide: make it at least {}",
                BASE_PANE_MIN.label()
            ),
        );
    }
    if Span::from(longest).millis() / base.millis() > PANES_PER_WINDOW_MAX {
        let (longest, base) = (duration(longest), base.label());
        rules.refuse(
            "window",
            format!(
                "the longest window ({longest}) has more than {PANES_PER_WINDOW_MAX} base \
                     panes of {base}, too many for distinct users: make the slides coarser"
            ),
        );
    }
}
