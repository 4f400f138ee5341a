//! Our HyperLogLog values against a real redis-server: the same bytes where Redis has only
//! one way to write them, the same registers and the same counts everywhere.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nazar::event::Kind;
use nazar::pipeline::definitions::{Definitions, Dimension};
use nazar::pipeline::distinct::Distinct;
use nazar::pipeline::hll::{REGISTERS, Registers, mark};
use nazar::time::{EventTime, Span};
use redis::{Connection, ToRedisArgs};

const HEADER: usize = 16;
const ENCODING: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// The last byte of the cached cardinality; its top bit says that the cache is stale.
const STALE_BYTE: usize = 15;
const STALE: u8 = 0x80;

/// A redis-server of our own on a unix socket in a temporary directory: nothing to collide
/// with, and gone with the test.
struct Server {
    child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .arg("--unixsocket")
            .arg(directory.path().join("redis.sock"))
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be on the PATH; scripts/bootstrap installs it");
        Self { child, directory }
    }

    fn connect(&self) -> Redis {
        let url = format!("redis+unix://{}", self.directory.path().join("redis.sock").display());
        let client = redis::Client::open(url).unwrap();
        for _ in 0..500 {
            if let Ok(connection) = client.get_connection() {
                return Redis(connection);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server did not answer within 5 s");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Redis(Connection);

impl Redis {
    fn pfadd(&mut self, key: &str, users: &[String]) {
        // Without elements PFADD creates the empty value.
        redis::cmd("PFADD").arg(key).exec(&mut self.0).unwrap();
        for users in users.chunks(1000) {
            redis::cmd("PFADD").arg(key).arg(users).exec(&mut self.0).unwrap();
        }
    }

    fn pfcount(&mut self, keys: impl ToRedisArgs) -> u64 {
        redis::cmd("PFCOUNT").arg(keys).query(&mut self.0).unwrap()
    }

    fn get(&mut self, key: &str) -> Vec<u8> {
        redis::cmd("GET").arg(key).query(&mut self.0).unwrap()
    }

    fn set(&mut self, key: &str, value: &[u8]) {
        redis::cmd("SET").arg(key).arg(value).exec(&mut self.0).unwrap();
    }

    /// Makes PFCOUNT read the registers.
    fn invalidate_cache(&mut self, key: &str) {
        let byte = self.get(key)[STALE_BYTE] | STALE;
        let command = &mut redis::cmd("SETRANGE");
        command.arg(key).arg(STALE_BYTE).arg(&[byte]).exec(&mut self.0).unwrap();
    }
}

/// A small seeded generator (SplitMix64), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Names of many shapes and lengths, not only ASCII.
fn users(n: usize, seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    let mut user = |i: usize| match i % 4 {
        0 => format!("{}", random.below(1 << 40)),
        1 => format!("user-{:x}", random.next()),
        2 => format!("u{}", random.below(1 << 30)),
        _ => format!("größe/{:x}-{:x}@example.org", random.next(), random.next()),
    };
    (0..n).map(&mut user).collect()
}

fn registers<'a>(users: impl IntoIterator<Item = &'a String>) -> Registers {
    let mut registers = Registers::new();
    for user in users {
        let (register, rank) = mark(user.as_bytes());
        registers.raise(register, rank);
    }
    registers
}

/// Reads a value as Redis' documentation describes it, sharing nothing with the encoder.
fn decode(value: &[u8]) -> Vec<u8> {
    let body = &value[HEADER..];
    let mut ranks = Vec::with_capacity(REGISTERS);
    if value[ENCODING] == DENSE {
        for bit in (0..REGISTERS).map(|register| 6 * register) {
            let low = u16::from(body[bit / 8]);
            let high = body.get(bit / 8 + 1).map_or(0, |&byte| u16::from(byte));
            ranks.push(((low | high << 8) >> (bit % 8) & 63) as u8);
        }
        return ranks;
    }
    let mut at = 0;
    while at < body.len() {
        let byte = usize::from(body[at]);
        let (rank, run, bytes) = match byte {
            0..0x40 => (0, byte + 1, 1),
            0x40..0x80 => (0, (byte - 0x40) * 256 + usize::from(body[at + 1]) + 1, 2),
            _ => ((byte - 0x80) / 4 + 1, byte % 4 + 1, 1),
        };
        ranks.extend(vec![rank as u8; run]);
        at += bytes;
    }
    ranks
}

#[test]
fn dense_values_are_the_bytes_that_pfadd_builds() {
    let server = Server::start();
    let mut redis = server.connect();
    for n in [3000, 20_000, 50_000, 200_000] {
        let key = format!("dense:{n}");
        let users = users(n, n as u64);
        redis.pfadd(&key, &users);
        let (ours, theirs) = (registers(&users).encode(), redis.get(&key));
        assert_eq!((ours.len(), theirs.len()), (12_304, 12_304), "{n} users");
        assert_eq!(ours[..8], theirs[..8], "magic, encoding, padding");
        assert!(ours[HEADER..] == theirs[HEADER..], "the registers of {n} users differ");
        // The one difference: PFADD leaves the cached cardinality stale, we ship it. The
        // first PFCOUNT makes the values equal to the last byte.
        assert_eq!((ours[STALE_BYTE] & STALE, theirs[STALE_BYTE] & STALE), (0, STALE));
        redis.pfcount(&key);
        assert!(ours == redis.get(&key), "the cached cardinality of {n} users differs");
    }
}

#[test]
fn sparse_values_have_the_registers_that_pfadd_builds() {
    let server = Server::start();
    let mut redis = server.connect();
    for n in [0, 1, 2, 50, 300, 800, 1200, 1500] {
        for seed in 0..5 {
            let key = format!("sparse:{n}:{seed}");
            let users = users(n, seed);
            redis.pfadd(&key, &users);
            let (ours, theirs) = (registers(&users).encode(), redis.get(&key));
            // A rank above 32 would force both to be dense; none of these users has one.
            assert_eq!((ours[ENCODING], theirs[ENCODING]), (SPARSE, SPARSE), "{n} users");
            assert_eq!(decode(&ours), decode(&theirs), "{n} users, seed {seed}");
            assert_eq!(decode(&ours), registers(&users).ranks(), "{n} users, seed {seed}");
            assert!(ours.len() <= theirs.len(), "{n} users: {} bytes", ours.len());
        }
    }
}

#[test]
fn pfcount_answers_our_estimate_cached_and_computed() {
    let server = Server::start();
    let mut redis = server.connect();
    for n in [0, 1, 10, 1000, 1700, 2500, 10_000, 80_000, 200_000] {
        let registers = registers(&users(n, 7));
        let (estimate, value) = (registers.count(), registers.encode());
        redis.set("count", &value);
        assert_eq!(redis.pfcount("count"), estimate, "{n} users, cached");
        assert!(redis.get("count") == value, "PFCOUNT must not have to write");
        redis.invalidate_cache("count");
        assert_eq!(redis.pfcount("count"), estimate, "{n} users, computed");
        assert!(redis.get("count") == value, "what Redis caches is what we shipped");
    }
    // The cache really is what answers.
    redis.set("count", &registers(&users(1000, 7)).encode_with(12_345));
    assert_eq!(redis.pfcount("count"), 12_345);
}

/// Registers that no hash would yield: runs of every length, ranks at every limit.
#[test]
fn redis_reads_whatever_the_encoder_writes() {
    let server = Server::start();
    let mut redis = server.connect();
    let mut random = Random(2026);
    let mut encodings = [0; 2];
    for round in 0..400 {
        let mut registers = Registers::new();
        let runs_max = 1 + random.below(1 << (round % 12));
        let rank_max = [1, 3, 32, 32, 32, 33, 51][round % 7];
        for _ in 0..random.below(runs_max + 1) {
            let (start, rank) = (random.below(REGISTERS as u64), 1 + random.below(rank_max));
            for register in start..(start + 1 + random.below(12)).min(REGISTERS as u64) {
                registers.raise(register as u16, rank as u8);
            }
        }
        let value = registers.encode();
        encodings[usize::from(value[ENCODING])] += 1;
        assert_eq!(decode(&value), registers.ranks(), "round {round}");
        redis.set("any", &value);
        redis.invalidate_cache("any");
        assert_eq!(redis.pfcount("any"), registers.count(), "round {round}");
        // Counting several keys and merging walk the registers on other paths.
        assert_eq!(redis.pfcount(&["any", "none"]), registers.count(), "round {round}");
        redis::cmd("DEL").arg("merged").exec(&mut redis.0).unwrap();
        redis::cmd("PFMERGE").arg("merged").arg("any").exec(&mut redis.0).unwrap();
        assert_eq!(decode(&redis.get("merged")), registers.ranks(), "round {round}");
    }
    assert!(encodings.iter().all(|&count| count > 50), "both encodings: {encodings:?}");
}

#[test]
fn pfmerge_and_pfadd_work_on_our_values() {
    let server = Server::start();
    let mut redis = server.connect();
    let (many, few, one) = (users(60_000, 1), users(900, 2), users(1, 3));
    for (key, users) in [("many", &many), ("few", &few), ("one", &one)] {
        redis.set(key, &registers(users).encode());
    }
    let mut union = registers(&many);
    union.merge(&registers(&few));
    redis::cmd("PFMERGE").arg(&["union", "many", "few"]).exec(&mut redis.0).unwrap();
    assert!(redis.get("union")[HEADER..] == union.encode()[HEADER..], "the union differs");
    assert_eq!(redis.pfcount(&["many", "few"]), union.count());
    assert_eq!(redis.pfcount("union"), union.count());

    // Onto a dense value, a sparse one, and one short enough to be stored inline.
    for (key, mut users, more) in [("many", many, 500), ("few", few, 3000), ("one", one, 1)] {
        let added = self::users(more, 4);
        redis.pfadd(key, &added);
        users.extend(added);
        assert_eq!(decode(&redis.get(key)), registers(&users).ranks(), "{key}");
        assert_eq!(redis.pfcount(key), registers(&users).count(), "{key}");
    }
}

/// The claim of the whole: what is published for a window is the HyperLogLog of its users.
#[test]
fn every_window_equals_pfadd_of_its_users() {
    let server = Server::start();
    let mut redis = server.connect();
    let definitions = hourly_and_daily();
    let mut distinct = Distinct::new(&definitions);
    let id = distinct.sketch(Kind::Click, None).id();
    // 26 hours, two users a second, each pane delivered up to 40 s late.
    let names = users(60_000, 11);
    let mut random = Random(5);
    let mut seen = Vec::new();
    let mut out = Registers::new();
    let check = |redis: &mut Redis, seen: &[(EventTime, usize)], start, end, out: &Registers| {
        let users: Vec<String> = seen
            .iter()
            .filter(|&&(at, _)| start <= at && at < end)
            .map(|&(_, user)| names[user].clone())
            .collect();
        redis::cmd("DEL").arg("window").exec(&mut redis.0).unwrap();
        redis.pfadd("window", &users);
        let theirs = redis.get("window");
        assert_eq!(decode(&theirs), out.ranks(), "[{start}, {end})");
        let ours = out.encode();
        if theirs[ENCODING] == DENSE && ours[ENCODING] == DENSE {
            assert!(ours[HEADER..] == theirs[HEADER..], "[{start}, {end})");
        }
        assert_eq!(redis.pfcount("window"), out.count(), "[{start}, {end})");
        users.len()
    };
    let mut compared = 0;
    for second in 0..26 * 3600 {
        let n = EventTime::from_millis(second * 1000);
        distinct.advance_stream_time(n);
        for _ in 0..2 {
            let at = n - Span::from_secs(random.below(40) as i64);
            let user = random.below(names.len() as u64) as usize;
            let (register, rank) = mark(names[user].as_bytes());
            distinct.add(id, at, register, rank);
            seen.push((at, user));
        }
        if second % 60 != 45 || second < 60 {
            continue;
        }
        let edge = n.floor(Span::from_secs(60));
        distinct.fold_to(edge);
        distinct.prune(EventTime::MIN);
        if second % 3600 != 45 {
            continue;
        }
        for window in &definitions.windows {
            let size = window.size;
            if edge.ceil(window.closed_step) == edge {
                out.clear();
                distinct.closed(id, edge - size, &mut out);
                compared += check(&mut redis, &seen, edge - size, edge, &out);
            }
            let end = n.next_multiple(window.slide);
            out.clear();
            distinct.latest(id, end - size, end, &mut out);
            compared += check(&mut redis, &seen, end - size, end, &out);
        }
    }
    assert!(compared > 1_000_000, "{compared} (window, user) pairs compared");
}

fn hourly_and_daily() -> Definitions {
    let (second, minute, hour) = (Span::from_secs(1), Span::from_secs(60), Span::from_secs(3600));
    let day = Span::from_secs(24 * 3600);
    let (windows, levels) = Definitions::resolve_windows(vec![
        ("1m".into(), minute, second, minute),
        ("1h".into(), hour, minute, minute),
        ("24h".into(), day, minute, hour),
    ]);
    Definitions {
        windows,
        levels,
        dimensions: Vec::<Dimension>::new(),
        boards: Vec::new(),
        lateness: minute,
        max_future: minute,
        max_skew: minute,
        stall_limit: hour,
        currency: "EUR".into(),
        sketch_bytes_max: 64 << 20,
        deduplicate: false,
        deduplicate_bytes_max: 0,
    }
}
