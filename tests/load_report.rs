//! `nazar-load report`: a page, text and JSON from what a run or a search has left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nazar::load::artefacts::hlog::{self, HistogramLog};
use nazar::load::artefacts::latency::{Distribution, Latency};
use nazar::load::artefacts::left::{Left, RunLeft};
use nazar::load::artefacts::timeline::{self, DaemonSecond, Second, SecondLatency, Timeline};
use nazar::load::clock::Rules;
use nazar::load::compare::{Difference, Differences};
use nazar::load::environment::Environment;
use nazar::load::kind::Kind;
use nazar::load::latency::meter::Stage;
use nazar::load::latency::recorder::Pair;
use nazar::load::ledger::{Counts, Drifted, TopicLedger};
use nazar::load::report::{TopicReport, VerifyReport};
use nazar::load::run_file::{FORMAT, RunFile, RunTopic, State};
use nazar::load::scenario::Names;
use nazar::load::scenario::statement::{Account, Claim, Silent, Statement};
use nazar::load::search::report::{Probe, SearchReport};
use nazar::load::threshold::Judged;
use nazar::load::verdict::{Validity, Verdict};
use nazar::load::{html, summary};
use proptest::prelude::*;

const SECONDS: u64 = 6;

/// With the text wherever a file may hold any.
fn scenario(text: &str) -> Account {
    let entities = vec![text.to_owned()];
    let claim = Claim::Leads { dimension: text.into(), metric: text.into(), entities };
    let cast = Names { products: vec![text.into()], ..Names::default() };
    let silent = vec![Silent { topic: text.into(), partitions: vec![3] }];
    let statement = Statement { first_end_ms: i64::MIN, last_end_ms: i64::MAX, claim };
    let statements = Some(vec![statement]);
    Account { name: text.into(), from_ms: 1000, to_ms: 2000, cast, silent, statements }
}

/// A verified run of six seconds that missed a threshold. `text` stands wherever text may stand.
fn run(text: &str) -> RunFile {
    let counts = Counts { applied: 580, late: 12, duplicate: 8, ..Counts::default() };
    let expected = TopicLedger {
        counts,
        malformed_by: BTreeMap::from([(text.to_owned(), 0)]),
        reordered: 9,
        drifted_by: BTreeMap::from([(
            text.to_owned(),
            Drifted { records: 1, malformed: Some(text.to_owned()) },
        )]),
    };
    let topic = TopicReport {
        topic: text.into(),
        offsets: 600,
        counts: Counts { applied: 587, late: 13, ..Counts::default() },
    };
    let difference = Difference {
        key: text.into(),
        member: text.into(),
        expected: text.into(),
        found: text.into(),
    };
    RunFile {
        format: FORMAT,
        version: text.into(),
        librdkafka: text.into(),
        environment: Some(Environment {
            os: text.into(),
            arch: text.into(),
            kernel: Some(text.into()),
            cpu: Some(text.into()),
            cpus: 4,
            memory_bytes: Some(8 << 30),
        }),
        state: State::Complete,
        seed: 7,
        rules: Rules::default(),
        parameters: BTreeMap::from([
            ("profile".to_owned(), text.to_owned()),
            (text.to_owned(), text.to_owned()),
        ]),
        records: 600,
        digest: text.into(),
        topics: vec![RunTopic {
            kind: Kind::Click,
            topic: text.into(),
            start_offsets: vec![0],
            end_offsets: vec![599],
            expected,
        }],
        seconds: 6.0,
        events_per_second: 100.0,
        behind_max_ms: 3,
        replay: None,
        scenario: Some(scenario(text)),
        latency: Some(Latency { warmup_seconds: 1.0, ..Latency::default() }),
        validity: Some(Validity {
            valid: false,
            records: 500,
            late: 30,
            max_behind_ms: 100.0,
            reasons: vec![text.into()],
        }),
        thresholds: vec![
            Judged { threshold: text.into(), value: Some(1.0), holds: true, shown: text.into() },
            Judged { threshold: text.into(), value: None, holds: false, shown: text.into() },
        ],
        verify: Some(VerifyReport {
            equal: false,
            records: 600,
            topics: vec![topic],
            differences: Differences {
                count: 1,
                first: vec![difference],
                ..Differences::default()
            },
            notes: vec![text.into()],
            ..VerifyReport::default()
        }),
        verdict: Some(Verdict::Mismatch),
    }
}

