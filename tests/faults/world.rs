//! Everything a run needs: a broker, a Redis, N daemons, a generator, and a watch on the views.
//!
//! Daemons are kept running as an orchestrator would keep them: one that has ended is started
//! again, unless a fault holds it down. All processes end with the world, also in a panic.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nazar::load::rng::Rng;
use tempfile::TempDir;

use crate::daemon::{Daemon, Running};
use crate::judge::Excuses;
use crate::kafka::Kafka;
use crate::load::{Background, Load};
use crate::redis_server::Server;
use crate::relay::Relay;
use crate::stage::{LABELS, RedisKind, Stage};
use crate::watch::{Mark, Watch};

/// Longest wait for anything that a healthy system does within seconds.
pub const WAIT: Duration = Duration::from_secs(90);
/// Between an end that nobody asked for and the next start.
const RESTART_AFTER: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(50);
/// Closed windows of each size that a writer keeps in memory, where Redis keeps all.
const REMEMBERED: usize = 10;

enum Broker {
    Shared(&'static Kafka),
    Own(Box<Kafka>),
}

pub struct Instance {
    prepared: Daemon,
    pub running: Option<Running>,
    start_at: Instant,
    /// A fault deals with it: it is not started, nor is its end remarked upon.
    pub is_held: bool,
    /// Exit codes of ends that nobody asked for.
    pub ends: Vec<i32>,
}

pub struct World {
    pub name: String,
    pub stage: Stage,
    pub rng: Rng,
    pub excuses: Excuses,
    /// By window: ends of closed windows that have to come back after the loss just noted.
    kept: BTreeMap<String, Vec<i64>>,
    pub rss_peak_bytes: u64,
    // Processes end in this order, each before what it needs.
    pub instances: Vec<Instance>,
    pub generator: Option<Background>,
    pub watch: Watch,
    pub relay: Option<Relay>,
    pub redis: Server,
    broker: Broker,
    pub load: Load,
    pub directory: TempDir,
}

impl World {
    pub fn start(name: &str, stage: Stage, seed: u64) -> World {
        let name = format!("faults-{name}");
        let broker = match stage.own_broker {
            true => Broker::Own(Box::new(Kafka::start())),
            false => Broker::Shared(Kafka::shared()),
        };
        let redis = stage.redis();
        let relay = (stage.redis == RedisKind::Relayed).then(|| Relay::start(redis.port));
        let directory = tempfile::tempdir().unwrap();
        let mut load = Load::new(&broker, &directory, &name);
        load.seed = seed;
        broker.create_topic(&format!("{name}.dead"), 1, &[]);
        let mut world = World {
            rng: Rng::new(seed, 0),
            watch: Watch::start(redis.url(), &name, LABELS[0]),
            generator: None,
            instances: Vec::new(),
            excuses: Excuses::default(),
            kept: BTreeMap::new(),
            rss_peak_bytes: 0,
            name,
            stage,
            broker,
            redis,
            relay,
            load,
            directory,
        };
        world.instances = (0..stage.instances).map(|_| world.instance()).collect();
        world.generator = Some(world.load.start(&stage.load()));
        world
    }

    fn instance(&self) -> Instance {
        let port = self.relay.as_ref().map_or(self.redis.port, Relay::port);
        Instance {
            prepared: self.stage.daemon(&self.directory, &self.name, self.kafka(), port),
            running: None,
            start_at: Instant::now(),
            is_held: false,
            ends: Vec::new(),
        }
    }

    pub fn kafka(&self) -> &Kafka {
        &self.broker
    }

    pub fn topic(&self, kind: &str) -> String {
        format!("{}.{kind}", self.name)
    }

    /// Lets time pass, looking after the processes.
    pub fn linger(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.tend();
            std::thread::sleep(STEP.min(until - Instant::now().min(until)));
        }
    }

