//! A Redis Cluster of real servers on loopback, slots moved and masters killed by hand.
//!
//! Include it beside `redis`: `#[path = "../common/redis_cluster.rs"] mod cluster_servers;`,
//! with that one named `redis_server`.

#![allow(dead_code)]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue};

use crate::redis_server::{Server, ask};

const SLOTS: usize = 16_384;

/// Longest wait for the nodes to agree.
const WAIT: Duration = Duration::from_secs(60);

/// Short, as loopback is quick; a failover takes about twice as long.
const NODE_TIMEOUT_MS: &str = "2000";

pub struct Cluster {
    /// Masters first, as created, then a replica of each if so asked.
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Three masters with a third of the slots each.
    pub fn start() -> Cluster {
        Cluster::with(0, &[])
    }

    /// Three masters, with so many of them having a replica.
    pub fn with(replicas: usize, arguments: &[&str]) -> Cluster {
        let mut all = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT_MS];
        // A replica that waits for the next round of syncs would not be one in time.
        all.extend(["--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"]);
        all.extend(arguments);
        let nodes: Vec<Server> = (0..3 + replicas).map(|_| node(&all)).collect();
        let cluster = Cluster { nodes };
        cluster.meet(replicas);
        cluster
    }

    fn meet(&self, replicas: usize) {
        let ranges = [(0, 5460), (5461, 10_922), (10_923, 16_383)];
        for (number, (node, (first, last))) in self.nodes.iter().zip(ranges).enumerate() {
            // Nodes that were never told one would settle on it by themselves, some day.
            node.ask::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
            node.ask::<()>(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
        }
        for node in &self.nodes[1..] {
            node.ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {}", self.nodes[0].port));
        }
        self.until("all nodes know each other", |cluster| {
            let known = |node: &Server| info(node, "cluster_known_nodes");
            cluster.nodes.iter().all(|node| known(node) == cluster.nodes.len().to_string())
        });
        for (replica, master) in self.nodes[3..].iter().zip(&self.nodes).take(replicas) {
            let id: String = master.ask("CLUSTER MYID");
            replica.ask::<()>(&format!("CLUSTER REPLICATE {id}"));
        }
        self.until("the cluster is whole", |cluster| {
            let is_ok = |node: &Server| info(node, "cluster_state") == "ok";
            let follows = |node: &Server| node.info("master_link_status") == "up";
            cluster.nodes.iter().all(is_ok) && cluster.nodes[3..].iter().all(follows)
        });
    }

    /// The address of one node; the rest is found.
    pub fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// The address of all nodes.
    pub fn urls(&self) -> String {
        let nodes: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis://{}", nodes.join(","))
    }

    pub fn slot(&self, key: &str) -> usize {
        self.some().ask(&format!("CLUSTER KEYSLOT {key}"))
    }

    /// The index of the node that serves a slot, as the nodes that are up agree on it.
    pub fn owner(&self, slot: usize) -> usize {
        for _ in 0..1000 {
            let nodes: String = self.some().ask("CLUSTER NODES");
            let port = nodes.lines().find_map(|line| serves(line, slot));
            let index = port.and_then(|port| self.nodes.iter().position(|node| node.port == port));
            if let Some(index) = index {
                return index;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody serves slot {slot}");
    }

    pub fn node_of(&self, key: &str) -> &Server {
        &self.nodes[self.owner(self.slot(key))]
    }

    /// A command to the node that serves its key.
    pub fn ask<T: FromRedisValue>(&self, key: &str, line: &str) -> T {
        self.node_of(key).ask(line)
    }

    /// Moves a slot, key by key as a person would, with a look at the world before its first key
    /// goes and after each, and before the new owner is declared.
    pub fn migrate(&self, slot: usize, to: usize, mut between: impl FnMut()) {
        let (source, target) = (&self.nodes[self.owner(slot)], &self.nodes[to]);
        let (from_id, to_id): (String, String) =
            (source.ask("CLUSTER MYID"), target.ask("CLUSTER MYID"));
        target.ask::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}"));
        source.ask::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}"));
        between();
        let mut connection = source.connect();
        loop {
            let keys: Vec<String> =
                ask(&mut connection, &format!("CLUSTER GETKEYSINSLOT {slot} 1"));
            let [key] = &keys[..] else { break };
            move_key(&mut connection, key, target.port);
            between();
        }
        for node in [target, source] {
            node.ask::<()>(&format!("CLUSTER SETSLOT {slot} NODE {to_id}"));
        }
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            // Replicas refuse it and learn by gossip.
            let mut command = redis::cmd("CLUSTER");
            command.arg("SETSLOT").arg(slot).arg("NODE").arg(&to_id);
            let _ = command.exec(&mut node.connect());
        }
        // Moved on before that, the slot could be claimed by both with the same right.
        let port = target.port;
        self.until("all nodes agree who has the slot", |cluster| {
            cluster.nodes.iter().filter(|node| node.is_running()).all(|node| {
                let nodes: String = node.ask("CLUSTER NODES");
                nodes.lines().find_map(|line| serves(line, slot)) == Some(port)
            })
        });
    }

    /// How often nodes that are up have answered with an error of that name.
    pub fn errors(&self, name: &str) -> u64 {
        let nodes = self.nodes.iter().filter(|node| node.is_running());
        nodes.map(|node| error_count(node, name)).sum()
    }

    fn some(&self) -> &Server {
        self.nodes.iter().find(|node| node.is_running()).expect("a node is up")
    }

    pub fn until(&self, what: &str, mut is_so: impl FnMut(&Cluster) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How often a server has answered with an error of that name.
pub fn error_count(server: &Server, name: &str) -> u64 {
    let info: String = server.ask("INFO errorstats");
    let start = format!("errorstat_{name}:count=");
    info.lines().find_map(|line| line.strip_prefix(&start)?.trim().parse().ok()).unwrap_or(0)
}

/// The bus listens 10,000 above the port, which has to be free and to exist as well.
fn node(arguments: &[&str]) -> Server {
    loop {
        let mut server = Server::stopped(arguments);
        let bus = server.port.checked_add(10_000);
        if bus.is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            server.run();
            return server;
        }
    }
}

fn info(node: &Server, field: &str) -> String {
    let info: String = node.ask("CLUSTER INFO");
    let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}

/// The port of a line of CLUSTER NODES, if that node is a master that serves the slot.
fn serves(line: &str, slot: usize) -> Option<u16> {
    let words: Vec<&str> = line.split(' ').collect();
    let is_master = words.get(2)?.contains("master") && !words.get(2)?.contains("fail");
    let covers = |range: &&str| match range.split_once('-') {
        _ if range.starts_with('[') => false,
        Some((first, last)) => {
            let range = first.parse::<usize>().unwrap()..=last.parse().unwrap();
            range.contains(&slot) && slot < SLOTS
        }
        None => range.parse() == Ok(slot),
    };
    (is_master && words.get(8..)?.iter().any(covers))
        .then(|| words[1].split('@').next()?.rsplit(':').next()?.parse().ok())?
}

fn move_key(source: &mut Connection, key: &str, port: u16) {
    let answer: String = ask(source, &format!("MIGRATE 127.0.0.1 {port} {key} 0 10000"));
    // NOKEY: it has expired, or was deleted, since it was listed.
    assert!(["OK", "NOKEY"].contains(&answer.as_str()), "{key}: {answer}");
}