fn second(at: u64, visible: bool) -> Second {
    let distribution = |ms: f64| Distribution {
        samples: 100,
        mean_ms: ms,
        p50_ms: Some(ms),
        p99_ms: Some(ms * 3.0),
        max_ms: ms * 4.0,
        ..Distribution::default()
    };
    Second {
        at_seconds: at as f64,
        warmup: at == 1,
        intended: 100,
        sent: 100,
        acked: 100,
        visible: visible.then_some(if at == SECONDS { 200 } else { 80 }),
        behind_ms: 0.5,
        latency: SecondLatency {
            schedule: distribution(0.1),
            ack: distribution(4.0),
            visible: visible.then(|| distribution(300.0)),
        },
        daemon: visible.then_some(DaemonSecond {
            lag_records: Some(20.0 * at as f64),
            lag_seconds: None,
            applied: None,
        }),
    }
}

fn write(directory: &Path, run: &RunFile, visible: bool) {
    run.save(directory).unwrap();
    let mut lines = Timeline::create(directory).unwrap();
    let mut log = HistogramLog::create(directory, SystemTime::UNIX_EPOCH).unwrap();
    for at in 1..=SECONDS {
        lines.write(&second(at, visible)).unwrap();
        let mut pair = Pair::default();
        for number in 1..=100 {
            pair.corrected.saturating_record(number * 3_000);
            pair.uncorrected.saturating_record(number * 1_000);
        }
        let length = Duration::from_secs(1);
        log.write(Stage::Ack, length * (at as u32 - 1), length, &pair).unwrap();
        if visible {
            log.write(Stage::Visible, length * (at as u32 - 1), length, &pair).unwrap();
        }
    }
}

fn page(run: &RunFile) -> String {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), run, true);
    html::page(&Left::read(directory.path()).unwrap())
}

/// A run of which every word is `plain`, so that a snapshot of its page is the markup.
fn good() -> RunFile {
    let mut run = run("plain");
    let validity = run.validity.as_mut().unwrap();
    (validity.valid, validity.late, validity.reasons) = (true, 0, Vec::new());
    run.thresholds.pop();
    run.verify = None;
    run.topics[0].end_offsets = vec![600];
    run.verdict = Some(Verdict::Good);
    run
}

#[test]
fn a_small_run_is_a_page() {
    let mut run = run("plain");
    run.thresholds[0].threshold = "visible.p99<1s".to_owned();
    let page = page(&run);
    let style = page.find("<style>").unwrap()..page.find("</style>").unwrap();
    let mut page = page;
    page.replace_range(style, "<style>…");
    insta::assert_snapshot!("page", page.replace("><", ">\n<"));
}

#[test]
fn thresholds_are_lines_where_their_latency_is_shown() {
    let limits = |thresholds: &[(&str, bool)]| {
        let mut run = run("plain");
        let judged = |(threshold, holds): &(&str, bool)| Judged {
            threshold: (*threshold).to_owned(),
            holds: *holds,
            ..run.thresholds[0].clone()
        };
        run.thresholds = thresholds.iter().map(judged).collect();
        let page = page(&run);
        let named = page.split("<text class=\"limit-name ").skip(1);
        let text = |element: &str| {
            let (_, text) = element.split_once('>').unwrap();
            text.split_once('<').unwrap().0.to_owned()
        };
        assert_eq!(page.matches("<line class=\"limit ").count(), named.clone().count());
        named.map(text).collect::<Vec<_>>().join(", ")
    };
    // Over time and in the percentile curve.
    assert_eq!(limits(&[("visible.p99<2s", false)]), "✗ visible.p99&lt;2s, ✗ visible.p99&lt;2s");
    // Over time there is no p90 and no uncorrected figure, in the curve no maximum.
    assert_eq!(limits(&[("ack.p90<5ms", true)]), "✓ ack.p90&lt;5ms");
    assert_eq!(limits(&[("ack.uncorrected.p99<5ms", true)]), "✓ ack.uncorrected.p99&lt;5ms");
    assert_eq!(limits(&[("schedule.max<1h", true)]), "✓ schedule.max&lt;1h");
    // Not latencies, or not readable.
    assert_eq!(limits(&[("rate>5", true), ("ack.samples>5", true), ("p98<2s", true)]), "");
}