    /// A time within these bounds, by the seed.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let millis = self.rng.between(low.as_millis() as i64, high.as_millis() as i64);
        Duration::from_millis(millis as u64)
    }

    /// Waits until `look` gives something; an error says what was waited for.
    pub fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&mut World) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            self.tend();
            if let Some(found) = look(self) {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "waited {limit:?} until {what}");
            std::thread::sleep(STEP);
        }
    }

    /// Starts what should run, and takes note of what has ended.
    pub fn tend(&mut self) {
        for instance in &mut self.instances {
            if instance.is_held {
                continue;
            }
            let ended = instance.running.as_mut().and_then(|running| {
                self.rss_peak_bytes = self.rss_peak_bytes.max(rss_peak(running.pid()));
                running.ended()
            });
            if let Some(code) = ended {
                instance.ends.push(code);
                instance.running = None;
                instance.start_at = Instant::now() + RESTART_AFTER;
            }
            if instance.running.is_none() && Instant::now() >= instance.start_at {
                instance.running = Some(instance.prepared.start());
            }
        }
    }

    /// The instance that writes: of those that are ready the one that flushed last.
    pub fn active(&mut self) -> anyhow::Result<usize> {
        self.until("an instance writes", WAIT, |world| {
            let flushed = world.instances.iter().enumerate().filter_map(|(index, instance)| {
                let running = instance.running.as_ref().filter(|_| !instance.is_held)?;
                let at = running.metric("nazar_flush_last_success_timestamp_seconds", "")?;
                (running.status("/readyz") == 200).then_some((index, at))
            });
            flushed.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
        })
    }

    pub fn running(&self, index: usize) -> anyhow::Result<&Running> {
        self.instances[index].running.as_ref().with_context(|| format!("instance {index} is down"))
    }

    /// Sum of a metric over all instances that answer.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let running = self.instances.iter().filter_map(|instance| instance.running.as_ref());
        running.filter_map(|running| running.metric(name, labels)).sum()
    }

    /// Every instance is alive, the views go on, and windows close.
    pub fn steady(&mut self) -> anyhow::Result<()> {
        self.whole()?;
        let history = format!("XLEN {{{}}}:history:{}", self.name, LABELS[0]);
        self.until("windows close", WAIT, |world| {
            (world.redis.ask::<u64>(&history) >= 2).then_some(())
        })?;
        let steps = self.watch.steps();
        self.until("the views go on", WAIT, |world| (world.watch.steps() > steps + 4).then_some(()))
    }

    pub fn whole(&mut self) -> anyhow::Result<()> {
        self.until("every instance is alive", WAIT, |world| {
            let is_alive = |instance: &Instance| {
                instance.running.as_ref().is_some_and(|running| running.status("/livez") == 200)
            };
            world.instances.iter().all(is_alive).then_some(())
        })
    }

    /// How long after `mark` the views went on.
    pub fn recovered(&mut self, mark: &Mark) -> anyhow::Result<Duration> {
        self.until("the views go on after the fault", WAIT, |world| {
            world.watch.recovered_after(mark)
        })
    }

    /// SIGKILL; returns once the process is gone, and how that was seen. It starts again `after`.
    pub fn kill(&mut self, index: usize, after: Duration) -> anyhow::Result<String> {
        let instance = &mut self.instances[index];
        let mut running = instance.running.take().context("nothing to kill")?;
        let pid = running.pid();
        self.rss_peak_bytes = self.rss_peak_bytes.max(rss_peak(pid));
        running.signal("-KILL");
        let code = running.end();
        ensure!(code == -9, "process {pid} ended with {code} instead of by SIGKILL");
        instance.start_at = Instant::now() + after;
        Ok(format!("process {pid} of instance {index} ended by signal 9"))
    }

    /// One command of meta.
    pub fn meta(&self, field: &str) -> Option<String> {
        self.redis.ask(&format!("HGET {{{}}}:meta {field}", self.name))
    }

    /// How many closed windows of each size the instance that writes has in memory, by what it
    /// says it has closed.
    pub fn remembered(&mut self) -> anyhow::Result<BTreeMap<String, usize>> {
        let active = self.active()?;
        let running = self.running(active)?;
        let of = |label: &str| {
            let labels = format!("window=\"{label}\"");
            let closed = running.metric("nazar_windows_closed_total", &labels).unwrap_or(0.0);
            REMEMBERED.min(closed as usize)
        };
        Ok(LABELS.iter().map(|&label| (label.to_owned(), of(label))).collect())
    }

    /// Takes note of what had been closed right before Redis loses data: the windows that the
    /// writer remembers have to come back, all older ones may be gone.
    pub fn note_closed(&mut self, ends: &[(&str, Vec<i64>)], remembered: &BTreeMap<String, usize>) {
        for (label, ends) in ends {
            let remembered = remembered.get(*label).copied().unwrap_or(0);
            let (lost, kept) = ends.split_at(ends.len().saturating_sub(remembered));
            if let Some(&end) = lost.last() {
                let through =
                    self.excuses.lost_through.entry((*label).to_owned()).or_insert(i64::MIN);
                *through = (*through).max(end);
            }
            self.kept.insert((*label).to_owned(), kept.to_vec());
        }
    }

    /// Waits until the closed windows that have to come back stand again, and a checkpoint made
    /// after the loss; how long each took.
    pub fn made_good(&mut self, mark: &Mark) -> anyhow::Result<(Duration, Duration, usize)> {
        let kept = std::mem::take(&mut self.kept);
        self.until("closed windows stand again", WAIT, |world| {
            let stand = |(label, ends): (&String, &Vec<i64>)| {
                let standing: Vec<i64> = world.redis.ask(&closed_ends(&world.name, label));
                ends.iter().all(|end| standing.contains(end))
            };
            kept.iter().all(stand).then_some(())
        })?;
        let windows = mark.at.elapsed();
        self.until("a checkpoint stands again", WAIT, |world| {
            let field = format!("HGET {{{}}}:manifest written_at", world.name);
            let written_at: Option<i64> = world.redis.ask(&field);
            (written_at > Some(mark.at_ms)).then_some(())
        })?;
        Ok((windows, mark.at.elapsed(), kept.values().map(Vec::len).sum()))
    }
}

/// The command that lists the closed windows of a size.
pub fn closed_ends(name: &str, label: &str) -> String {
    format!("ZRANGE {{{name}}}:closed:ends:{label} 0 -1")
}

/// The most memory a process has had; 0 without /proc.
fn rss_peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

impl Deref for Broker {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        match self {
            Broker::Shared(kafka) => kafka,
            Broker::Own(kafka) => kafka,
        }
    }
}
