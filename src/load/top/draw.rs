//! A picture as text, pure.

use console::truncate_str;

use super::picture::{Board, Picture};
use super::reader::CLOSED;
use crate::load::artefacts::timeline::DaemonSecond;
use crate::load::terminal::board::{Panel, panels, side_by_side};
use crate::load::terminal::ink::Ink;
use crate::load::terminal::totals::{activity, closed, number, results};
use crate::load::terminal::words::{age, grouped, printable, time_of_day};

/// A board that shows fewer is not worth its title.
const ROWS_MIN: usize = 3;
/// A token is long; its beginning tells instances apart.
const TOKEN_SHOWN: usize = 12;

/// What stands beside the picture.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub now_ms: i64,
    /// Of all partitions together, over the last moments.
    pub records_per_second: Option<u64>,
    /// What the daemon's metrics say; the inner `None`: it does not answer. Not asked: the outer.
    pub daemon: Option<Option<DaemonSecond>>,
    /// Why the picture is not a new one.
    pub trouble: Option<String>,
    /// What else to say in the first line.
    pub hint: String,
    pub ink: Ink,
}

/// What there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub height: usize,
    pub width: usize,
    /// Rows of a board, at most.
    pub rows: usize,
}

/// The whole picture, at most `room.width` columns wide. It stands still: its height depends on
/// the room and on what is asked for, hardly on the figures.
pub fn frame(picture: &Picture, facts: &Facts, room: Room) -> Vec<String> {
    let (ink, width) = (facts.ink, room.width);
    let mut lines = vec![title(&picture.prefix, facts)];
    lines.extend(standing(picture, facts));
    lines.push(ink.alarm(&notices(picture, facts).join("; ")));
    lines.extend(totals(picture, ink));
    lines.push(String::new());
    let mut history = closed(&picture.closed, &printable(&picture.currency));
    history.resize(CLOSED, String::new());
    history.insert(
        0,
        ink.emphasis(&format!("closed {} windows, newest first (UTC)", printable(&picture.window))),
    );
    if !picture.boards.is_empty() {
        let shown: Vec<Panel<'_>> =
            picture.boards.iter().map(|board| panel(board, picture, ink)).collect();
        // What the lines above and below leave, with a blank one between.
        let left = room.height.saturating_sub(lines.len() + history.len() + 1);
        let groups = shown.len().div_ceil(side_by_side(shown.len(), width));
        let rows = (left / groups).saturating_sub(1).max(ROWS_MIN).min(room.rows);
        lines.extend(panels(&shown, rows, width));
        lines.push(String::new());
    }
    lines.extend(history);
    lines.iter().map(|line| truncate_str(line, width, "…").into_owned()).collect()
}

/// While there is no picture yet.
pub fn waiting(prefix: &str, facts: &Facts, width: usize) -> Vec<String> {
    let why = facts.trouble.as_deref().unwrap_or("waiting for the first answer");
    let lines = [title(prefix, facts), facts.ink.alarm(&printable(why))];
    lines.iter().map(|line| truncate_str(line, width, "…").into_owned()).collect()
}

fn title(prefix: &str, facts: &Facts) -> String {
    let name = facts.ink.emphasis("nazar-load top");
    let text = format!(
        "{name}  {}  {} UTC  {}",
        printable(prefix),
        time_of_day(facts.now_ms),
        facts.ink.aside(&facts.hint)
    );
    text.trim_end().to_owned()
}