#[test]
fn a_page_loads_nothing_and_runs_nothing() {
    let page = page(&run("plain"));
    for forbidden in [
        "http:", "https:", "//", "src=", "href=", "url(", "@import", "<script", "<link", "<img",
        "<iframe", "<object", " on",
    ] {
        // Words like `run on` are no handlers: those have a value.
        let mut rest = page.as_str();
        while let Some(at) = rest.find(forbidden) {
            rest = &rest[at + forbidden.len()..];
            let name = rest.split(|c: char| !c.is_ascii_lowercase()).next().unwrap();
            let is_handler = rest[name.len()..].starts_with('=');
            assert!(forbidden == " on" && !is_handler, "{forbidden}: {}", &rest[..40]);
        }
    }
    assert!(page.contains("default-src 'none'"));
}

/// The names of the tags, in order.
fn tags(page: &str) -> Vec<String> {
    let named = page.split('<').skip(1);
    named.map(|tag| tag.split([' ', '>']).next().unwrap().to_owned()).collect()
}

fn search(text: &str) -> SearchReport {
    let probe = |rate: f64, holds: bool| Probe {
        rate,
        holds,
        valid: false,
        records: 5,
        thresholds: vec![Judged {
            threshold: text.into(),
            value: Some(1.0),
            holds,
            shown: text.into(),
        }],
        backlog_growth: Some(-3.0),
        reasons: vec![text.into()],
        directory: text.into(),
    };
    SearchReport {
        format: 1,
        version: text.into(),
        slos: vec![text.into()],
        min: 1e3,
        max: 1e6,
        within: 0.1,
        interrupted: false,
        low: Some(2e3),
        high: Some(4e3),
        confirmed: true,
        probes: vec![probe(2e3, true), probe(4e3, false), probe(f64::MAX, false)],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Text from the artefacts is shown and never obeyed: it leaves the markup as it is.
    #[test]
    fn no_text_of_the_artefacts_becomes_markup(text in "\\PC*[<>&\"'/=]\\PC*[<>&\"']") {
        let shown = page(&run(&text));
        prop_assert_eq!(tags(&shown), tags(&page(&run("plain"))));
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let escaped = escaped.replace('"', "&quot;").replace('\'', "&#39;");
        // Wherever it is plain in the plain page, it is there and escaped.
        let count = page(&run("plain")).matches("plain").count();
        prop_assert!(count > 20);
        prop_assert!(shown.matches(&escaped).count() >= count, "{}", escaped);
        let shown = html::page(&Left::Search(search(&text)));
        prop_assert_eq!(tags(&shown), tags(&html::page(&Left::Search(search("plain")))));
    }

    /// Any numbers are survived, and none of them reaches a coordinate as such.
    #[test]
    fn any_numbers_are_drawn(
        figures in prop::collection::vec(
            (any::<f64>(), any::<u64>(), any::<u64>(), prop::option::of(any::<u64>()), any::<f64>()),
            0..9,
        ),
        rate in any::<f64>(),
    ) {
        let lines = figures.into_iter().map(|(at_seconds, intended, sent, visible, behind_ms)| {
            Second { at_seconds, intended, sent, visible, behind_ms, ..second(1, true) }
        });
        let mut run = run("plain");
        run.topics[0].expected.counts.late = u64::MAX;
        run.topics[0].end_offsets = vec![i64::MAX, i64::MAX];
        let timeline = Some(lines.collect());
        let left = RunLeft { run, timeline, histograms: None, notes: Vec::new() };
        let page = html::page(&Left::Run(Box::new(left)));
        prop_assert!(!page.contains("\"NaN") && !page.contains("\"inf"));
        let mut search = search("plain");
        search.low = Some(rate);
        search.probes[0].rate = rate;
        html::page(&Left::Search(search));
    }
}

#[test]
fn what_was_not_measured_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = good();
    write(directory.path(), &run, false);
    let unwatched = html::page(&Left::read(directory.path()).unwrap());
    assert!(unwatched.contains("the run had no --redis"));
    assert!(unwatched.contains("own metrics were not watched"));
    assert!(unwatched.contains("Nothing was verified"));
    assert!(unwatched.contains("id=\"rates-title\"") && !unwatched.contains("latency-visible"));
    // A preload has neither a timeline nor histograms.
    std::fs::remove_file(directory.path().join(timeline::FILE)).unwrap();
    std::fs::remove_file(directory.path().join(hlog::FILE)).unwrap();
    (run.latency, run.validity) = (None, None);
    run.save(directory.path()).unwrap();
    let preload = html::page(&Left::read(directory.path()).unwrap());
    assert!(preload.contains("without --profile or --rate, has none") && !preload.contains("<svg"));
}

