//! What readers find under a prefix, apart from when and by which attempt it was written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redis::{Connection, Value};

use crate::server::{Server, ask};

/// Keys of the writer alone.
const PRIVATE: [&str; 6] = [
    "{nazar}:lease",
    "{nazar}:index:",
    "{nazar}:tmp:",
    "{nazar}:closed:members:",
    "{nazar}:pane:",
    "{nazar}:manifest",
];

/// Fields that tell of attempts and of clocks.
fn is_volatile(field: &str) -> bool {
    ["seq", "flushed_at", "leader"].contains(&field)
        || field.starts_with("seq:")
        || field.starts_with("flushed_at:")
}

/// Keys and values, as text.
pub fn public(server: &Server) -> BTreeMap<String, String> {
    let mut connection = server.connect();
    let keys: Vec<String> = ask(&mut connection, "KEYS *");
    keys.into_iter()
        .filter(|key| !PRIVATE.iter().any(|private| key.starts_with(private)))
        .map(|key| {
            let value = value(&mut connection, &key);
            (key, value)
        })
        .collect()
}

/// The same, of all masters of a Cluster.
pub fn public_of(nodes: &[Server]) -> BTreeMap<String, String> {
    let masters = nodes.iter().filter(|node| node.is_running() && node.info("role") == "master");
    let mut all = BTreeMap::new();
    for (key, value) in masters.flat_map(public) {
        let twice = all.insert(key.clone(), value);
        assert!(twice.is_none(), "two nodes hold {key}");
    }
    all
}

/// Shows what differs only: there is a lot of it.
#[track_caller]
pub fn assert_same(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differ: Vec<String> = keys
        .into_iter()
        .filter(|key| found.get(*key) != expected.get(*key))
        .map(|key| format!("{key}\n  {:?}\n  {:?}", found.get(key), expected.get(key)))
        .collect();
    let shown = &differ[..differ.len().min(5)];
    assert!(
        differ.is_empty(),
        "{} keys differ, as found and expected:\n{}",
        differ.len(),
        shown.join("\n")
    );
}

/// Of every entity's hash.
pub fn entity_seqs(server: &Server) -> HashMap<String, u64> {
    let keys: Vec<String> = server.ask("KEYS nazar:*");
    keys.into_iter().map(|key| (key.clone(), server.ask(&format!("HGET {key} seq")))).collect()
}

fn value(connection: &mut Connection, key: &str) -> String {
    let kind: String = ask(connection, &format!("TYPE {key}"));
    match kind.as_str() {
        "hash" => {
            let fields: BTreeMap<String, String> = ask(connection, &format!("HGETALL {key}"));
            format!(
                "{:?}",
                fields.into_iter().filter(|(name, _)| !is_volatile(name)).collect::<Vec<_>>()
            )
        }
        "zset" => {
            let rows: Vec<String> = ask(connection, &format!("ZRANGE {key} 0 -1 WITHSCORES"));
            rows.join(" ")
        }
        "stream" => {
            let entries: Vec<(String, Vec<String>)> = ask(connection, &format!("XRANGE {key} - +"));
            format!("{entries:?}")
        }
        "string" => format!("{:?}", ask::<Value>(connection, &format!("GET {key}"))),
        other => panic!("{key} is a {other}"),
    }
}
