//! `nazar demo`: a whole storefront in one process and one terminal.
//!
//! ```text
//!  traffic ──► librdkafka's mock ──► service::run ──► a private ──► snapshot ──► picture ──► screen
//!  (generator)  cluster, in process   (the daemon)     redis-server
//!      ▲                                                                │
//!      └────────────── pauses while too much is unread ◄────────────────┘
//! ```
//!
//! Only the broker is a stand-in, and is called so wherever it shows. The daemon is the one that
//! `nazar run` runs, and what is shown is read back from Redis, as any reader would see it.
//!
//! Everything is on loopback and gone at the end, however that comes: see [`redis_server`].

// In the order in which they are started; then what is made of it.
mod redis_server;

mod settings;

mod traffic;

mod snapshot;

mod picture;
mod screen;

mod verdict;

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::cli::Exit;
use crate::config::{Config, LogConfig, LogFormat};
use crate::load::terminal::ink::Ink;
use crate::load::terminal::words::grouped;
use crate::probe::probe;
use crate::service::{self, Options, Summary};

use picture::Facts;
use redis_server::RedisServer;
use screen::{Screen, say};
use snapshot::Reader;
use traffic::Traffic;
use verdict::Outcome;

/// The same storefront each time.
const SEED: u64 = 42;
/// How often the picture is renewed.
const SHOW_EVERY: Duration = Duration::from_millis(500);
/// How often it is asked what is readable, which the generator's pauses depend on.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The rate shown is that of the last moments.
const RATE_OVER: Duration = Duration::from_secs(3);
/// The mock lets a group wait 3 s for further members before it hands out partitions.
const JOIN_MAX: Duration = Duration::from_secs(20);
/// After the generator has ended, reading what is left may take so long.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);
/// A daemon that has just started may wait so long for what it has asked.
const STOP_MAX: Duration = Duration::from_secs(5);
const LOG_LINES_MAX: usize = 20;

/// Runs until `stop` turns true or, if given, `duration` of traffic has passed.
///
/// # Errors
/// A part that could not be started, or that ended early. A run that falls short of what is
/// asked of `--for` is no error but [`Exit::Error`], with the reasons on stderr.
pub async fn run(duration: Option<Duration>, stop: watch::Receiver<bool>) -> anyhow::Result<Exit> {
    let redis = RedisServer::start()?;
    let log_path = redis.directory().join("nazar.log");
    let log_config = LogConfig { format: LogFormat::Text, level: "info".to_owned() };
    crate::log::init_file(&log_config, &log_path)?;
    // The mock belongs to the thread that has made it. It outlives the look at the log: a daemon
    // that still runs after an error would complain of a lost broker, and drown the cause.
    let mock = MockCluster::new(1).context("start librdkafka's mock cluster")?;
    let outcome = perform(duration, stop, &redis, &mock, &log_path).await;
    match &outcome {
        Ok(Some(outcome)) => conclude(outcome, duration.is_some(), &log_path),
        Ok(None) => Ok(Exit::Done),
        Err(_) => {
            show_log(&log_path);
            outcome.map(|_| Exit::Error)
        }
    }
}