/// How fresh it is, who writes it, and what is behind.
fn standing(picture: &Picture, facts: &Facts) -> [String; 4] {
    let ages = picture.times_ms.ages(facts.now_ms);
    let shown = |ms: Option<i64>| ms.map_or("-".to_owned(), age);
    let until = picture.window_end_ms.map_or("-".to_owned(), time_of_day);
    let mut window = format!("window   {} until {until}", printable(&picture.window));
    if let Some(rate) = facts.records_per_second {
        window += &format!("   {} records/s", grouped(rate));
    }
    window += if picture.complete { "   complete" } else { "   not complete" };
    let fresh = format!(
        "age      newest event {}   flush {}   watermark {}   closed {}",
        shown(ages.stream_time),
        shown(ages.flushed_at),
        shown(ages.group_watermark),
        shown(ages.closed_through)
    );
    let mut lag = format!("lag      slowest partition {} behind", shown(picture.slowest_behind_ms));
    match &facts.daemon {
        None => {}
        Some(None) => lag += "   the daemon's metrics do not answer",
        Some(Some(daemon)) => lag += &daemon_lag(daemon),
    }
    let token = picture.leader.token.as_deref().map_or("-".to_owned(), printable);
    let token: String = token.chars().take(TOKEN_SHOWN).collect();
    let lease = match (picture.leader.lease_left_ms, picture.ended) {
        (_, true) => "has ended: a bounded run".to_owned(),
        (Some(left), _) => format!("lease {}", age(left)),
        (None, _) => "no lease: nobody leads".to_owned(),
    };
    let seq = picture.leader.seq.map_or("-".to_owned(), |seq| seq.to_string());
    let mut leader = format!("leader   {token}   {lease}   seq {seq}");
    if let Some(partition) = &picture.held_back_by {
        leader += &format!("   windows wait for {}", printable(partition));
    }
    [window, fresh, lag, leader]
}

fn daemon_lag(daemon: &DaemonSecond) -> String {
    let records = daemon.lag_records.map(|records| format!("{} records", grouped(records as u64)));
    let seconds = daemon.lag_seconds.map(|seconds| age((seconds * 1000.0) as i64));
    let said: Vec<String> = [records, seconds].into_iter().flatten().collect();
    match said.is_empty() {
        true => "   the daemon reads nothing".to_owned(),
        false => format!("   daemon {}", said.join(", ")),
    }
}

/// What somebody should look after; mostly nothing.
fn notices(picture: &Picture, facts: &Facts) -> Vec<String> {
    let mut notices: Vec<String> = facts.trouble.iter().map(|why| printable(why)).collect();
    if !picture.is_published() {
        notices.push(format!("no latest views of {}", printable(&picture.window)));
    }
    if !picture.missing.is_empty() {
        notices.push(format!("left out: {}", printable(&picture.missing.join(", "))));
    }
    if picture.events_after_close > 0 {
        notices.push(format!("{} events after close", grouped(picture.events_after_close)));
    }
    if picture.over_cap > 0 {
        notices.push(format!("{} increments over a cap", grouped(picture.over_cap)));
    }
    notices
}

fn totals(picture: &Picture, ink: Ink) -> Vec<String> {
    let of = |name: &str| grouped(number(&picture.totals, name));
    let label = format!("{:<9}", format!("last {}", printable(&picture.window)));
    let kinds = ["click", "wishlist", "purchase"];
    let users = kinds.map(|kind| format!("≈{} by {kind}", of(&format!("uniques.{kind}"))));
    let mut lines = vec![
        format!("{}{}  {} units", ink.emphasis(&label), activity(&picture.totals), of("units")),
        format!("         {}", results(&picture.totals, &printable(&picture.currency))),
        format!("         users {}", users.join("  ")),
    ];
    let orders: Vec<String> = picture
        .totals
        .iter()
        .filter(|(_, count)| **count > 0)
        .filter_map(|(name, count)| {
            let status = printable(name.strip_prefix("orders.")?).to_lowercase();
            Some(format!("{} {status}", grouped(*count)))
        })
        .collect();
    if !orders.is_empty() {
        lines.push(format!("         orders {}", orders.join("  ")));
    }
    lines
}

