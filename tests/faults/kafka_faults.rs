//! Faults of the broker.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::fault::Strike;
use crate::watch::Mark;
use crate::world::{WAIT, World};

const DOWN: Duration = Duration::from_secs(1);
const MORE_PARTITIONS: usize = 6;

/// An orderly end of the broker, and a start with the same data.
pub fn restart(world: &mut World) -> anyhow::Result<Strike> {
    again(world, "SIGTERM", |world| world.kafka().stop())
}

pub fn killed(world: &mut World) -> anyhow::Result<Strike> {
    again(world, "SIGKILL", |world| world.kafka().kill())
}

fn again(world: &mut World, signal: &str, end: impl Fn(&World)) -> anyhow::Result<Strike> {
    let (pid, since) = (world.kafka().pid(), Instant::now());
    end(world);
    ensure!(!world.kafka().answers(), "the broker answers after {signal}");
    world.linger(DOWN);
    world.kafka().restart();
    let fresh = world.kafka().pid();
    ensure!(fresh != pid, "the broker is still process {pid}");
    let seconds = since.elapsed().as_secs_f64();
    Ok(Strike::now(format!(
        "broker {pid} ended by {signal} and did not answer; {fresh} answers {seconds:.1} s later"
    )))
}

/// SIGSTOP: it keeps its connections, and answers nothing.
pub fn frozen(world: &mut World, time: Duration) -> anyhow::Result<Strike> {
    world.kafka().freeze();
    let answers = world.kafka().answers();
    world.linger(time);
    world.kafka().thaw();
    ensure!(!answers, "a frozen broker answers");
    Ok(Strike::now(format!("no answer from the broker for {} s", time.as_secs())))
}

/// More partitions on a topic that is read; they stay empty, as the generator goes on with those it
/// knows. Windows close only once they, too, are known to be quiet.
pub fn partitions_added(world: &mut World) -> anyhow::Result<Strike> {
    let topic = world.topic("click");
    let labels = format!("topic=\"{topic}\"");
    let assigned = |world: &World| world.metric("nazar_kafka_assigned_partitions", &labels);
    let before = assigned(world);
    world.kafka().add_partitions(&topic, MORE_PARTITIONS);
    let mark = Mark::now();
    world.until("the new partitions are read", WAIT, |world| {
        (assigned(world) == MORE_PARTITIONS as f64).then_some(())
    })?;
    Ok(Strike {
        mark,
        proof: format!("of {topic} {MORE_PARTITIONS} partitions are read instead of {before}"),
    })
}