/// `None`: stopped before there was any traffic.
async fn perform(
    duration: Option<Duration>,
    stop: watch::Receiver<bool>,
    redis: &RedisServer,
    mock: &MockCluster<'_, DefaultProducerContext>,
    log_path: &Path,
) -> anyhow::Result<Option<Outcome>> {
    let listen = format!("127.0.0.1:{}", redis_server::free_port()?);
    let config = settings::config(mock.bootstrap_servers(), redis.url(), listen);
    config.validate()?;
    let topics = settings::topics(&config);
    for topic in topics.iter().filter(|topic| !topic.is_empty()) {
        let partitions = i32::try_from(settings::PARTITIONS).context("count partitions")?;
        mock.create_topic(topic, partitions, 1).with_context(|| format!("create {topic}"))?;
    }
    introduce(redis, &config, log_path)?;

    let mut daemon = Daemon::start(config.clone());
    let mut reader = Reader::connect(&redis.url(), &config.redis.prefix).await?;
    tokio::select! {
        error = daemon.failed() => return Err(error),
        () = stopped(stop.clone()) => {
            // Nothing was read, so nothing is lost if the daemon does not end in time.
            let _ = timeout(STOP_MAX, daemon.drain()).await;
            return Ok(None);
        }
        () = until_joined(&config.http.listen) => {}
    }

    let begin = Instant::now();
    let workload = settings::workload(&config, SEED, now_ms());
    let traffic = Traffic::start(config.kafka.brokers.clone(), topics, workload)?;
    let mut show = Show {
        begin,
        duration,
        hints: first_and_last(examples(redis, &config)),
        screen: Screen::new(),
        rate: Rate::default(),
    };
    show.watch(&mut reader, &traffic, &mut daemon, stop).await?;

    say("ending: the generator stops, the daemon reads what is left and drains").ok();
    let produced = traffic.finish().await?;
    let deadline = Instant::now() + CATCH_UP_MAX;
    while reader.readable().await? < produced.total() && Instant::now() < deadline {
        if daemon.task.is_finished() {
            return Err(daemon.failed().await);
        }
        sleep(LOOK_EVERY).await;
    }
    let applying = begin.elapsed();
    let summary = daemon.drain().await?;
    let boards = reader.board_lengths(&config.definitions()).await?;
    Ok(Some(Outcome::new(produced, &summary, applying, boards)))
}

/// Says what runs, and how to look at it from elsewhere.
fn introduce(redis: &RedisServer, config: &Config, log_path: &Path) -> std::io::Result<()> {
    say("nazar demo: a storefront in one process, on loopback only, gone at the end")?;
    say(&format!(
        "  broker     librdkafka's mock cluster, in process, at {}: a stand-in for Kafka",
        config.kafka.brokers
    ))?;
    say(&format!("  redis      {} on 127.0.0.1:{}", redis.version, redis.port()))?;
    say(&format!(
        "  generator  {} events/s on {} partitions a topic, with late, duplicate, malformed, out-of-order and future ones",
        grouped(settings::EVENTS_PER_SECOND),
        settings::PARTITIONS
    ))?;
    say(&format!("  log        {}", log_path.display()))?;
    say("look yourself, in another terminal:")?;
    examples(redis, config).iter().try_for_each(|example| say(&format!("  {example}")))?;
    say("starting: the mock takes about 3 seconds to hand out partitions")
}

/// Commands that look at the same from elsewhere. The first and the last stay in the picture.
fn examples(redis: &RedisServer, config: &Config) -> [String; 4] {
    let (port, prefix) = (redis.port(), &config.redis.prefix);
    [
        format!(
            "redis-cli -p {port} ZRANGE '{{{prefix}}}:top:product:clicks:1m' 0 9 REV WITHSCORES"
        ),
        format!("redis-cli -p {port} HGETALL '{{{prefix}}}:totals:1h'"),
        format!("redis-cli -p {port} PFCOUNT '{{{prefix}}}:uniques:purchase:24h'"),
        format!("curl -s http://{}/metrics", config.http.listen),
    ]
}

fn first_and_last([first, .., last]: [String; 4]) -> Vec<String> {
    vec![first, last]
}

/// The daemon as `nazar run` runs it, beside us.
struct Daemon {
    task: JoinHandle<anyhow::Result<Summary>>,
    stop: watch::Sender<bool>,
}

impl Daemon {
    fn start(config: Config) -> Daemon {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(service::run(config, Options::default(), stopped));
        Daemon { task, stop }
    }

    /// Returns when the daemon ends though nobody has asked it to: that is always a failure.
    async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.task).await {
            Ok(Ok(_)) => anyhow::anyhow!("the daemon ended early"),
            Ok(Err(error)) => error.context("the daemon ended early"),
            Err(error) => anyhow::Error::new(error).context("the daemon ended early"),
        }
    }

    async fn drain(self) -> anyhow::Result<Summary> {
        let _ = self.stop.send(true);
        self.task.await.context("the daemon panicked")?.context("drain the daemon")
    }
}

/// The watching of a run.
struct Show {
    begin: Instant,
    duration: Option<Duration>,
    hints: Vec<String>,
    screen: Screen,
    rate: Rate,
}

