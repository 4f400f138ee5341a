//! Faults of processes: daemons killed, paused and told to end, a generator that stalls.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::daemon::Running;
use crate::fault::Strike;
use crate::stage::{LEASE, PARTITIONS, SESSION};
use crate::watch::now_ms;
use crate::world::{WAIT, World};

const SOON: (Duration, Duration) = (Duration::from_millis(0), Duration::from_millis(1500));
const STARTS_KILLED: usize = 4;
const PAUSES_MAX: usize = 5;
/// Within so long a follower has something to append.
const ON_ITS_WAY: Duration = Duration::from_millis(400);
/// What a paused owner still has to append, it appends at once.
const REFUSED_MAX: Duration = Duration::from_secs(6);
/// `nazar run` promises to drain within so long.
const DRAIN_MAX: Duration = Duration::from_secs(35);

pub fn kill_active(world: &mut World) -> anyhow::Result<Strike> {
    let active = world.active()?;
    kill(world, active)
}

pub fn kill_random(world: &mut World) -> anyhow::Result<Strike> {
    let victim = world.rng.below(world.instances.len() as u64) as usize;
    kill(world, victim)
}

fn kill(world: &mut World, victim: usize) -> anyhow::Result<Strike> {
    let after = world.between(SOON.0, SOON.1);
    Ok(Strike::now(world.kill(victim, after)?))
}

/// A moment of a checkpoint: Redis has just run a command that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The first blob lies in Redis; nothing names it yet.
    BlobWritten,
    /// The manifest has been replaced; its writer does not know.
    ManifestWritten,
}

/// Kills the instance that writes at a moment of its checkpoint. Redis is held still in between,
/// so that nothing more comes of it.
pub fn kill_in_checkpoint(world: &mut World, moment: Moment) -> anyhow::Result<Strike> {
    let active = world.active()?;
    let command = match moment {
        Moment::BlobWritten => format!("\"SET\" \"{{{}}}:pane:", world.name),
        Moment::ManifestWritten => format!("\"HSET\" \"{{{}}}:manifest\"", world.name),
    };
    let line = run_by_redis(world.redis.port, &command)?;
    world.redis.signal("-STOP");
    let after = world.between(SOON.0, SOON.1);
    let killed = world.kill(active, after);
    world.redis.signal("-CONT");
    let said: String = line.chars().take(100).collect();
    Ok(Strike::now(format!("{} right after {said}", killed?)))
}

/// Waits until Redis runs a command that contains `part`; returns the line of MONITOR.
fn run_by_redis(port: u16, part: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.write_all(b"MONITOR\r\n")?;
    let deadline = Instant::now() + WAIT;
    for line in BufReader::new(stream).lines() {
        let line = line.context("read what MONITOR says")?;
        if line.contains(part) {
            return Ok(line.split_once('"').map_or(String::new(), |(_, rest)| format!("\"{rest}")));
        }
        ensure!(Instant::now() < deadline, "Redis never ran {part}");
    }
    bail!("Redis ended MONITOR")
}

/// An instance that follows leaves the group in order, and comes back.
pub fn terminate_follower(world: &mut World) -> anyhow::Result<Strike> {
    let active = world.active()?;
    terminate(world, (active + 1) % world.instances.len())
}

/// The active instance, and then whoever begins to read in its place.
pub fn kill_successor(world: &mut World) -> anyhow::Result<Strike> {
    let leader = world.meta("leader");
    let first = world.active()?;
    let proof = world.kill(first, LEASE + SESSION)?;
    let successor = world.until("another instance takes over", WAIT, |world| {
        let reads = |running: &Running| {
            running.metric("nazar_kafka_assigned_partitions", "").is_some_and(|count| count > 0.0)
        };
        let found = world
            .instances
            .iter()
            .position(|instance| instance.running.as_ref().is_some_and(reads));
        found.filter(|_| world.meta("leader") != leader)
    })?;
    let second = world.kill(successor, Duration::ZERO)?;
    Ok(Strike::now(format!("{proof}; then, taking over, {second}")))
}

/// One instance, again and again, within the first second of its life.
pub fn kill_starting(world: &mut World) -> anyhow::Result<Strike> {
    let victim = world.active()?;
    let mut proofs = vec![world.kill(victim, Duration::ZERO)?];
    for _ in 0..STARTS_KILLED {
        world.until("it starts", WAIT, |world| world.running(victim).ok().map(drop))?;
        let life = world.between(Duration::from_millis(10), Duration::from_millis(900));
        world.linger(life);
        let proof = world.kill(victim, Duration::ZERO)?;
        proofs.push(format!("{proof} after {} ms", life.as_millis()));
    }
    Ok(Strike::now(proofs.join("; ")))
}

