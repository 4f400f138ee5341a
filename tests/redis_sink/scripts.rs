//! The scripts on their own: what they refuse, they refuse before their first write.

use redis::{Connection, Script};

use crate::server::{Server, ask};

const SWAP: &str = include_str!("../../src/sinks/redis/lua/swap.lua");
const CLOSE: &str = include_str!("../../src/sinks/redis/lua/close.lua");
const PUT: &str = include_str!("../../src/sinks/redis/lua/put.lua");
const PROMOTE: &str = include_str!("../../src/sinks/redis/lua/promote.lua");

struct Bench {
    _server: Server,
    connection: Connection,
}

impl Bench {
    /// Meta of writer `us` at seq 7, one staged and one live board.
    fn new() -> Bench {
        let server = Server::with(&["--enable-debug-command", "yes"]);
        let mut connection = server.connect();
        for line in [
            "HSET meta leader us seq 7",
            "ZADD tmp 1 new",
            "PEXPIRE tmp 60000",
            "ZADD live 1 old",
            "ZADD empty 1 old",
        ] {
            ask::<redis::Value>(&mut connection, line);
        }
        Bench { _server: server, connection }
    }

    fn run(&mut self, script: &str, keys: &[&str], arguments: &[&str]) -> Vec<String> {
        let script = Script::new(script);
        script.prepare_invoke().key(keys).arg(arguments).invoke(&mut self.connection).unwrap()
    }

    /// Runs a script that must refuse with `answer` and change nothing at all.
    fn refused(&mut self, script: &str, keys: &[&str], arguments: &[&str], answer: [&str; 2]) {
        let before: String = ask(&mut self.connection, "DEBUG DIGEST");
        assert_eq!(self.run(script, keys, arguments), answer);
        assert_eq!(ask::<String>(&mut self.connection, "DEBUG DIGEST"), before, "{answer:?}");
    }

    fn ask<T: redis::FromRedisValue>(&mut self, line: &str) -> T {
        ask(&mut self.connection, line)
    }
}

#[test]
fn swap_checks_before_it_writes() {
    let mut bench = Bench::new();
    let keys = ["meta", "tmp", "live", "empty"];
    let with = |token, seq| [token, seq, "8", "1", "", "", "1", "name", "value", "gone"];
    bench.refused(SWAP, &keys, &with("them", "7"), ["FENCED", "us"]);
    bench.refused(SWAP, &keys, &with("us", "6"), ["SEQ", "7"]);
    bench.refused(SWAP, &keys, &with("us", ""), ["SEQ", "7"]);
    bench.refused(SWAP, &["nothing", "tmp", "live"], &with("us", "7"), ["FENCED", ""]);
    // The second of two staged views is missing: the first must not go live.
    let mut two = with("us", "7");
    two[3] = "2";
    bench.refused(SWAP, &["meta", "tmp", "live", "lost", "other"], &two, ["LOST", "lost"]);

    bench.ask::<u64>("HSET meta gone 1");
    assert_eq!(bench.run(SWAP, &keys, &with("us", "7")), ["OK", "8"]);
    assert_eq!(bench.ask::<Vec<String>>("ZRANGE live 0 -1"), ["new"]);
    assert!(bench.ask::<i64>("PTTL live") > 0, "the TTL came along");
    assert_eq!(bench.ask::<u64>("EXISTS tmp empty"), 0);
    assert_eq!(bench.ask::<Vec<String>>("HMGET meta seq name"), ["8", "value"]);
    assert!(!bench.ask::<bool>("HEXISTS meta gone"));
    bench.refused(SWAP, &keys, &with("us", "7"), ["SEQ", "8"]);
}

