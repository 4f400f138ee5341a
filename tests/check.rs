//! `nazar check` against a real broker and a real Redis: what it finds, and that it leaves no trace.

#[path = "common/kafka.rs"]
mod kafka;
#[path = "common/redis.rs"]
mod server;

use std::time::{Duration, Instant};

use kafka::{Kafka, Record};
use nazar::check::{self, CheckReport, Verdict};
use nazar::config::{Config, Secret};
use nazar::pipeline::definitions::Definitions;
use nazar::sinks::redis::RedisSink;
use server::Server;

/// Topics of its own for each test: they share a broker.
fn config(kafka: &Kafka, redis: &Server, prefix: &str) -> Config {
    let mut config = Config::default();
    config.kafka.brokers = kafka.brokers();
    config.kafka.group = format!("{prefix}-group");
    config.kafka.dead_letter_topic = format!("{prefix}-dead-letters");
    config.topics.click = format!("{prefix}-click");
    config.topics.wishlist = format!("{prefix}-wishlist");
    config.topics.purchase = String::new();
    config.redis.url = Secret::new(redis.url());
    config
}

fn look(config: &Config) -> CheckReport {
    let report = tokio::runtime::Runtime::new().unwrap().block_on(check::run(config));
    // Shown when a test fails.
    println!("{report}");
    report
}

/// What was found under a name.
fn found<'a>(report: &'a CheckReport, what: &str) -> (Verdict, &'a str) {
    let finding = report.findings().find(|finding| finding.what == what);
    let finding = finding.unwrap_or_else(|| panic!("no line about {what}"));
    (finding.verdict, &finding.found)
}

fn topics_of(kafka: &Kafka) -> Vec<String> {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let consumer: BaseConsumer = kafka.client_config().create().unwrap();
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(5)).unwrap();
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    // The broker's own come when a group is looked up first; other tests make theirs meanwhile.
    names.filter(|name| !name.starts_with("__") && !name.starts_with("bad-")).collect()
}

#[test]
fn a_good_place_is_called_good_and_left_as_it_was() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let config = config(kafka, &redis, "good");
    kafka.create_topic("good-click", 3, &[("message.timestamp.type", "LogAppendTime")]);
    kafka.create_topics(&[("good-wishlist", 2), ("good-dead-letters", 1)]);
    kafka.produce("good-click", (0..30).map(|n| Record::new(n % 3, "{}")));
    let topics_before = topics_of(kafka);
    redis.ask::<()>("CONFIG RESETSTAT");

    let report = look(&config);

    assert_eq!(report.exit_code(), 0);
    assert_eq!(found(&report, "topic good-click"), (Verdict::Ok, "3 partitions, kept for ever"));
    let log = found(&report, "log");
    assert_eq!(
        log,
        (Verdict::Ok, "30 records; with kafka.start = window the last 30 are read first")
    );
    assert_eq!(
        found(&report, "record times"),
        (Verdict::Ok, "set by the producers of good-wishlist (CreateTime)")
    );
    assert_eq!(found(&report, "group good-group"), (Verdict::Ok, "nothing committed, no members"));
    assert_eq!(found(&report, "rights").0, Verdict::Ok);
    assert_eq!(found(&report, "prefix nazar"), (Verdict::Ok, "free"));

    assert_eq!(topics_of(kafka), topics_before, "no topic appears");
    let ran: String = redis.ask("INFO commandstats");
    for written in
        ["cmdstat_set:", "cmdstat_hset:", "cmdstat_zadd:", "cmdstat_publish:", "cmdstat_exec:"]
    {
        let calls = ran.lines().find(|line| line.starts_with(written));
        assert!(calls.is_none_or(|line| line.contains(":calls=0,")), "{ran}");
    }
    assert_eq!(redis.ask::<u64>("DBSIZE"), 0);
}

#[test]
fn each_trouble_is_named() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let config = config(kafka, &redis, "bad");
    // No wishlist, no dead letters; clicks vanish after an hour, or when others take their key.
    let settings = [
        ("retention.ms", "3600000"),
        ("retention.bytes", "1000000"),
        ("cleanup.policy", "compact,delete"),
        ("max.message.bytes", "4000000"),
    ];
    kafka.create_topic("bad-click", 1, &settings);
    redis.ask::<()>("CONFIG SET maxmemory-policy allkeys-lru");
    redis.ask::<()>("ACL SETUSER default -rename");

    let report = look(&config);

    assert_eq!(report.exit_code(), 1);
    let verdict = |what: &str| found(&report, what).0;
    for fails in ["topic bad-wishlist", "dead letters", "rights"] {
        assert_eq!(verdict(fails), Verdict::Fail, "{fails}");
    }
    for warns in ["retention.ms", "retention.bytes", "cleanup.policy", "max.message.bytes"] {
        assert_eq!(verdict(&format!("bad-click {warns}")), Verdict::Warn, "{warns}");
    }
    assert_eq!(verdict("memory"), Verdict::Ok, "the first of this name is the machine's");
    assert!(report.to_string().contains("allkeys-lru"));
    assert!(found(&report, "rights").1.contains("rename"));
}

#[test]
fn a_prefix_of_another_configuration_is_refused() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let config = config(kafka, &redis, "prefix");
    let claim = |config: &Config| {
        let definitions: Definitions = config.definitions();
        kafka::block_on(RedisSink::open(
            &config.redis,
            definitions.into(),
            &config.topics,
            &config.fields,
            &config.limits,
            &config.meaning_hash(),
            "token",
        ))
        .map(drop)
        .unwrap();
    };
    claim(&config);
    assert_eq!(found(&look(&config), "prefix nazar").0, Verdict::Ok);

    let mut other = config.clone();
    other.time.lateness = Duration::from_secs(7);
    let report = look(&other);
    let (verdict, text) = found(&report, "prefix nazar");
    assert_eq!(verdict, Verdict::Fail);
    assert!(text.contains("lateness_ms: stored 60000, now 7000"));
}

#[test]
fn nobody_there_is_said_in_time() {
    let redis = Server::stopped(&[]);
    let mut config = Config::default();
    // A port that was free a moment ago, and one that nobody may listen on.
    config.redis.url = Secret::new(redis.url());
    config.kafka.brokers = "127.0.0.1:1".to_owned();
    let asked = Instant::now();
    let report = look(&config);
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    let (verdict, text) = found(&report, "brokers");
    assert_eq!(verdict, Verdict::Fail);
    assert!(text.contains("Connection refused"));
    assert_eq!(found(&report, "server").0, Verdict::Fail);
    assert_eq!(report.exit_code(), 1);
}