#[test]
fn a_banner_says_what_the_run_amounts_to() {
    let says = |run: &RunFile, words: &[&str]| {
        let page = page(run);
        for word in words {
            assert!(
                page.contains(word),
                "{word}: {}",
                &page[page.find("banner").unwrap()..][..400]
            );
        }
    };
    let good = good();
    says(&good, &["<strong>Good</strong>", "the threshold was kept; nothing was verified"]);
    let invalid = run("schedule lost");
    says(&invalid, &["<strong>Invalid</strong>", "schedule lost. These figures are not"]);
    let mismatch = RunFile { validity: good.validity.clone(), ..run("k") };
    says(&mismatch, &["<strong>Mismatch</strong>", "1 differences between the log and Redis"]);
    let missed = RunFile { verify: None, ..mismatch };
    says(&missed, &["<strong>Threshold missed</strong>", "<p>k: k</p>"]);
    let interrupted = RunFile { state: State::Interrupted, ..good.clone() };
    says(&interrupted, &["<strong>Interrupted</strong>", "after 600 records"]);
}

#[test]
fn a_killed_run_has_the_figures_of_its_histograms() {
    let directory = tempfile::tempdir().unwrap();
    let killed = RunFile {
        state: State::Running,
        records: 0,
        latency: None,
        validity: None,
        thresholds: Vec::new(),
        verdict: None,
        ..good()
    };
    write(directory.path(), &killed, true);
    let path = directory.path().join(timeline::FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + "{\"at_seconds\":7,\"warm").unwrap();
    let Left::Run(left) = Left::read(directory.path()).unwrap() else { unreachable!() };
    let visible = left.run.latency.clone().unwrap().visible.unwrap().clock;
    assert_eq!((visible.corrected.samples, left.run.records), (600, 600));
    assert!((visible.corrected.p50_ms.unwrap() - 150.0).abs() < 1.0);
    assert!((visible.uncorrected.unwrap().p50_ms.unwrap() - 50.0).abs() < 1.0);
    assert!(summary::text(&left.run).ends_with("not finished: the run goes on, or was killed\n"));
    let page = html::page(&Left::Run(left));
    assert!(page.contains("Not finished") && page.contains("timeline.jsonl ends with half a line"));
}

#[test]
fn damage_names_file_and_line() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &good(), true);
    let path = directory.path().join(timeline::FILE);
    let text = std::fs::read_to_string(&path).unwrap().replacen("\"at_seconds\":3", "\"at\":3", 1);
    std::fs::write(&path, text).unwrap();
    let error = format!("{:#}", Left::read(directory.path()).unwrap_err());
    assert!(error.contains("parse line 3 of") && error.contains("timeline.jsonl"), "{error}");
    std::fs::write(directory.path().join("run.json"), "{\"format\":1,\n").unwrap();
    let error = format!("{:#}", Left::read(directory.path()).unwrap_err());
    assert!(error.contains("run.json") && error.contains("line 2"), "{error}");
}

#[test]
fn a_later_verification_is_taken_in() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &good(), true);
    let report = serde_json::to_string(&run("x").verify).unwrap();
    std::fs::write(directory.path().join("verify.json"), report).unwrap();
    let Left::Run(left) = Left::read(directory.path()).unwrap() else { unreachable!() };
    assert_eq!(left.run.verdict, Some(Verdict::Mismatch));
    assert!(html::page(&Left::Run(left)).contains("<strong>Mismatch</strong>"));
}

#[test]
fn the_command_writes_what_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let run = good();
    write(directory.path(), &run, true);
    let report = |options: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nazar-load"));
        let output = command.arg("report").arg(directory.path()).args(options).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(report(&[]), "");
    let page = std::fs::read_to_string(directory.path().join("report.html")).unwrap();
    assert_eq!(report(&["--output", "-"]), page);
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert_eq!(report(&["--format", "text"]), summary::text(&run));
    let json: RunFile = serde_json::from_str(&report(&["--format", "json"])).unwrap();
    assert_eq!(json, run);
    search("plain").save(directory.path()).unwrap();
    assert_eq!(report(&["--format", "text"]), search("plain").text());
    assert!(report(&["--output", "-"]).contains("<h1>nazar-load search</h1>"));
}