fn panel<'a>(board: &'a Board, picture: &'a Picture, ink: Ink) -> Panel<'a> {
    let by = match board.is_money() {
        true => format!("revenue, {}", printable(&picture.currency)),
        false => board.metric.to_owned(),
    };
    let title = format!("top {} by {by}", printable(&board.dimension));
    Panel {
        title: ink.emphasis(&title),
        rows: &board.rows,
        currency: board.is_money().then_some(picture.currency.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::*;
    use crate::load::terminal::totals::Numbers;
    use crate::load::top::picture::{FORMAT, Leader, Moments};

    const NOW: i64 = 1_700_000_000_250;

    fn numbers(pairs: &[(&str, u64)]) -> Numbers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    /// Every text in it ends in `evil`.
    fn picture(evil: &str) -> Picture {
        let board = |dimension: &str, metric, rows: &[(&str, u64)]| Board {
            dimension: format!("{dimension}{evil}"),
            metric,
            rows: rows.iter().map(|(id, score)| (format!("{id}{evil}"), *score)).collect(),
        };
        let times_ms = Moments {
            stream_time: Some(NOW - 640),
            flushed_at: Some(NOW - 250),
            group_watermark: Some(NOW - 60_640),
            closed_through: Some(NOW - 98_250),
        };
        Picture {
            format: FORMAT,
            prefix: format!("nazar{evil}"),
            window: format!("1m{evil}"),
            read_at_ms: NOW,
            window_start_ms: Some(NOW - 59_250),
            window_end_ms: Some(NOW + 750),
            times_ms,
            ages_ms: times_ms.ages(NOW),
            slowest_behind_ms: Some(400),
            leader: Leader {
                token: Some(format!("6f1e0b5cf1c5a3f0{evil}")),
                lease_left_ms: Some(8_100),
                seq: Some(7712),
            },
            complete: true,
            held_back_by: Some(format!("click/3{evil}")),
            currency: format!("USD{evil}"),
            totals: numbers(&[
                ("clicks", 90_000),
                ("wishlists", 4_100),
                ("orders", 812),
                ("units", 950),
                ("revenue_minor", 1_234_567),
                ("conversion", 90),
                ("uniques", 9_120),
                ("uniques.click", 8_900),
                ("uniques.purchase", 780),
            ]),
            boards: vec![
                board("product", "clicks", &[("p-1", 300), ("p-2", 150)]),
                board("category", "revenue_minor", &[("文具", 99_900), ("Küche & Bad", 50)]),
                board("seller", "units", &[("s-1", 7)]),
            ],
            closed: vec![numbers(&[("window_end", 1_699_999_920_000), ("events", 1000)])],
            ..Picture::default()
        }
    }

    fn facts() -> Facts {
        Facts {
            now_ms: NOW,
            records_per_second: Some(39_812),
            hint: "every 1s, Ctrl-C ends".to_owned(),
            ..Facts::default()
        }
    }

    const ROOM: Room = Room { height: 24, width: 110, rows: 10 };

    #[test]
    fn the_picture() {
        insta::assert_snapshot!(frame(&picture(""), &facts(), ROOM).join("\n"), @r#"
        nazar-load top  nazar  22:13:20 UTC  every 1s, Ctrl-C ends
        window   1m until 22:13:21   39,812 records/s   complete
        age      newest event 0.6 s   flush 0.3 s   watermark 60.6 s   closed 98.3 s
        lag      slowest partition 0.4 s behind
        leader   6f1e0b5cf1c5   lease 8.1 s   seq 7712   windows wait for click/3

        last 1m  90,000 clicks  4,100 wishlists  812 orders  950 units
                 12,345.67 USD  ≈9,120 users  0.90 % conversion
                 users ≈8,900 by click  ≈0 by wishlist  ≈780 by purchase

        top product by clicks               top category by revenue, USD        top seller by units
          p-1              300 ███████████    文具          999.00 ███████████    s-1                7 ███████████
          p-2              150 ██████         Küche & Bad     0.50 █







        closed 1m windows, newest first (UTC)
          ending 22:12:00  1,000 events  0 clicks  0 orders  0.00 USD  ≈0 users
        "#);
    }

    #[test]
    fn a_narrow_picture_in_trouble() {
        let mut picture = picture("");
        picture.complete = false;
        picture.missing = vec!["click/3".into(), "click/4".into()];
        picture.leader.lease_left_ms = None;
        picture.events_after_close = 12;
        picture.totals.insert("orders.SHIPPED".into(), 17);
        picture.totals.insert("orders.RETURNED".into(), 0);
        let lag = DaemonSecond { lag_records: Some(20.0), lag_seconds: Some(0.4), applied: None };
        let facts = Facts {
            now_ms: NOW + 12_000,
            trouble: Some("Redis has been away for 12.0 s: connection refused".into()),
            daemon: Some(Some(lag)),
            ..facts()
        };
        let room = Room { width: 80, ..ROOM };
        insta::assert_snapshot!(frame(&picture, &facts, room).join("\n"), @r#"
        nazar-load top  nazar  22:13:32 UTC  every 1s, Ctrl-C ends
        window   1m until 22:13:21   39,812 records/s   not complete
        age      newest event 12.6 s   flush 12.3 s   watermark 72.6 s   closed 110.3 s
        lag      slowest partition 0.4 s behind   daemon 20 records, 0.4 s
        leader   6f1e0b5cf1c5   no lease: nobody leads   seq 7712   windows wait for cl…
        Redis has been away for 12.0 s: connection refused; left out: click/3, click/4;…
        last 1m  90,000 clicks  4,100 wishlists  812 orders  950 units
                 12,345.67 USD  ≈9,120 users  0.90 % conversion
                 users ≈8,900 by click  ≈0 by wishlist  ≈780 by purchase
                 orders 17 shipped

        top product by clicks                   top category by revenue, USD
          p-1                 300 ████████████    文具             999.00 ████████████
          p-2                 150 ██████          Küche & Bad        0.50 █

        top seller by units
          s-1                   7 ████████████



        closed 1m windows, newest first (UTC)
          ending 22:12:00  1,000 events  0 clicks  0 orders  0.00 USD  ≈0 users
        "#);
    }

    #[test]
    fn before_anything_is_known() {
        let trouble = Some("Redis has been away for 3.0 s: no route to host".to_owned());
        let facts = Facts { trouble, ..facts() };
        insta::assert_snapshot!(waiting("nazar", &facts, 80).join("\n"), @r#"
        nazar-load top  nazar  22:13:20 UTC  every 1s, Ctrl-C ends
        Redis has been away for 3.0 s: no route to host
        "#);
        let mut empty = Picture::of_meta("nazar", "1m", &Default::default(), NOW);
        empty.currency = "USD".to_owned();
        let facts = Facts { daemon: Some(None), ..self::facts() };
        insta::assert_snapshot!(frame(&empty, &facts, ROOM).join("\n"), @r#"
        nazar-load top  nazar  22:13:20 UTC  every 1s, Ctrl-C ends
        window   1m until -   39,812 records/s   not complete
        age      newest event -   flush -   watermark -   closed -
        lag      slowest partition - behind   the daemon's metrics do not answer
        leader   -   no lease: nobody leads   seq -
        no latest views of 1m
        last 1m  0 clicks  0 wishlists  0 orders  0 units
                 0.00 USD  ≈0 users  no conversion
                 users ≈0 by click  ≈0 by wishlist  ≈0 by purchase

        closed 1m windows, newest first (UTC)
          none yet: a window closes when no record can enter it any more
        "#);
    }

    #[test]
    fn every_width_holds_and_what_fits_is_shown() {
        for width in [1, 20, 40, 64, 80, 96, 200] {
            for is_coloured in [false, true] {
                let facts = Facts { ink: Ink { is_coloured }, ..facts() };
                for height in [1, 24, 50] {
                    let room = Room { height, width, ..ROOM };
                    let lines = frame(&picture(""), &facts, room);
                    for line in &lines {
                        assert!(measure_text_width(line) <= width, "{width}: {line}");
                    }
                    // Three boards above one another need more than 24 lines.
                    if height == 50 || height == 24 && width >= 96 {
                        assert!(lines.len() <= height, "{width} {height}: {}", lines.len());
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_from_outside_controls_the_terminal() {
        let mut picture = picture("\u{1b}[2J\n");
        picture.missing = vec!["a\u{1b}[2J".into()];
        let facts = Facts { trouble: Some("b\u{1b}[2J".into()), ..facts() };
        for line in frame(&picture, &facts, ROOM).iter().chain(&waiting("c\u{1b}", &facts, 80)) {
            assert!(!line.contains(['\u{1b}', '\n']), "{line:?}");
        }
    }
}
