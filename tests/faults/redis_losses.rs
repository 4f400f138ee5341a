//! Faults in which Redis starts anew or forgets.
//!
//! Where it forgets, writes are held back while it is noted which windows were closed: those
//! that the writer has in memory and everything later must be there, older ones may be gone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::fault::Strike;
use crate::process_faults;
use crate::redis_faults::TROUBLE;
use crate::redis_server::Server;
use crate::stage::LABELS;
use crate::world::{WAIT, World, closed_ends};

/// By window: how many closed windows are in the writer's memory.
type Remembered = BTreeMap<String, usize>;

pub fn restart(world: &mut World, keeps_data: bool) -> anyhow::Result<Strike> {
    let remembered = if keeps_data { Remembered::new() } else { world.remembered()? };
    restart_with(world, keeps_data, &remembered)
}

fn restart_with(
    world: &mut World,
    keeps_data: bool,
    remembered: &Remembered,
) -> anyhow::Result<Strike> {
    let before = world.redis.info("run_id");
    if keeps_data {
        world.redis.stop();
    } else {
        hold_writes_and_note(world, remembered)?;
        world.redis.kill();
    }
    let pause = world.between(Duration::from_millis(200), Duration::from_secs(1));
    world.linger(pause);
    // A daemon may write at once: what it has lost is seen before anybody else is served.
    world.redis.run();
    let (after, loaded) =
        (world.redis.info("run_id"), world.redis.info("rdb_last_load_keys_loaded"));
    ensure!(before != after, "Redis still has the run_id {before}");
    let keys: u64 = world.redis.ask("DBSIZE");
    if keeps_data {
        ensure!(keys > 10, "Redis came back with {keys} keys");
    } else {
        ensure!(loaded == "0", "Redis has loaded {loaded} keys");
        let aof = world.redis.info("aof_enabled");
        ensure!(aof == "0", "Redis has an append-only file");
    }
    let what = if keeps_data { format!("{keys} keys stand") } else { "no key was loaded".into() };
    Ok(Strike::now(format!("run_id {} became {}, {what}", &before[..8], &after[..8])))
}

/// The writer and the data at once: only the log remains.
pub fn killed_with_active(world: &mut World) -> anyhow::Result<Strike> {
    let daemon = process_faults::kill_active(world)?;
    let redis = restart_with(world, false, &Remembered::new())?;
    Ok(Strike { proof: format!("{}; {}", daemon.proof, redis.proof), ..redis })
}

pub fn flush_all(world: &mut World) -> anyhow::Result<Strike> {
    let remembered = world.remembered()?;
    let mut pipe = redis::pipe();
    pipe.atomic();
    for label in LABELS {
        pipe.zrange(format!("{{{}}}:closed:ends:{label}", world.name), 0, -1);
    }
    pipe.cmd("DBSIZE").cmd("FLUSHALL").cmd("DBSIZE");
    type Answer = (Vec<i64>, Vec<i64>, Vec<i64>, u64, String, u64);
    let (first, second, third, before, _, after): Answer =
        pipe.query(&mut world.redis.connect())?;
    let ends: Vec<_> = LABELS.into_iter().zip([first, second, third]).collect();
    let strike = Strike::now(format!("{before} keys became {after}"));
    ensure!(before > 10 && after == 0, "{}", strike.proof);
    world.note_closed(&ends, &remembered);
    Ok(strike)
}

/// Becomes a replica of a server with an older copy, then a primary again: READONLY meanwhile,
/// and everything written since the copy is gone.
pub fn failover(world: &mut World) -> anyhow::Result<Strike> {
    let copy = Server::start();
    let primary = world.redis.port;
    let is_linked = |server: &Server| server.info("master_link_status") == "up";
    let follow = |server: &Server, port: u16| {
        server.ask::<String>(&format!("REPLICAOF 127.0.0.1 {port}"));
    };
    follow(&copy, primary);
    world.until("the copy is made", WAIT, |_| is_linked(&copy).then_some(()))?;
    copy.ask::<String>("REPLICAOF NO ONE");
    let seq = |server: &Server, name: &str| {
        server.ask::<Option<u64>>(&format!("HGET {{{name}}}:meta seq"))
    };
    let old = seq(&copy, &world.name).context("seq of the copy")?;
    world.linger(TROUBLE);

    let before = world.metric("nazar_redis_errors_total", "class=\"readonly\"");
    let remembered = world.remembered()?;
    hold_writes_and_note(world, &remembered)?;
    let newest = seq(&world.redis, &world.name).context("seq")?;
    follow(&world.redis, copy.port);
    let refused = world.until("a daemon is told READONLY", WAIT, |world| {
        let count = world.metric("nazar_redis_errors_total", "class=\"readonly\"");
        (count > before && is_linked(&world.redis)).then_some(count - before)
    })?;
    let stands = seq(&world.redis, &world.name).context("seq")?;
    world.redis.ask::<String>("REPLICAOF NO ONE");
    let proof = format!("seq {newest} went back to {stands}, {refused} writes refused as READONLY");
    ensure!(stands == old && old < newest, "{proof}, the copy had {old}");
    Ok(Strike::now(proof))
}

/// Nobody writes from here on for two seconds; what had been closed is noted.
fn hold_writes_and_note(world: &mut World, remembered: &Remembered) -> anyhow::Result<()> {
    let mut connection = world.redis.connect();
    redis::cmd("CLIENT").arg("PAUSE").arg(2000).arg("WRITE").exec(&mut connection)?;
    let ends: Vec<_> = LABELS
        .into_iter()
        .map(|label| (label, world.redis.ask(&closed_ends(&world.name, label))))
        .collect();
    world.note_closed(&ends, remembered);
    Ok(())
}
