//! Faults in which Redis keeps its data: it does not answer, refuses, or cannot be reached.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redis::Connection;

use crate::fault::Strike;
use crate::stage::{LEASE, USER};
use crate::world::{WAIT, World};

/// So long a trouble lasts that daemons have to wait out: they meet it several times.
pub const TROUBLE: Duration = Duration::from_secs(3);

/// SIGSTOP: connections stay open, and nobody answers.
pub fn frozen(world: &mut World, time: Duration) -> anyhow::Result<Strike> {
    let mut connection = world.redis.connect();
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    world.redis.signal("-STOP");
    let answer = redis::cmd("PING").exec(&mut connection);
    world.linger(time.saturating_sub(Duration::from_secs(1)));
    world.redis.signal("-CONT");
    ensure!(answer.is_err(), "a frozen Redis answers");
    Ok(Strike::now(format!("no answer from Redis for {} s", time.as_secs())))
}

/// `maxmemory` below what is used: writes are refused with OOM.
pub fn full(world: &mut World) -> anyhow::Result<Strike> {
    let trouble = |world: &World| drop(world.redis.ask::<String>("CONFIG SET maxmemory 1"));
    let mend = |world: &World| drop(world.redis.ask::<String>("CONFIG SET maxmemory 0"));
    refused(world, "oom", trouble, mend)
}

/// `min-replicas-to-write` without a replica: NOREPLICAS.
pub fn replicas_gone(world: &mut World) -> anyhow::Result<Strike> {
    let set = |world: &World, count: u8| {
        drop(world.redis.ask::<String>(&format!("CONFIG SET min-replicas-to-write {count}")));
    };
    refused(world, "durability", |world| set(world, 1), |world| set(world, 0))
}

/// Snapshots fail, as their directory is gone: MISCONF.
pub fn disk_broken(world: &mut World) -> anyhow::Result<Strike> {
    let aside = world.redis.directory().with_extension("aside");
    std::fs::rename(world.redis.directory(), &aside)?;
    // The server's working directory has moved with the rename: only removal takes it away.
    std::fs::remove_dir_all(&aside)?;
    let trouble = |world: &World| {
        let mut connection = world.redis.connect();
        let snapshots = ["CONFIG", "SET", "save", "3600 1"];
        redis::Cmd::new().arg(&snapshots).exec(&mut connection).unwrap();
        // It fails in the foreground or in its child.
        let _ = redis::cmd("BGSAVE").exec(&mut connection);
    };
    let mend = |world: &World| {
        drop(world.redis.ask::<String>("CONFIG SET stop-writes-on-bgsave-error no"));
    };
    refused(world, "durability", trouble, mend)
}

/// A script of another client holds the server for longer than `busy-reply-threshold`.
pub fn busy(world: &mut World) -> anyhow::Result<Strike> {
    let trouble = |world: &World| {
        drop(world.redis.ask::<String>("CONFIG SET busy-reply-threshold 100"));
        let mut connection = world.redis.connect();
        std::thread::spawn(move || {
            // Ends with an error, when it is killed.
            let _ = redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut connection);
        });
    };
    let mend = |world: &World| {
        let client = redis::Client::open(world.redis.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        redis::cmd("SCRIPT").arg("KILL").exec(&mut connection).unwrap();
    };
    refused(world, "busy", trouble, mend)
}

/// Troubles that daemons meet as refused commands of one class.
fn refused(
    world: &mut World,
    class: &str,
    trouble: impl Fn(&World),
    mend: impl Fn(&World),
) -> anyhow::Result<Strike> {
    let labels = format!("class=\"{class}\"");
    let count = |world: &World| world.metric("nazar_redis_errors_total", &labels);
    let before = count(world);
    trouble(world);
    let since = Instant::now();
    let met = world.until("a daemon counts the refusal", WAIT, |world| {
        (count(world) > before && since.elapsed() >= TROUBLE).then_some(())
    });
    let times = count(world) - before;
    mend(world);
    met?;
    Ok(Strike::now(format!("{times} commands refused, class {class}")))
}