#[test]
fn close_checks_before_it_writes() {
    let mut bench = Bench::new();
    let keys = ["meta", "history", "ends", "tmp", "live"];
    // Two fields of meta, one of the entry.
    let with = |token, seq, end| {
        let meta = ["2", "through", end, "offsets", "c/0=9"];
        [&[token, seq, "8", end, "0", "1", "1"][..], &meta, &["clicks", "5"]].concat()
    };
    bench.refused(CLOSE, &keys, &with("them", "7", "1000"), ["FENCED", "us"]);
    bench.refused(CLOSE, &keys, &with("us", "8", "1000"), ["SEQ", "7"]);
    let lost = ["meta", "history", "ends", "lost", "live"];
    bench.refused(CLOSE, &lost, &with("us", "7", "1000"), ["LOST", "lost"]);
    let wrong = ["meta", "live", "ends", "tmp", "live"];
    bench.refused(CLOSE, &wrong, &with("us", "7", "1000"), ["TYPE", "live"]);
    let wrong = ["meta", "history", "meta", "tmp", "live"];
    bench.refused(CLOSE, &wrong, &with("us", "7", "1000"), ["TYPE", "meta"]);

    assert_eq!(bench.run(CLOSE, &keys, &with("us", "7", "1000")), ["OK", "8", "1"]);
    bench.ask::<u64>("ZADD tmp 1 newer");
    bench.refused(CLOSE, &keys, &with("us", "8", "1000"), ["OLD", "1000"]);
    bench.refused(CLOSE, &keys, &with("us", "8", "500"), ["OLD", "500"]);
    assert_eq!(bench.ask::<Vec<String>>("ZRANGE live 0 -1"), ["new"]);
    let mut next = with("us", "8", "2000");
    next[2] = "9";
    assert_eq!(bench.run(CLOSE, &keys, &next), ["OK", "9", "2", "1000"], "one end is kept");
    assert_eq!(bench.ask::<Vec<String>>("ZRANGE ends 0 -1"), ["2000"]);
    let fields = "HMGET meta seq through offsets";
    assert_eq!(bench.ask::<Vec<String>>(fields), ["9", "2000", "c/0=9"]);
    let entry: Vec<(String, Vec<String>)> = bench.ask("XRANGE history 2000 2000");
    assert_eq!(entry[0].1, ["clicks", "5"]);
    // An older window whose entry stands comes back: the newest end stays what it is.
    bench.ask::<u64>("ZADD tmp 1 back");
    let back = ["us", "9", "10", "1500", "", "2", "1", "1", "through", "2000"];
    assert_eq!(bench.run(CLOSE, &keys, &back), ["OK", "10", "2"]);
    assert_eq!(bench.ask::<Vec<String>>("ZRANGE ends 0 -1"), ["1500", "2000"]);
    assert_eq!(bench.ask::<Vec<String>>("ZRANGE live 0 -1"), ["back"]);
    assert_eq!(bench.ask::<Vec<String>>("HMGET meta seq through"), ["10", "2000"]);
}

#[test]
fn put_checks_before_it_writes() {
    let mut bench = Bench::new();
    let keys = ["meta", "index", "a", "b", "live"];
    let with = |token, seq| [token, seq, "60000", "1", "2"];
    bench.refused(PUT, &keys, &with("them", "7"), ["FENCED", "us"]);
    bench.refused(PUT, &keys, &with("us", "8"), ["SEQ", "7"]);
    let wrong = ["meta", "live", "a", "b"];
    bench.refused(PUT, &wrong, &with("us", "7"), ["TYPE", "live"]);
    assert_eq!(bench.run(PUT, &keys, &with("us", "7")), ["OK", "7"]);
    assert_eq!(bench.ask::<Vec<String>>("MGET a b"), ["1", "2"]);
    assert_eq!(bench.ask::<u64>("SCARD index"), 2);
    assert_eq!(bench.ask::<u64>("EXISTS live"), 0);
    assert_eq!(bench.run(PUT, &["meta", "index", "a"], &["us", "7", "60000"]), ["OK", "7"]);
    assert_eq!(bench.ask::<Vec<String>>("SMEMBERS index"), ["b"]);
}

#[test]
fn promote_checks_before_it_writes() {
    let mut bench = Bench::new();
    let keys = ["meta", "ends", "tmp", "live", "empty"];
    let with = |token, views| [token, views, "1000", "500", ""];
    bench.refused(PROMOTE, &keys, &with("them", "1"), ["FENCED", "us"]);
    bench.refused(PROMOTE, &["nothing", "ends", "tmp", "live"], &with("us", "1"), ["FENCED", ""]);
    bench.refused(PROMOTE, &["meta", "meta", "tmp", "live"], &with("us", "1"), ["TYPE", "meta"]);
    // The second of two is missing: the first must not go live.
    let lost = ["meta", "ends", "tmp", "live", "lost", "other"];
    bench.refused(PROMOTE, &lost, &with("us", "2"), ["LOST", "lost"]);

    bench.ask::<u64>("ZADD ends 500 500");
    assert_eq!(bench.run(PROMOTE, &keys, &with("us", "1")), ["OK", ""]);
    assert_eq!(bench.ask::<Vec<String>>("ZRANGE live 0 -1"), ["new"]);
    assert!(bench.ask::<i64>("PTTL live") > 0, "the TTL came along");
    assert_eq!(bench.ask::<u64>("EXISTS tmp empty"), 0);
    assert_eq!(bench.ask::<Vec<String>>("ZRANGE ends 0 -1"), ["1000"]);
    assert_eq!(bench.ask::<Vec<String>>("HMGET meta leader seq"), ["us", "7"]);

    bench.ask::<u64>("ZADD tmp 1 newer");
    bench.ask::<u64>("PEXPIRE tmp 60000");
    let for_ever = ["us", "1", "", "", "1"];
    assert_eq!(bench.run(PROMOTE, &["meta", "ends", "tmp", "live"], &for_ever), ["OK", ""]);
    assert_eq!(bench.ask::<i64>("PTTL live"), -1);
    assert_eq!(bench.ask::<Vec<String>>("ZRANGE ends 0 -1"), ["1000"]);
}
