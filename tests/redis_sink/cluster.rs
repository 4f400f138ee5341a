//! The sink on a Redis Cluster of three masters: the same views as on a single Redis, while slots
//! move, masters die and nodes forget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use nazar::config::{RedisConfig, Secret};
use nazar::event::Kind;
use nazar::pipeline::delivery::Partition;
use nazar::pipeline::protocol::{Held, Token};
use nazar::pipeline::view::Flush;
use nazar::sinks::redis::admin::{reset, survey};
use nazar::sinks::redis::error::{ErrorClass, RedisSinkError};
use nazar::sinks::redis::holdings::standing;
use nazar::sinks::redis::outbox::{Append, Feed, Outboxes, ReadBounds};
use nazar::sinks::redis::{RedisSink, keys::Keys};
use tokio::task::JoinHandle;

use crate::cluster_servers::Cluster;
use crate::fixture::*;
use crate::picture::{assert_same, entity_seqs, public, public_of};
use crate::server::Server;

/// What a busy machine may need for a failover and for the flushes after it.
const LONG: Duration = Duration::from_secs(60);

/// Products enough that every node holds some.
const PRODUCTS: u64 = 60;

fn settings(url: String) -> RedisConfig {
    RedisConfig { url: Secret::new(url), ..config(&Server::stopped(&[])) }
}

/// Everything that a flush can carry, as of a step: later steps have other scores, some other
/// products, and one more closed window.
fn flush(step: u64) -> Flush {
    let names: Vec<String> = (0..PRODUCTS)
        // Every seventh step a third of them makes room for others.
        .map(|product| if product % 3 == 0 { product + 1000 * (step / 7) } else { product })
        .map(|product| format!("p{product}"))
        .collect();
    let rows: Vec<(&str, u64)> =
        names.iter().zip(1..).map(|(name, rank)| (name.as_str(), rank * 100 + step)).collect();
    let seconds = i64::try_from(step).unwrap();
    Flush {
        closed: vec![closed(window(0, 60, seconds * 60, &rows))],
        latest: vec![latest(window(0, 60, seconds, &rows)), latest(window(1, 300, seconds, &rows))],
        meta: meta(2),
        keeps_latest: false,
    }
}

/// What a single Redis holds after the same flushes.
async fn expected(steps: u64) -> BTreeMap<String, String> {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    for step in 1..=steps {
        sink.publish(&flush(step)).await.unwrap();
    }
    sink.release().await;
    public(&server)
}

