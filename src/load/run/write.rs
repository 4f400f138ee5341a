//! The run itself: everybody who takes part in it, from the first record to the last look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Measure, RunOptions};
use crate::load::artefacts::latency::Latency;
use crate::load::exporter;
use crate::load::kind::Kind;
use crate::load::latency::meter::Meter;
use crate::load::ledger::Ledger;
use crate::load::live;
use crate::load::observed::RedisObserved;
use crate::load::oracle::join;
use crate::load::pacer::{Pace, Pacer};
use crate::load::produce::{Control, Producer, produce};
use crate::load::run_file::{RunTopic, State};
use crate::load::scenario::statement::Account;
use crate::load::scrape;
use crate::load::ticker::{Rules, Ticker};
use crate::load::traffic::Traffic;
use crate::load::verdict::Validity;
use crate::load::verify::Verification;
use crate::load::watch::{Places, watch};

/// What came of the writing.
pub struct Written<'a> {
    pub state: State,
    /// Until the last acknowledgement.
    pub elapsed: Duration,
    pub behind_max: Duration,
    /// With the times of the start and the end.
    pub parameters: BTreeMap<String, String>,
    /// With what must become visible of the records that were written.
    pub scenario: Option<Account>,
    pub measured: Option<(Latency, Validity)>,
    /// Of a run that is to be verified, with the samples taken as it went on.
    pub verification: Option<Verification<'a>>,
}

/// Writes the records and measures them.
pub fn write<'a>(
    options: &'a RunOptions,
    traffic: Traffic,
    topics: &[RunTopic],
    stop: &AtomicBool,
    ledger: &mut Ledger,
) -> anyhow::Result<Written<'a>> {
    let redis = match &options.measure.watch {
        Some(watch) => Some(RedisObserved::connect(&watch.redis_url, &watch.prefix)?),
        None => None,
    };
    let meter = Arc::new(meter(options, topics));
    let is_measured = traffic.pace == Pace::Scheduled;
    let measured = is_measured.then(|| Arc::clone(&meter));
    let producer = Producer::new(&options.cluster, traffic.topics.clone(), measured)?;
    producer.connect(&topics.iter().map(|topic| topic.topic.as_str()).collect::<Vec<_>>())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let traffic = traffic.started(i64::try_from(now.as_millis()).unwrap_or(0));
    let schedule = &traffic.workload.schedule;
    ledger.follow(&traffic.workload);
    let feed = traffic.feed();
    feed.wait();
    let bar = progress(options, schedule.records());
    let listener = options.metrics_listen.as_deref().map(exporter::listen).transpose()?;
    let daemon = scrape::Latest::default();
    let (done, abort) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut pacer = Pacer::new(traffic.pace);
    let control = |handed_over| {
        if !is_measured {
            bar.set_position(handed_over);
        }
        let has_ended = stop.load(Ordering::Relaxed) || abort.load(Ordering::Relaxed);
        if has_ended { Control::Stop } else { Control::Go }
    };
    let (complete, elapsed, verification) = std::thread::scope(|scope| {
        let _ends = SetOnDrop(&done);
        meter.start();
        let ticker = if is_measured {
            let times = schedule.times(traffic.workload.seed);
            let ticker = Ticker::new(
                &meter,
                ticker_rules(options, Duration::from_nanos(schedule.duration_ns())),
                times,
                &options.out,
                &bar,
                &daemon,
            )?;
            Some(scope.spawn(|| ticker.run(&done, &abort)))
        } else {
            None
        };
        if let (Some(watch_options), Some(redis)) = (&options.measure.watch, redis) {
            let places = places(topics);
            let (meter, done) = (&meter, &done);
            scope.spawn(move || watch(watch_options, redis, &places, meter, done));
        }
        if let Some(url) = &options.daemon_metrics {
            scope.spawn(|| scrape::watch(url, &daemon, &done));
        }
        if let Some(listener) = &listener {
            scope.spawn(|| exporter::serve(listener, &meter, &done));
        }
        let verify = options.verify.as_ref();
        let sampler = verify.map(|verify| scope.spawn(|| live::sample(verify, &done)));
        let complete = produce(&feed, &producer, &mut pacer, ledger, control)?;
        if complete {
            traffic.ended()?;
        }
        let elapsed = meter.elapsed();
        if let Some(watch_options) = &options.measure.watch {
            wait_until_visible(&meter, watch_options.wait, stop);
        }
        meter.give_up();
        done.store(true, Ordering::Relaxed);
        if let Some(ticker) = ticker {
            join(ticker)??;
        }
        let verification = sampler.map(join).transpose()?.flatten();
        anyhow::Ok((complete, elapsed, verification))
    })?;
    bar.finish_and_clear();
    let state = match complete {
        true => State::Complete,
        false if stop.load(Ordering::Relaxed) => State::Interrupted,
        false => State::Aborted,
    };
    let measured = is_measured.then(|| judge(&meter, &options.measure));
    let scenario = ledger.tally().map(|tally| Account::after(tally, &traffic));
    Ok(Written {
        state,
        elapsed,
        behind_max: pacer.behind_max(),
        parameters: traffic.parameters,
        scenario,
        measured,
        verification,
    })
}

fn judge(meter: &Meter, measure: &Measure) -> (Latency, Validity) {
    let mut latency = Latency::of(meter, measure.warmup);
    if let (Some(visible), Some(watch)) = (&mut latency.visible, &measure.watch) {
        visible.poll_ms = watch.poll.as_secs_f64() * 1000.0;
        visible.window.clone_from(&watch.window);
    }
    let validity = Validity::of(meter, &latency, measure.max_behind);
    (latency, validity)
}

/// Sets a flag however a scope is left: its threads end by it.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn meter(options: &RunOptions, topics: &[RunTopic]) -> Meter {
    let Measure { watch, warmup, max_behind, .. } = &options.measure;
    let next_offsets = watch.as_ref().map(|_| {
        let of_kind = |kind: Kind| topics.iter().find(|topic| topic.kind == kind);
        Kind::ALL
            .map(|kind| of_kind(kind).map_or_else(Vec::new, |topic| topic.start_offsets.clone()))
    });
    Meter::new(*warmup, *max_behind, next_offsets.as_ref())
}

fn places(topics: &[RunTopic]) -> Places {
    let of_topic = |topic: &RunTopic| {
        let (name, kind) = (topic.topic.clone(), topic.kind);
        let partitions = 0..topic.start_offsets.len() as u32;
        partitions.map(move |partition| (format!("{name}/{partition}"), (kind, partition)))
    };
    topics.iter().flat_map(of_topic).collect()
}

fn ticker_rules(options: &RunOptions, length: Duration) -> Rules {
    let thresholds = options.thresholds.iter();
    let aborting = thresholds.filter(|one| options.abort_on_fail && one.can_abort());
    let Measure { warmup, give_up_behind, .. } = options.measure;
    Rules { length, warmup, thresholds: aborting.cloned().collect(), give_up_behind }
}

fn wait_until_visible(meter: &Meter, wait: Duration, stop: &AtomicBool) {
    let deadline = Instant::now() + wait;
    let is_missing = || meter.pending().is_some_and(|pending| pending.missing() > 0);
    while is_missing() && Instant::now() < deadline && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn progress(options: &RunOptions, records: u64) -> ProgressBar {
    if !options.progress {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(
        "{elapsed_precise} [{wide_bar}] {human_pos}/{human_len} {msg} eta {eta}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(records).with_style(style)
}