impl Show {
    /// Returns when it is time to end, or the generator or the audience has gone.
    async fn watch(
        &mut self,
        reader: &mut Reader,
        traffic: &Traffic,
        daemon: &mut Daemon,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let progress = traffic.progress();
        let [mut look, mut show] = [LOOK_EVERY, SHOW_EVERY].map(interval);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        show.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = over(self.begin, self.duration);
        tokio::pin!(over);
        loop {
            tokio::select! {
                error = daemon.failed() => return Err(error),
                () = stopped(stop.clone()) => return Ok(()),
                () = &mut over => return Ok(()),
                _ = look.tick() => {
                    progress.readable.store(reader.readable().await?, Relaxed);
                    if traffic.has_failed() {
                        return Ok(());
                    }
                }
                _ = show.tick() => {
                    let snapshot = reader.snapshot().await?;
                    let facts = self.facts(snapshot.readable, progress.produced.load(Relaxed));
                    if self.screen.show(&snapshot, facts).is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn facts(&mut self, readable: u64, produced: u64) -> Facts {
        Facts {
            elapsed_seconds: self.begin.elapsed().as_secs(),
            ends_after_seconds: self.duration.map(|duration| duration.as_secs()),
            events_per_second: self.rate.note(Instant::now(), readable),
            produced,
            now_ms: now_ms(),
            hints: self.hints.clone(),
            ink: Ink::default(),
        }
    }
}

/// A rate over the last moments.
#[derive(Debug, Default)]
struct Rate {
    noted: std::collections::VecDeque<(Instant, u64)>,
}

impl Rate {
    fn note(&mut self, now: Instant, count: u64) -> u64 {
        self.noted.push_back((now, count));
        while self.noted.len() > 2 && now.duration_since(self.noted[0].0) > RATE_OVER {
            self.noted.pop_front();
        }
        let (since, before) = self.noted[0];
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds > 0.0 { (count.saturating_sub(before) as f64 / seconds) as u64 } else { 0 }
    }
}

/// Prints the closing summary; what is missing decides the exit code of a run with `--for`.
fn conclude(outcome: &Outcome, is_judged: bool, log_path: &Path) -> anyhow::Result<Exit> {
    // Whoever has closed stdout does not want to read it; the judgement stands all the same.
    let _ = say(&format!("\nnazar demo, in all\n{}", outcome.report().trim_end()));
    let complaints = outcome.complaints();
    if !is_judged || complaints.is_empty() {
        return Ok(Exit::Done);
    }
    show_log(log_path);
    complaints.iter().for_each(|complaint| eprintln!("nazar: {complaint}"));
    Ok(Exit::Error)
}

/// The log goes with its directory: what it complains about is shown while it is there.
fn show_log(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let serious = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let mut lines: Vec<&str> = text.lines().rev().filter(serious).take(LOG_LINES_MAX).collect();
    lines.reverse();
    lines.iter().for_each(|line| eprintln!("{line}"));
}

/// Returns once the daemon has its partitions, so that traffic does not begin with a backlog;
/// or when that takes too long, and the pictures will show why.
async fn until_joined(listen: &str) {
    let deadline = Instant::now() + JOIN_MAX;
    while Instant::now() < deadline {
        let listen = listen.to_owned();
        if tokio::task::spawn_blocking(move || has_joined(&listen)).await.unwrap_or(false) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn has_joined(listen: &str) -> bool {
    let answer = probe(listen, "/readyz", Duration::from_secs(1));
    let page =
        answer.ok().and_then(|answer| serde_json::from_str::<serde_json::Value>(&answer.body).ok());
    let checks = page.as_ref().and_then(|page| page["checks"].as_array());
    checks.into_iter().flatten().any(|check| check["name"] == "kafka_joined" && check["ok"] == true)
}

async fn over(begin: Instant, duration: Option<Duration>) {
    match duration.and_then(|duration| begin.checked_add(duration)) {
        Some(end) => sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone will never ask to stop.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_moments() {
        let begin = Instant::now();
        let mut rate = Rate::default();
        let mut at = |seconds: u64, count| rate.note(begin + Duration::from_secs(seconds), count);
        assert_eq!(at(0, 0), 0);
        assert_eq!(at(1, 100), 100);
        assert_eq!(at(2, 300), 150);
        // The first second has passed out of sight.
        assert_eq!(at(4, 700), 200);
    }
}