/// The daemons' user may not run scripts any more; the documented answer is to stop.
pub fn rights_gone(world: &mut World) -> anyhow::Result<Strike> {
    let ends = |world: &World| -> Vec<i32> {
        world.instances.iter().flat_map(|instance| instance.ends.iter().copied()).collect()
    };
    let before = ends(world).len();
    world.redis.ask::<String>(&format!("ACL SETUSER {USER} -@scripting"));
    let stopped = world.until("a daemon stops", WAIT, |world| {
        let ends = ends(world);
        (ends.len() > before).then(|| ends[before..].to_vec())
    });
    world.linger(TROUBLE);
    world.redis.ask::<String>(&format!("ACL SETUSER {USER} +@scripting"));
    let codes = stopped?;
    ensure!(codes.iter().all(|code| *code == 1), "daemons ended with {codes:?}");
    let denied = world.redis.ask::<Vec<redis::Value>>("ACL LOG 1").len();
    ensure!(denied > 0, "Redis has denied nothing");
    Ok(Strike::now(format!("daemons stopped with {codes:?}, as ACL LOG has it")))
}

/// A foreign client puts a string in a board's place; a latest view is simply replaced.
pub fn foreign_type(world: &mut World) -> anyhow::Result<Strike> {
    let key = format!("{{{}}}:top:product:clicks:2s", world.name);
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("SET").arg(&key).arg("not ours").cmd("TYPE").arg(&key);
    let (_, kind): (String, String) = pipe.query(&mut world.redis.connect())?;
    ensure!(kind == "string", "{key} is a {kind}");
    let strike = Strike::now(format!("{key} was a string"));
    world.until("the board is a board again", WAIT, |world| {
        (world.redis.ask::<String>(&format!("TYPE {key}")) == "zset").then_some(())
    })?;
    Ok(strike)
}

/// All connections are closed by the server, again and again, for longer than a lease.
pub fn connections_killed(world: &mut World) -> anyhow::Result<Strike> {
    let before = world.metric("nazar_redis_errors_total", "class=\"io\"");
    let (until, mut killed) = (Instant::now() + 2 * LEASE + TROUBLE, 0);
    while Instant::now() < until {
        killed += world.redis.ask::<u64>("CLIENT KILL TYPE normal SKIPME yes");
        world.linger(Duration::from_millis(200));
    }
    let met = world.metric("nazar_redis_errors_total", "class=\"io\"") - before;
    ensure!(killed > 0 && met > 0.0, "{killed} connections killed, {met} errors met");
    Ok(Strike::now(format!("{killed} connections killed, {met} errors met by the daemons")))
}

pub fn slow(world: &mut World, latency: Duration) -> anyhow::Result<Strike> {
    let relay = world.relay.as_ref().context("a relay")?;
    relay.delay(latency);
    let answered = ping_through(relay.port());
    world.linger(2 * LEASE + TROUBLE);
    world.relay.as_ref().context("a relay")?.delay(Duration::ZERO);
    let millis = answered?.as_millis();
    ensure!(millis >= latency.as_millis(), "an answer took {millis} ms");
    Ok(Strike::now(format!("an answer took {millis} ms")))
}

/// The way to Redis breaks a dozen times, at any byte.
pub fn cut(world: &mut World) -> anyhow::Result<Strike> {
    let mut cut = 0;
    for _ in 0..12 {
        let pause = world.between(Duration::from_millis(50), Duration::from_millis(600));
        world.linger(pause);
        cut += world.relay.as_ref().context("a relay")?.cut();
    }
    ensure!(cut > 0, "there was no connection to cut");
    Ok(Strike::now(format!("{cut} connections cut")))
}

fn ping_through(port: u16) -> anyhow::Result<Duration> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
    let mut connection: Connection = client.get_connection()?;
    let asked = Instant::now();
    redis::cmd("PING").exec(&mut connection)?;
    Ok(asked.elapsed())
}
