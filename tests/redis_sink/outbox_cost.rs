//! What an outbox costs Redis: the figures in the head of `sinks/redis/outbox.rs`.
//!
//! `cargo test --test redis_sink outbox_cost -- --ignored --nocapture`

use std::time::Instant;

use nazar::event::Kind;
use nazar::pipeline::delivery::Partition;
use nazar::pipeline::protocol::Token;
use nazar::sinks::redis::outbox::{Append, Feed, Outboxes, ReadBounds};

use crate::fixture::{config, topics};
use crate::server::Server;

/// Bytes of a delivery of `benches/wire.rs`: a backlog's, and a second's of live traffic.
const DELIVERY_BYTES: [usize; 2] = [50_000, 16_500];
const PARTITIONS: i32 = 12;
const ROUNDS: i64 = 200;

/// Seconds of processor time that the server has used.
fn cpu_seconds(server: &Server) -> f64 {
    let info: String = server.ask("INFO cpu");
    let of = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<f64>().unwrap()
    };
    of("used_cpu_user:") + of("used_cpu_sys:")
}

fn used_memory(server: &Server) -> f64 {
    let info: String = server.ask("INFO memory");
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().parse().unwrap()
}

#[tokio::test]
#[ignore = "it measures"]
async fn cost() {
    for bytes in DELIVERY_BYTES {
        let server = Server::start();
        let mut owner = Outboxes::new(&config(&server), &topics(), Outboxes::BYTES_MAX).unwrap();
        let mut feed = Feed::new(&config(&server), &topics()).unwrap();
        let partitions: Vec<Partition> =
            (0..PARTITIONS).map(|index| Partition { kind: Kind::Click, index }).collect();
        let token = Token::new(1);
        let starts: Vec<_> = partitions.iter().map(|&partition| (partition, token, 0)).collect();
        owner.open(&starts).await.unwrap();
        let delivery = vec![7; bytes];
        let appends = (ROUNDS * i64::from(PARTITIONS)) as f64;

        let (cpu, memory, started) = (cpu_seconds(&server), used_memory(&server), Instant::now());
        for round in 0..ROUNDS {
            for &partition in &partitions {
                let appended = owner.append(partition, token, round, round + 1, &delivery).await;
                assert_eq!(appended.unwrap(), Append::Appended);
            }
        }
        let took = started.elapsed().as_secs_f64();
        println!(
            "{bytes} bytes: {:.0} appends/s, {:.1} µs of Redis each, {:.3} bytes in Redis per byte",
            appends / took,
            (cpu_seconds(&server) - cpu) * 1e6 / appends,
            (used_memory(&server) - memory) / appends / bytes as f64,
        );

        let cpu = cpu_seconds(&server);
        let held: Vec<_> = partitions.iter().map(|&partition| (partition, token)).collect();
        for _ in 0..ROUNDS {
            owner.held(&held).await.unwrap();
        }
        println!("held: {:.1} µs each", (cpu_seconds(&server) - cpu) * 1e6 / appends);

        let (cpu, bounds) = (cpu_seconds(&server), ReadBounds { bytes: 8 << 20, entries: 1_000 });
        let mut read = 0;
        while read < appends as usize {
            read += feed.read(&partitions, bounds).await.unwrap().len();
        }
        println!("read: {:.1} µs a delivery", (cpu_seconds(&server) - cpu) * 1e6 / appends);

        let cpu = cpu_seconds(&server);
        for round in 1..=ROUNDS {
            let cursors: Vec<_> = partitions.iter().map(|&partition| (partition, round)).collect();
            assert_eq!(feed.trim(&cursors).await.unwrap(), PARTITIONS as u64);
        }
        println!("trim: {:.1} µs each", (cpu_seconds(&server) - cpu) * 1e6 / appends);
    }
}