/// SIGSTOP for longer than lease and session, SIGCONT in the middle of whatever it did.
pub fn pause_active(world: &mut World) -> anyhow::Result<Strike> {
    let victim = world.active()?;
    let leader = world.meta("leader");
    world.instances[victim].is_held = true;
    world.running(victim)?.signal("-STOP");
    let mut strike = Strike::now("");
    world.until("another instance writes", WAIT, |world| {
        (world.meta("leader") != leader).then_some(())
    })?;
    world.recovered(&strike.mark)?;
    world.linger(LEASE + SESSION);
    world.running(victim)?.signal("-CONT");
    // Either it ends, as Redis refuses its writes, or it stays and says that it was refused.
    let refused = world.until("the paused instance is refused", WAIT, |world| {
        let running = world.instances[victim].running.as_mut()?;
        let log = |running: &Running| running.log().contains("has taken over the prefix");
        match running.ended() {
            Some(1) if log(running) => Some("ended, refused by Redis".to_owned()),
            Some(code) => Some(format!("ended with {code}")),
            None => {
                let count = running.metric("nazar_redis_errors_total", "class=\"fenced\"")?;
                (count > 0.0).then(|| format!("was refused {count} times by Redis"))
            }
        }
    })?;
    ensure!(refused.contains("refused"), "the paused instance {refused}");
    let instance = &mut world.instances[victim];
    instance.is_held = false;
    if instance.running.as_mut().is_some_and(|running| !running.is_alive()) {
        instance.running = None;
    }
    strike.proof = format!("instance {victim} {refused}, after a pause in which another took over");
    Ok(strike)
}

/// SIGSTOP to an instance that follows while what it appends is on its way to Redis, where it never
/// arrives; SIGCONT when others read its partitions. It appends again, and Redis refuses. If it
/// was not appending when it was stopped, it finds out by a look: then it is paused again.
pub fn pause_owner(world: &mut World) -> anyhow::Result<Strike> {
    let refused = |running: &Running| {
        let fenced = "outcome=\"fenced\"";
        running.metric("nazar_outbox_deliveries_total", fenced).unwrap_or(0.0)
    };
    for _ in 0..PAUSES_MAX {
        let active = world.active()?;
        let victim = world.until("a follower owns partitions", WAIT, |world| {
            let owns = |running: &Running| {
                let owned = running.metric("nazar_kafka_assigned_partitions", "");
                owned.is_some_and(|owned| owned > 0.0)
            };
            let mut others = (0..world.instances.len()).filter(|&index| index != active);
            others.find(|&index| world.running(index).is_ok_and(owns))
        })?;
        let before = refused(world.running(victim)?);
        world.instances[victim].is_held = true;
        let relay = world.relay.as_ref().context("a relay")?;
        relay.delay(LEASE);
        std::thread::sleep(ON_ITS_WAY);
        world.running(victim)?.signal("-STOP");
        relay.cut();
        relay.delay(Duration::ZERO);
        let mut strike = Strike::now("");
        // Longer than the broker waits: then others own what it owned.
        world.linger(2 * SESSION);
        world.recovered(&strike.mark)?;
        world.running(victim)?.signal("-CONT");
        let noticed = world.until("the paused owner is refused", REFUSED_MAX, |world| {
            world.running(victim).map_or(true, |running| refused(running) > before).then_some(())
        });
        let running = world.instances[victim].running.as_mut().context("the paused owner")?;
        ensure!(running.is_alive(), "the paused owner ended");
        let count = refused(running) - before;
        world.instances[victim].is_held = false;
        if noticed.is_ok() {
            strike.proof =
                format!("Redis refused {count} appends of instance {victim} after its pause");
            return Ok(strike);
        }
    }
    bail!("no append was refused after {PAUSES_MAX} pauses")
}

pub fn terminate_active(world: &mut World) -> anyhow::Result<Strike> {
    let victim = world.active()?;
    terminate(world, victim)
}

fn terminate(world: &mut World, victim: usize) -> anyhow::Result<Strike> {
    let mut running = world.instances[victim].running.take().context("nothing to end")?;
    let pid = running.pid();
    let (code, took) = running.terminate(DRAIN_MAX);
    ensure!(code == 0, "process {pid} ended with {code} at SIGTERM");
    Ok(Strike::now(format!("process {pid} ended with 0, {} ms after SIGTERM", took.as_millis())))
}

/// Nothing is produced, while event time goes on; then the backlog comes at once.
pub fn stall_generator(world: &mut World, time: Duration) -> anyhow::Result<Strike> {
    let produced = |world: &World| -> i64 {
        let topic = world.topic("click");
        (0..PARTITIONS).map(|partition| world.kafka().offsets(&topic, partition).1).sum()
    };
    let signal = |world: &World, signal: &str| {
        world.generator.as_ref().context("the generator").map(|generator| generator.signal(signal))
    };
    signal(world, "-STOP")?;
    world.linger(Duration::from_millis(500));
    let (before, since) = (produced(world), now_ms());
    world.linger(time);
    let stalled = produced(world) == before;
    signal(world, "-CONT")?;
    ensure!(stalled, "records came from a stalled generator");
    let seconds = (now_ms() - since) / 1000;
    Ok(Strike::now(format!("no record arrived for {seconds} s")))
}
