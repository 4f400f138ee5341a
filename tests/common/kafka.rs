//! A real broker for a test process: `scripts/kafka` on free ports in a directory of its own.
//!
//! Include it with `#[path = "common/kafka.rs"] mod kafka;`. [`Kafka::shared`] is one broker
//! for all tests of the process; [`Kafka::start`] is a broker that a test may stop or freeze.
//! The broker ends with its handle, or with the process, however that ends: a keeper process
//! holds the other end of a pipe and cleans up when the pipe closes.

#![allow(dead_code)]

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::Offset;

const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Kafka {
    port: u16,
    nodes: u16,
    dir: PathBuf,
    keeper: Child,
}

/// A record to produce. Without a timestamp it carries the time of producing.
#[derive(Clone, Default)]
pub struct Record {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub timestamp_ms: Option<i64>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub fn new(partition: i32, payload: impl Into<Vec<u8>>) -> Self {
        Self { partition, payload: Some(payload.into()), ..Self::default() }
    }
}

impl Kafka {
    /// The broker that all tests of this process share.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(Kafka::start)
    }

    /// A broker of one's own, to be stopped, frozen or thrown away.
    pub fn start() -> Kafka {
        Kafka::start_cluster(1)
    }

    /// `brokers` nodes; [`Kafka::port`] is that of the first.
    pub fn start_cluster(brokers: u16) -> Kafka {
        // A port may be taken between looking and binding: then look again.
        for _ in 0..5 {
            let port = free_ports(2 * brokers);
            let dir = tempfile::Builder::new().prefix("nazar-kafka-").tempdir().unwrap().keep();
            let keeper = keeper(&dir);
            let started = script()
                .args(["start", "--port", &port.to_string()])
                .args(["--brokers", &brokers.to_string()])
                .args(["--dir".as_ref(), dir.as_os_str()])
                .output()
                .unwrap();
            if started.status.success() {
                return Kafka { port, nodes: brokers, dir, keeper };
            }
            eprintln!("{}", String::from_utf8_lossy(&started.stderr));
            close(keeper);
        }
        panic!("no broker could be started");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port` of every broker, for `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        let broker = |port| format!("127.0.0.1:{port}");
        (self.port..self.port + self.nodes).map(broker).collect::<Vec<_>>().join(",")
    }

    /// SIGSTOP: the first broker keeps its connections, but answers nothing.
    pub fn freeze(&self) {
        self.signal(1, "-STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(1, "-CONT");
    }

    /// Ends the brokers, keeping their data for [`Kafka::restart`].
    pub fn stop(&self) {
        let status =
            script().args(["stop".as_ref(), "--dir".as_ref(), self.dir.as_os_str()]).status();
        assert!(status.unwrap().success());
    }

    /// SIGKILL to the first broker; returns once it is gone. Its data stay for [`Kafka::restart`].
    pub fn kill(&self) {
        self.signal(1, "-KILL");
        self.until("the broker is gone", || !self.runs());
    }

    /// The first broker's process.
    pub fn pid(&self) -> String {
        self.pid_of(1)
    }

    fn pid_of(&self, node: i32) -> String {
        let file = self.dir.join(format!("broker-{node}/pid"));
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }

    fn runs(&self) -> bool {
        let look = Command::new("sh").args(["-c", "kill -0 $0", &self.pid()]).output();
        look.unwrap().status.success()
    }

    /// Whether the broker answers within a second.
    pub fn answers(&self) -> bool {
        self.consumer().fetch_metadata(None, Duration::from_secs(1)).is_ok()
    }

    /// Starts a stopped broker again, on its port and with its data. Clusters of one only.
    pub fn restart(&self) {
        let status = script()
            .args(["start", "--port", &self.port.to_string()])
            .args(["--dir".as_ref(), self.dir.as_os_str()])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    /// SIGKILL to one broker of a cluster, counted from 1.
    pub fn kill_node(&self, node: i32) {
        self.signal(node, "-KILL");
    }

    /// Starts a broker again that was killed.
    pub fn restart_node(&self, node: i32) {
        let status = script()
            .args(["start", "--node", &node.to_string(), "--port", &self.port.to_string()])
            .args(["--brokers", &self.nodes.to_string()])
            .args(["--dir".as_ref(), self.dir.as_os_str()])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    /// The broker that leads a partition.
    pub fn leader(&self, topic: &str, partition: i32) -> i32 {
        let metadata = self.consumer().fetch_metadata(Some(topic), TIMEOUT).unwrap();
        let partitions = metadata.topics()[0].partitions();
        partitions.iter().find(|found| found.id() == partition).unwrap().leader()
    }

    /// How many replicas of a partition are in sync.
    pub fn in_sync(&self, topic: &str, partition: i32) -> usize {
        let metadata = self.consumer().fetch_metadata(Some(topic), TIMEOUT).unwrap();
        let partitions = metadata.topics()[0].partitions();
        partitions.iter().find(|found| found.id() == partition).unwrap().isr().len()
    }

    fn signal(&self, node: i32, signal: &str) {
        assert!(
            Command::new("sh")
                .args(["-c", "kill $0 $1", signal, &self.pid_of(node)])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        config
    }

    /// Creates topics, (name, partitions) each.
    pub fn create_topics(&self, topics: &[(&str, i32)]) {
        for (name, partitions) in topics {
            self.create_topic(name, *partitions, &[]);
        }
    }

    /// Creates a topic with properties such as `("message.timestamp.type", "LogAppendTime")`.
    pub fn create_topic(&self, name: &str, partitions: i32, properties: &[(&str, &str)]) {
        let replicas = TopicReplication::Fixed(i32::from(self.nodes.min(3)));
        self.create_replicated(name, partitions, replicas, properties);
    }

    /// Creates a topic with replicas where the test wants them.
    pub fn create_replicated(
        &self,
        name: &str,
        partitions: i32,
        replicas: TopicReplication<'_>,
        properties: &[(&str, &str)],
    ) {
        let mut topic = NewTopic::new(name, partitions, replicas);
        for (key, value) in properties {
            topic = topic.set(key, value);
        }
        let results = block_on(self.admin().create_topics([&topic], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        // The controller has created it; wait until the broker serves it.
        let consumer = self.consumer();
        self.until("the topic is served", || {
            (0..partitions)
                .all(|index| consumer.fetch_watermarks(name, index, Duration::from_secs(1)).is_ok())
        });
    }

    pub fn delete_topic(&self, name: &str) {
        let results = block_on(self.admin().delete_topics(&[name], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
    }

    /// Raises the number of partitions of a topic to `total`.
    pub fn add_partitions(&self, name: &str, total: usize) {
        let partitions = NewPartitions::new(name, total);
        let results =
            block_on(self.admin().create_partitions([&partitions], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        let consumer = self.consumer();
        self.until("the partitions are served", || {
            (0..total).all(|index| {
                consumer.fetch_watermarks(name, index as i32, Duration::from_secs(1)).is_ok()
            })
        });
    }

    /// Deletes the records before `offset`, as retention would.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        block_on(self.admin().delete_records(&before, &AdminOptions::new())).unwrap();
    }

    /// (log start, end) of a partition. The end is the high watermark.
    pub fn offsets(&self, topic: &str, partition: i32) -> (i64, i64) {
        self.consumer().fetch_watermarks(topic, partition, TIMEOUT).unwrap()
    }

    /// Produces and waits until every record is acknowledged.
    pub fn produce(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        produce(&self.producer(&[]), topic, records);
    }

    /// A producer with `acks=all`; properties override.
    pub fn producer(&self, properties: &[(&str, &str)]) -> BaseProducer<MustDeliver> {
        let mut config = self.client_config();
        config.set("acks", "all").set("linger.ms", "5").set("compression.type", "lz4");
        for (key, value) in properties {
            config.set(*key, *value);
        }
        config.create_with_context(MustDeliver).unwrap()
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client_config().create().unwrap()
    }

    fn consumer(&self) -> BaseConsumer {
        self.client_config().create().unwrap()
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !holds() {
            assert!(Instant::now() < deadline, "waited too long until {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Sends records through `producer` and waits until all are acknowledged.
pub fn produce(
    producer: &BaseProducer<MustDeliver>,
    topic: &str,
    records: impl IntoIterator<Item = Record>,
) {
    for record in records {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut message = BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition);
        message.key = record.key.as_deref();
        message.payload = record.payload.as_deref();
        message.timestamp = record.timestamp_ms;
        message.headers = (!record.headers.is_empty()).then_some(headers);
        loop {
            match producer.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }
    producer.flush(TIMEOUT).unwrap();
}

/// A delivery report that is an error is a failed test.
pub struct MustDeliver;

impl rdkafka::ClientContext for MustDeliver {}

impl ProducerContext for MustDeliver {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            // Transactions that a test aborts purge what was not sent yet.
            let purged = matches!(
                error.rdkafka_error_code(),
                Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
            );
            assert!(purged, "a record was not delivered: {error}");
        }
    }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka"))
}

/// Waits for the end of its input, then ends the brokers of `dir` and deletes their data.
/// It has a process group of its own, so that ctrl-C does not end it before its work is done.
fn keeper(dir: &Path) -> Child {
    Command::new("sh")
        .args(["-c", "cat >/dev/null; exec \"$0\" clean --dir \"$1\""])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka"))
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

fn close(mut keeper: Child) {
    drop(keeper.stdin.take());
    let _ = keeper.wait();
}

/// The first of `count` consecutive ports that are free now.
fn free_ports(count: u16) -> u16 {
    loop {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        let rest: Vec<_> = (1..count)
            .map_while(|step| TcpListener::bind(("127.0.0.1", port.checked_add(step)?)).ok())
            .collect();
        if rest.len() == usize::from(count) - 1 {
            return port;
        }
    }
}
