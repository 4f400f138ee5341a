//! `nazar-load run`: writes a workload and the account of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::feed::Feed;
use super::kafka::{self, Cluster};
use super::ledger::Ledger;
use super::pacer::Pacer;
use super::produce::{Control, Producer, produce};
use super::run_file::{FORMAT, RunFile, RunTopic, State};
use super::traffic::Traffic;
use super::workload::WorkloadConfig;

#[derive(Clone, Debug)]
pub struct RunOptions {
    pub cluster: Cluster,
    pub traffic: Traffic,
    /// Partitions and replicas of topics to be created; `None`: they must exist.
    pub create: Option<(u32, i32)>,
    pub out: PathBuf,
    pub progress: bool,
}

impl RunOptions {
    fn run_file(&self, workload: &WorkloadConfig) -> RunFile {
        RunFile {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            librdkafka: rdkafka::util::get_rdkafka_version().1,
            state: State::Running,
            seed: workload.seed,
            rules: workload.rules,
            parameters: self.traffic.parameters.clone(),
            records: 0,
            digest: String::new(),
            topics: Vec::new(),
            seconds: 0.0,
            events_per_second: 0.0,
            behind_max_ms: 0,
        }
    }
}

/// Writes the workload. `stop` ends it early, with an exact account of what was written.
pub fn run(options: &RunOptions, stop: &AtomicBool) -> anyhow::Result<RunFile> {
    let traffic = &options.traffic;
    let kinds = traffic.kinds();
    let names: Vec<&str> = kinds.iter().map(|&kind| traffic.topic(kind)).collect();
    if let Some((partitions, replication)) = options.create {
        let mut topics: Vec<(&str, u32)> = names.iter().map(|&name| (name, partitions)).collect();
        topics.push((&traffic.dead_letter_topic, 1));
        options.cluster.create_topics(&topics, replication)?;
    }
    let consumer = options.cluster.consumer()?;
    let counts = kafka::partition_counts(&consumer, &names)?;
    let mut config = traffic.workload.clone();
    kinds.iter().zip(&counts).for_each(|(&kind, &count)| config.partitions[kind as usize] = count);

    let mut run = options.run_file(&config);
    let ends = |topic: &str, count: u32| -> anyhow::Result<Vec<i64>> {
        let bounds = kafka::log_bounds(&consumer, topic, count)?;
        Ok(bounds.into_iter().map(|(_, end)| end).collect())
    };
    for (&kind, &count) in kinds.iter().zip(&counts) {
        let topic = traffic.topic(kind).to_owned();
        let start_offsets = ends(&topic, count)?;
        let expected = Default::default();
        run.topics.push(RunTopic { kind, topic, start_offsets, end_offsets: Vec::new(), expected });
    }
    run.save(&options.out)?;
    if let earlier @ 1.. = run.earlier_records() {
        eprintln!(
            "note: the topics hold {earlier} records already; a daemon that reads them from the \
             beginning counts those too, and `verify` expects this run alone"
        );
    }

    let started = Instant::now();
    let mut ledger = Ledger::default();
    let mut pacer = Pacer::new(traffic.pace);
    let producer = Producer::new(&options.cluster, traffic.topics.clone())?;
    let progress = progress(options, config.schedule.records());
    let feed = Feed::start(config, traffic.threads);
    let complete = produce(&feed, &producer, &mut pacer, &mut ledger, |handed_over| {
        progress.set_position(handed_over);
        if stop.load(Ordering::Relaxed) { Control::Stop } else { Control::Go }
    })?;
    progress.finish_and_clear();

    for (topic, &count) in run.topics.iter_mut().zip(&counts) {
        topic.end_offsets = ends(&topic.topic, count)?;
    }
    run.behind_max_ms = u64::try_from(pacer.behind_max().as_millis()).unwrap_or(u64::MAX);
    let state = if complete { State::Complete } else { State::Interrupted };
    finish(&mut run, &ledger, state, started.elapsed());
    run.save(&options.out)?;
    check_offsets(&run)?;
    Ok(run)
}

fn finish(run: &mut RunFile, ledger: &Ledger, state: State, elapsed: Duration) {
    run.take_ledger(ledger);
    run.state = state;
    run.seconds = elapsed.as_secs_f64();
    run.events_per_second = (ledger.records() as f64 / run.seconds.max(1e-9)).round();
}

/// The broker has as many records more as we have sent; else somebody else has written too.
fn check_offsets(run: &RunFile) -> anyhow::Result<()> {
    for topic in &run.topics {
        let grown: i64 =
            topic.end_offsets.iter().sum::<i64>() - topic.start_offsets.iter().sum::<i64>();
        let sent = topic.expected.counts.total();
        ensure!(
            u64::try_from(grown) == Ok(sent),
            "{} has grown by {grown} records, but {sent} were sent: does another producer write to it?",
            topic.topic
        );
    }
    Ok(())
}

fn progress(options: &RunOptions, records: u64) -> ProgressBar {
    if !options.progress {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(
        "{elapsed_precise} [{wide_bar}] {human_pos}/{human_len} {per_sec} eta {eta}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(records).with_style(style)
}

/// Sets the flag on Ctrl-C or SIGTERM; a second signal ends the process at once.
pub fn stop_on_signal(stop: &'static AtomicBool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the signal listener")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            loop {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(super::report::exit::INTERRUPTED));
                }
                eprintln!("stopping; once more to stop at once");
            }
        });
    });
    Ok(())
}