/// Flushes one after the other until told to stop.
struct Writer {
    task: JoinHandle<Result<RedisSink, RedisSinkError>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Writer {
    fn start(mut sink: RedisSink, from: u64) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(from - 1));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let task = tokio::spawn(async move {
            while !stopped.load(SeqCst) {
                sink.publish(&flush(count.load(SeqCst) + 1)).await?;
                count.fetch_add(1, SeqCst);
            }
            Ok(sink)
        });
        Writer { task, stop, done }
    }

    fn done(&self) -> u64 {
        self.done.load(SeqCst)
    }

    /// So many more flushes have come through.
    async fn goes_on(&self, flushes: u64) {
        let (from, wait) = (self.done(), async {
            let from = self.done();
            while self.done() < from + flushes && !self.task.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        tokio::time::timeout(LONG, wait).await.expect("flushes go on");
        assert!(self.done() >= from + flushes, "the writer has ended");
    }

    /// How many flushes there were, and the sink after the last one.
    async fn end(self) -> (u64, RedisSink) {
        self.stop.store(true, SeqCst);
        let sink = tokio::time::timeout(LONG, self.task).await.expect("the last flush ends");
        (self.done.load(SeqCst), sink.unwrap().unwrap())
    }
}

fn nodes_with_keys(cluster: &Cluster) -> usize {
    let masters: BTreeSet<usize> =
        [0, 5461, 10_923].map(|slot| cluster.owner(slot)).into_iter().collect();
    masters.iter().filter(|&&index| cluster.nodes[index].ask::<u64>("DBSIZE") > 0).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_those_of_a_single_redis() {
    let cluster = Cluster::start();
    let settings = settings(cluster.url());
    let mut sink = open(&settings).await;
    for step in 1..=8 {
        let report = sink.publish(&flush(step)).await.unwrap();
        assert!(report.keys_written > 0);
    }
    sink.release().await;
    assert_same(&public_of(&cluster.nodes), &expected(8).await);
    assert_eq!(nodes_with_keys(&cluster), 3);
    assert_eq!((cluster.errors("CROSSSLOT"), cluster.errors("MOVED")), (0, 0));
    assert_eq!(sink.health().retries(), 0);

    let standing = standing(&settings).await.unwrap().unwrap();
    assert_eq!((standing.meta["leader"].as_str(), standing.lease_left_millis), ("token-1", None));
    // A successor finds what there is, and removes what it does not write.
    let definitions = definitions(&[60, 300]);
    let mut next = open_as(&settings, definitions, "hash-1", "token-2").await.unwrap();
    next.publish(&flush(15)).await.unwrap();
    let products = public_of(&cluster.nodes).into_keys();
    assert_eq!(products.filter(|key| key.starts_with("nazar:product:")).count() as u64, PRODUCTS);

    let deleted = reset(&settings).await.unwrap();
    assert!(deleted > PRODUCTS, "{deleted}");
    // The lease that the second writer goes on renewing finds no meta, so it does not come back.
    let left: u64 = cluster.nodes.iter().map(|node| node.ask::<u64>("DBSIZE")).sum();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_under_the_writer() {
    let cluster = Arc::new(Cluster::start());
    let sink = open(&settings(cluster.url())).await;
    let health = sink.health();
    let writer = Writer::start(sink, 1);
    writer.goes_on(3).await;

    // An entity's slot: commands of single keys go on throughout, some behind ASK.
    for product in ["nazar:product:p1", "nazar:product:p2"] {
        let moving = Arc::clone(&cluster);
        let slot = cluster.slot(product);
        let to = (cluster.owner(slot) + 1) % 3;
        let done = Arc::clone(&writer.done);
        let moved = tokio::task::spawn_blocking(move || {
            moving.migrate(slot, to, || {
                let from = done.load(SeqCst);
                while done.load(SeqCst) < from + 2 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        });
        tokio::time::timeout(LONG, moved).await.expect("flushes go on meanwhile").unwrap();
        writer.goes_on(2).await;
        assert_eq!(cluster.owner(slot), to);
    }
    assert!(cluster.errors("ASK") > 0 && cluster.errors("MOVED") > 0);
    assert_eq!(health.retries(), 0, "nobody noticed");

    // The slot of all views: scripts wait until all keys have arrived.
    let slot = cluster.slot("{nazar}:meta");
    for to in [1, 2] {
        let (moving, refused) = (Arc::clone(&cluster), cluster.errors("TRYAGAIN"));
        let moved = tokio::task::spawn_blocking(move || {
            moving.migrate(slot, to, || std::thread::sleep(Duration::from_millis(20)));
        });
        moved.await.unwrap();
        writer.goes_on(3).await;
        assert_eq!(cluster.owner(slot), to);
        assert!(cluster.errors("TRYAGAIN") > refused, "nothing was written while it moved");
    }
    assert!(health.errors(ErrorClass::Unavailable) > 0);

    let (steps, sink) = writer.end().await;
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
    assert_same(&public_of(&cluster.nodes), &expected(steps).await);
    assert_eq!(sink.health().republishes(), 0, "nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_for_each_master() {
    let mut cluster = Cluster::with(3, &[]);
    // Named by the one that dies first, among others.
    let sink = open(&settings(cluster.urls())).await;
    let writer = Writer::start(sink, 1);
    writer.goes_on(3).await;
    let home = cluster.slot("{nazar}:meta");
    let other = cluster.slot("nazar:product:p1");
    assert_ne!(cluster.owner(home), cluster.owner(other));
    for slot in [home, other] {
        let master = cluster.owner(slot);
        cluster.nodes[master].kill();
        cluster.until("a replica is promoted", |cluster| cluster.owner(slot) != master);
        writer.goes_on(3).await;
    }
    let (steps, _) = writer.end().await;
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
    assert_same(&public_of(&cluster.nodes), &expected(steps).await);
}

/// Neither meta nor a broken connection tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_forgets_gets_its_hashes_back() {
    let cluster = Cluster::start();
    let mut sink = open(&settings(cluster.url())).await;
    sink.publish(&flush(1)).await.unwrap();
    let before = public_of(&cluster.nodes);
    let home = cluster.owner(cluster.slot("{nazar}:meta"));
    let other = (0..3).find(|&index| index != home).unwrap();
    let held: u64 = cluster.nodes[other].ask("DBSIZE");
    assert!(held > 0);
    cluster.nodes[other].ask::<()>("FLUSHALL");
    // The same values: without noticing the loss, nothing would be written.
    sink.publish(&Flush { closed: vec![], ..flush(1) }).await.unwrap();
    assert_same(&public_of(&cluster.nodes), &before);
    assert_eq!(sink.health().republishes(), 1);

    // The last write is gone, as on a replica that lagged.
    let hashes = entity_seqs(&cluster.nodes[other]).into_iter();
    let (seq, key) = hashes.map(|(key, seq)| (seq, key)).max().unwrap();
    cluster.nodes[other].ask::<()>(&format!("HSET {key} seq {} clicks.1m 1", seq - 1));
    sink.publish(&Flush { closed: vec![], ..flush(1) }).await.unwrap();
    assert_same(&public_of(&cluster.nodes), &before);
    assert_eq!(sink.health().republishes(), 2);

    // All of it, with the sequence number.
    for node in &cluster.nodes {
        node.ask::<()>("FLUSHALL");
    }
    sink.publish(&Flush { closed: vec![], ..flush(1) }).await.unwrap();
    assert_same(&public_of(&cluster.nodes), &before);
}

#[tokio::test(flavor = "multi_thread")]
async fn outboxes_lie_on_all_nodes_and_move() {
    let cluster = Cluster::start();
    let settings = settings(cluster.url());
    let partitions: Vec<Partition> =
        (0..8).map(|index| Partition { kind: Kind::Click, index }).collect();
    let token = Token::new(0xa);
    let keys = Keys::new("nazar").unwrap();
    let slot = |partition: &Partition| cluster.slot(&keys.outbox("click", partition.index));
    let on: BTreeSet<usize> = partitions.iter().map(|p| cluster.owner(slot(p))).collect();
    assert_eq!(on.len(), 3);

    let mut owner = Outboxes::new(&settings, &topics(), 1 << 20).unwrap();
    let mut feed = Feed::new(&settings, &topics()).unwrap();
    let starts: Vec<_> = partitions.iter().map(|&partition| (partition, token, 0)).collect();
    owner.open(&starts).await.unwrap();
    let append = async |owner: &mut Outboxes, from: i64, to: i64| {
        for &partition in &partitions {
            let appended = owner.append(partition, token, from, to, b"delivery").await.unwrap();
            assert_eq!(appended, Append::Appended);
        }
    };
    append(&mut owner, 0, 10).await;
    // To the left and to the right of where each slot stands now.
    for (partition, step) in partitions.iter().zip([1, 2].into_iter().cycle()) {
        let slot = slot(partition);
        cluster.migrate(slot, (cluster.owner(slot) + step) % 3, || {});
    }
    append(&mut owner, 10, 20).await;
    let bounds = ReadBounds { bytes: 1 << 20, entries: 100 };
    let read = feed.read(&partitions, bounds).await.unwrap();
    let ranges: Vec<_> = read.iter().map(|entry| (entry.partition, entry.from, entry.to)).collect();
    let all = partitions.iter().flat_map(|&partition| [(partition, 0, 10), (partition, 10, 20)]);
    assert_eq!(ranges, all.collect::<Vec<_>>());
    let cursors: Vec<_> = partitions.iter().map(|&partition| (partition, 10)).collect();
    assert_eq!(feed.trim(&cursors).await.unwrap(), 8);
    let asked: Vec<_> = partitions.iter().map(|&partition| (partition, token)).collect();
    let held = owner.held(&asked).await.unwrap();
    assert_eq!(held, vec![Some(Held { from: 10, to: 20 }); 8]);
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
    assert!(cluster.errors("MOVED") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_tells_of_the_others() {
    let cluster = Cluster::start();
    let gone = Server::stopped(&[]);
    let found = survey(&settings(cluster.url())).await.unwrap();
    let nodes: BTreeSet<String> = found.servers.into_iter().filter_map(|one| one.node).collect();
    let ports = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
    assert_eq!(nodes, ports.collect());
    assert_eq!(found.unserved_slots, 0);

    // The first that answers will do, whichever it is.
    for node in &cluster.nodes {
        let url = format!("redis://127.0.0.1:{},127.0.0.1:{}", gone.port, node.port);
        assert_eq!(survey(&settings(url)).await.unwrap().servers.len(), 3);
    }
    // Several servers that are no Cluster would not hold the same.
    let (one, two) = (Server::start(), Server::start());
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}", one.port, two.port);
    let refused = survey(&settings(url)).await.unwrap_err().to_string();
    assert!(refused.contains("no node of a Cluster"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_see_the_slots_is_told_so() {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        node.ask::<()>("ACL SETUSER small on nopass ~* &* +@all -cluster");
        node.ask::<()>("ACL SETUSER large on nopass ~{nazar}:* ~nazar:* &{nazar}:flushes +@read +@write +@connection +@scripting +multi +exec +publish +info +cluster|slots");
    }
    let port = cluster.nodes[0].port;
    let as_user = |user: &str| settings(format!("redis://{user}:x@127.0.0.1:{port}"));
    let refused = open_as(&as_user("small"), definitions(&[60]), "h", "t").await.err().unwrap();
    assert!(matches!(refused, RedisSinkError::Cluster), "{refused}");
    let found = survey(&as_user("large")).await.unwrap();
    assert_eq!(found.servers.iter().find_map(|server| server.refused.clone()), None);
    let mut sink = open(&as_user("large")).await;
    sink.publish(&flush(1)).await.unwrap();
}
