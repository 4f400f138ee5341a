//! The configuration as users meet it: layers, messages, secrets, the shipped file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nazar::config::{Config, LoadOptions, Secret, Start, ViewConfig, WindowConfig, known_keys};

const CANARY: &str = "c4n4ry-5ecret";

/// Loads from the text of a file and the other layers.
fn load(file: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Config, String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("nazar.toml");
    std::fs::write(&path, file).expect("a file in it");
    let options = LoadOptions {
        file: Some(path),
        env: env.iter().map(|(name, value)| (name.to_string(), value.to_string())),
        sets: sets.iter().map(|set| set.to_string()).collect(),
    };
    let place = format!("{}/", directory.path().display());
    Config::load(options).map_err(|errors| errors.to_string().replace(&place, ""))
}

fn load_file(file: &str) -> Result<Config, String> {
    load(file, &[], &[])
}

fn errors(file: &str) -> String {
    load_file(file).expect_err("this must be refused")
}

fn shipped_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/nazar.toml")
}

mod layers {
    use super::*;

    #[test]
    fn nothing_said_means_the_defaults() {
        let options = LoadOptions { file: None, env: [], sets: vec![] };
        assert_eq!(Config::load(options).expect("defaults are valid"), Config::default());
    }

    #[test]
    fn later_layers_win_key_by_key() {
        let file = "[kafka]\ngroup = 'file'\nclient_id = 'file'\nbrokers = 'file:1'\nhandles = 2";
        let env = [
            ("NAZAR__KAFKA__GROUP", "env"),
            ("NAZAR__KAFKA__CLIENT_ID", "env"),
            ("NAZAR__TIME__LATENESS", "90s"),
            ("NAZAR_REDIS__PREFIX", "not ours"),
        ];
        let sets = ["kafka.group=set", "kafka.start=\"latest\"", "limits.id_bytes = 64"];
        let config = load(file, &env, &sets).expect("valid");
        let kafka = &config.kafka;
        assert_eq!([&kafka.brokers, &kafka.client_id, &kafka.group], ["file:1", "env", "set"]);
        assert_eq!((kafka.handles, kafka.start), (2, Start::Latest));
        assert_eq!(config.time.lateness, Duration::from_secs(90));
        assert_eq!((config.limits.id_bytes, config.redis.prefix.as_str()), (64, "nazar"));
    }

    #[test]
    fn lists_are_replaced_whole_or_changed_by_index() {
        let window = |size, slide| WindowConfig {
            size: Duration::from_secs(size),
            slide: Duration::from_secs(slide),
            closed_step: None,
            refresh: None,
        };
        let file = "[[window]]\nsize = '10m'\nslide = '10m'";
        assert_eq!(load_file(file).expect("valid").window, [window(600, 600)]);

        let inline = r#"window=[{size="2m", slide="1s"}, {size="1h", slide="1m"}]"#;
        let config = load(file, &[], &[inline, "window[1].slide=5m"]).expect("valid");
        assert_eq!(config.window, [window(120, 1), window(3600, 300)]);

        let env =
            [("NAZAR__WINDOW", "[{size='3m', slide='3m'}]"), ("NAZAR__WINDOW__0__SLIDE", "1m")];
        assert_eq!(load(file, &env, &[]).expect("valid").window, [window(180, 60)]);

        let changed = load("", &[], &["window[3].slide=1h", "window[4]={size='48h', slide='1h'}"]);
        let changed = changed.expect("valid").window;
        assert_eq!(changed[..3], Config::default().window[..3]);
        assert_eq!(changed[3..], [window(86_400, 3600), window(172_800, 3600)]);
    }

    #[test]
    fn properties_keep_the_dots_of_their_names() {
        let file = "[kafka.properties]\nsasl.mechanism = 'PLAIN'\n'fetch.min.bytes' = 1_000\nssl.ca.location = '/a'";
        let env = [("NAZAR__KAFKA__PROPERTIES__SASL_MECHANISM", "SCRAM-SHA-256")];
        let sets = ["kafka.properties.client.rack=r1", "kafka.properties.sasl.username=me"];
        let config = load(file, &env, &sets).expect("valid");
        let properties: Vec<_> = config.kafka.properties.iter().collect();
        let shown: Vec<String> =
            properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        client.rack=r1
        fetch.min.bytes=1000
        sasl.mechanism=SCRAM-SHA-256
        sasl.username=me
        ssl.ca.location=/a
        "#);
    }

    #[test]
    fn entity_caps_are_added_to_the_defaults() {
        let file = "[[view]]\ndimension = 'brand'\n[limits.entities]\nbrand = 500";
        let config = load(file, &[], &["limits.entities.product=7"]).expect("valid");
        let entities: Vec<_> =
            config.limits.entities.iter().map(|(name, max)| (name.as_str(), *max)).collect();
        let expected = [("brand", 500), ("category", 10_000), ("product", 7), ("seller", 200_000)];
        assert_eq!(entities, expected);
    }
}

mod messages {
    use super::*;

    #[test]
    fn unknown_keys_name_the_right_one() {
        let file = "
latness = '1m'
money = 'USD'
group = 'x'
[kafka]
handels = 2
flush = '1s'
[tiem]
lateness = '1m'
[[window]]
size = '1m'
slide = '1s'
closed-step = '1m'
[limits.entites]
product = 5
[redis]
zzz = 1
";
        insta::assert_snapshot!(errors(file), @r#"
        nazar.toml:2: latness = "1m": no such key; did you mean time.lateness?
        nazar.toml:3: money = "[redacted]": expected a table, [money]
        nazar.toml:4: group = "x": no such key; did you mean kafka.group?
        nazar.toml:6: kafka.handels = 2: no such key; did you mean kafka.handles?
        nazar.toml:7: kafka.flush = "1s": no such key; did you mean redis.flush?
        nazar.toml:9: tiem.lateness = "1m": no such key; did you mean time.lateness?
        nazar.toml:13: window[0].closed-step = "1m": no such key; did you mean window[0].closed_step?
        nazar.toml:15: limits.entites.product = 5: no such key; did you mean limits.entities.product?
        nazar.toml:17: redis.zzz = "[redacted]": no such key; there are closed_keep, connect_timeout, entity_hashes, flush, history_keep, lease, password, password_file, prefix, response_timeout, tls_ca_file, ttl_slack, url, url_file, username
        "#);
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        let file = "
[kafka]
brokers = 9092
start = 'windows'
handles = 'two'
[kafka.properties]
'fetch.min.bytes' = [1]
[time]
lateness = 60
max_future = '5 minuts'
max_skew = '1us'
[uniques]
dimensions = 5
[deduplicate]
enabled = 'yes'
[limits]
state_bytes = '4 gigs'
id_bytes = -1
entities = 3
[redis]
url = 5
";
        insta::assert_snapshot!(errors(file), @r#"
        nazar.toml:3: kafka.brokers = 9092: expected a string in quotes
        nazar.toml:4: kafka.start = "windows": expected "window", "earliest", "committed" or "latest"; did you mean "window"?
        nazar.toml:5: kafka.handles = "two": expected a whole number, 0 or more, such as 10_000
        nazar.toml:7: kafka.properties.fetch.min.bytes = […]: expected a string, a number or a boolean
        nazar.toml:9: time.lateness = 60: expected a duration with its unit, such as "250ms", "1m" or "24h"
        nazar.toml:10: time.max_future = "5 minuts": expected a duration with its unit, such as "250ms", "1m" or "24h"
        nazar.toml:11: time.max_skew = "1us": expected whole milliseconds; nazar's time has no finer parts
        nazar.toml:13: uniques.dimensions = 5: expected a list of strings, such as ["category", "seller"]
        nazar.toml:15: deduplicate.enabled = "yes": expected true or false
        nazar.toml:17: limits.state_bytes = "4 gigs": expected a size such as "64 MiB", "4 GiB" or 1_048_576
        nazar.toml:18: limits.id_bytes = -1: expected a whole number, 0 or more, such as 10_000
        nazar.toml:19: limits.entities = "[redacted]": expected a table, [limits.entities]
        nazar.toml:21: redis.url = "[redacted]": expected a string in quotes
        "#);
    }

    #[test]
    fn every_layer_is_named_and_all_errors_are_told() {
        let file = "[kafka]\nhandles = 0\n[time]\nlateness = 'x'";
        let env = [
            ("NAZAR__REDIS__FLUSH", "1ms"),
            ("NAZAR__KAFKA__HANDELS", "2"),
            ("NAZAR__WINDOW", "1m/1s"),
            ("NAZAR____X", "1"),
        ];
        let sets = ["log.level=infos", "http.listen", "log.colour=red", "redis[0].url=x", "a..b=1"];
        let errors = load(file, &env, &sets).expect_err("wrong");
        insta::assert_snapshot!(errors, @r#"
        nazar.toml:2: kafka.handles = 0: must be from 1 to 64: each is a thread and a member of the group
        nazar.toml:4: time.lateness = "x": expected a duration with its unit, such as "250ms", "1m" or "24h"
        environment NAZAR__WINDOW: window: not valid TOML; write a list as TOML: [{size="1m", slide="1s"}, …]
        environment NAZAR____X: .x: no such key; write section.key, or window[0].size
        environment NAZAR__KAFKA__HANDELS: kafka.handels = "2": no such key; did you mean kafka.handles?
        environment NAZAR__REDIS__FLUSH: redis.flush = "1ms": must be from 50ms to 60s: faster keeps Redis busy with views nobody has read yet, slower lets deliveries pile up in memory
        --set: http.listen: write it as section.key=value
        --set: redis[0].url: no such key; write section.key, or window[0].size
        --set: a..b: a part of the key is empty; write section.key
        --set: log.colour = "red": no such key; there are format, level
        --set: log.level = "infos": must be one of "error", "warn", "info", "debug", "trace" or "off", or a filter such as "info,nazar::sinks=debug"; did you mean "info"?
        "#);
    }

    #[test]
    fn broken_toml_is_named_by_line_without_its_text() {
        let file = format!("[redis]\npassword = {CANARY}\n\n[kafka\ngroup = 'x'\n[http]\n[http]");
        let errors = errors(&file);
        assert!(!errors.contains(CANARY), "{errors}");
        insta::assert_snapshot!(errors, @r#"
        nazar.toml:2: not valid TOML: string values must be quoted, expected literal string
        nazar.toml:4: not valid TOML: unclosed table, expected `]`
        nazar.toml:7: not valid TOML: duplicate key
        "#);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let file = Some(PathBuf::from("/nowhere/nazar.toml"));
        let sets = vec!["time.latenes=1m".to_owned()];
        let errors = Config::load(LoadOptions { file, env: [], sets }).expect_err("no file");
        insta::assert_snapshot!(errors, @r#"
        /nowhere/nazar.toml: cannot be read: No such file or directory (os error 2)
        --set: time.latenes = "1m": no such key; did you mean time.lateness?
        "#);
    }

    #[test]
    fn lists_are_checked_element_by_element() {
        let file = "
[[window]]
size = '1m'
[[window]]
slide = 'x'
[[view]]
metrics = ['clicks']
";
        insta::assert_snapshot!(errors(file), @r#"
        nazar.toml:2: window[0].slide: missing, and it has no default
        nazar.toml:4: window[1].size: missing, and it has no default
        nazar.toml:5: window[1].slide = "x": expected a duration with its unit, such as "250ms", "1m" or "24h"
        nazar.toml:6: view[0].dimension: missing, and it has no default
        "#);
        let sets = ["window[5].size=1m", "view=[1]", "topics=[]", "view={}"];
        insta::assert_snapshot!(load("", &[], &sets).expect_err("wrong"), @r#"
        --set: topics: write a table as TOML: {key="value", …}
        --set: view: write a list as TOML: [{size="1m", slide="1s"}, …]
        --set: window[5].slide: missing, and it has no default
        --set: view[0] = 1: expected a table, [[view]]
        default: window[4]: missing: a later element was set by its index
        "#);
    }
}

mod rules {
    use super::*;

    #[test]
    fn windows() {
        let file = "
window = [
  { size = '1m', slide = '2m' },
  { size = '5m', slide = '7s' },
  { size = '10m', slide = '10m', closed_step = '15m', refresh = '10ms' },
  { size = '10m', slide = '1m' },
  { size = '0s', slide = '1s' },
  { size = '24h', slide = '100ms' },
]
";
        insta::assert_snapshot!(errors(file), @r#"
        nazar.toml:2: window: the longest window (24h) has more than 500000 base panes of 100ms, too many for distinct users: make the slides coarser
        nazar.toml:3: window[0].slide = "2m": must not be longer than size (1m): events between two windows would be in none
        nazar.toml:4: window[1].size = "5m": must be a multiple of slide (7s): windows are cut from panes of that width
        nazar.toml:5: window[2].closed_step = "15m": must be a multiple of slide (10m): only there do windows end
        nazar.toml:5: window[2].refresh = "10ms": must not be shorter than redis.flush (1s): nothing is written more often
        nazar.toml:6: window[3].size = "10m": is declared twice: the size names a window's keys, so only one slide can go with it
        nazar.toml:7: window[4].size = "0s": must be longer than 0
        nazar.toml:8: window[5].slide = "100ms": is too fine for its size: at most 100000 slides per size
        "#);
        insta::assert_snapshot!(errors("window = []"), @"nazar.toml:1: window: nothing to compute: declare at least one [[window]]");
        let too_fine = "window = [{ size = '1m', slide = '15ms' }, { size = '2m', slide = '8ms' }]";
        insta::assert_snapshot!(errors(too_fine), @"nazar.toml:1: window: the slides have 1ms as their greatest common divisor, and panes are that wide: make it at least 10ms");
        let too_many =
            "window = [{ size = '1s', slide = '100ms' }, { size = '24h', slide = '1m' }]";
        insta::assert_snapshot!(errors(too_many), @"nazar.toml:1: window: the longest window (24h) has more than 500000 base panes of 100ms, too many for distinct users: make the slides coarser");
        insta::assert_snapshot!(errors("[time]\nmax_future = '0s'\nmax_skew = '0s'\nstall_limit = '0s'"), @r#"
        nazar.toml:2: time.max_future = "0s": must be longer than 0: every record would be rejected as future
        nazar.toml:3: time.max_skew = "0s": must be longer than 0: every partition but the slowest would be paused
        nazar.toml:4: time.stall_limit = "0s": must be longer than 0: every partition would be left out at once
        "#);
        assert!(load_file("time.lateness = '0s'").is_ok(), "no lateness is a choice");
    }

    #[test]
    fn views() {
        let file = "
[[view]]
dimension = 'Product'
metrics = ['clicks', 'revenue_minr', 'clicks']
[[view]]
dimension = 'brand'
field = 'brand_name'
metrics = ['orders']
top = 0
[[view]]
dimension = 'brand'
metrics = ['units', 'orders']
[[view]]
dimension = 'price_band'
field = ''
metrics = []
[uniques]
dimensions = ['brnad']
[limits.entities]
colour = 5
brand = 0
[money]
currency = 'usd'
[fields]
user_id = 'session_id'
status = ''
";
        insta::assert_snapshot!(errors(file), @r#"
        nazar.toml:2: view[2].field: must be the same in every [[view]] of a dimension; above it is "brand_name"
        nazar.toml:3: view[0].dimension = "Product": must be a lower-case name such as brand or price_band ([a-z][a-z0-9_]*): it is part of Redis keys
        nazar.toml:4: view[0].metrics = ["clicks", "revenue_minr", "clicks"]: "revenue_minr" is no metric; there are clicks, wishlists, orders, units, revenue_minor; did you mean "revenue_minor"?
        nazar.toml:4: view[0].metrics = ["clicks", "revenue_minr", "clicks"]: the board of Product by clicks is declared twice: one key cannot hold both
        nazar.toml:9: view[1].top = 0: must be from 1 to 100000
        nazar.toml:12: view[2].metrics = ["units", "orders"]: the board of brand by orders is declared twice: one key cannot hold both
        nazar.toml:16: view[3].metrics = []: must name at least one metric, or be left out for all
        nazar.toml:18: uniques.dimensions = ["brnad"]: "brnad" is the dimension of no [[view]]; did you mean "brand"?
        nazar.toml:20: limits.entities.colour = 5: "colour" is the dimension of no [[view]]
        nazar.toml:21: limits.entities.brand = 0: must be from 1 to 2_147_483_647
        nazar.toml:23: money.currency = "usd": must be a code of three capital letters, such as "USD" or "EUR"
        nazar.toml:25: fields.user_id = "session_id": is the field of fields.session_id too: each value needs its own
        nazar.toml:26: fields.status = "": must name a field of the event
        "#);
        let nine: String = (0..9).map(|n| format!("[[view]]\ndimension = 'd{n}'\n")).collect();
        insta::assert_snapshot!(errors(&nine), @"nazar.toml:1: view: 9 dimensions are declared; at most 8 fit into an event's line");
    }

    #[test]
    fn the_default_uniques_need_not_fit_other_views() {
        let config = load_file("view = [{ dimension = 'brand' }]").expect("valid");
        assert!(!config.definitions().dimensions[0].uniques);
    }

    #[test]
    fn kafka() {
        let file = "
[kafka]
brokers = 'a:9092, b'
group = ' '
handles = 100
dead_letter_topic = 'click'
[topics]
wishlist = 'click'
purchase = 'purchase events'
[kafka.properties]
'enable.auto.commit' = true
enable.auto.offset.store = true
'enable.partition.eof' = true
'bootstrap.servers' = 'x:1'
'group.id' = 'x'
'auto.offset.reset' = 'latest'
'queued.max.messages.kbytes' = 5
'fetch.min.byte' = 1
'fetch.wait.max.ms' = 'soon'
";
        insta::assert_snapshot!(errors(file), @r#"
        nazar.toml:3: kafka.brokers = "a:9092, b": "b" is not host:port; write "host:9092", several with commas
        nazar.toml:4: kafka.group = " ": must not be empty: the group names who shares the partitions
        nazar.toml:5: kafka.handles = 100: must be from 1 to 64: each is a thread and a member of the group
        nazar.toml:6: kafka.dead_letter_topic = "click": is the topic of topics.click too: a topic holds events of one kind
        nazar.toml:8: topics.wishlist = "click": is the topic of topics.click too: a topic holds events of one kind
        nazar.toml:9: topics.purchase = "purchase events": is no topic name: Kafka allows letters, digits, '.', '_' and '-', at most 249 of them
        nazar.toml:11: kafka.properties.enable.auto.commit = "true": is not to be set here: nazar commits what the sink has acknowledged; anything else loses records
        nazar.toml:12: kafka.properties.enable.auto.offset.store = "true": is not to be set here: nazar commits what the sink has acknowledged; anything else loses records
        nazar.toml:13: kafka.properties.enable.partition.eof = "true": is not to be set here: quiet partitions are known from the broker's end offsets; end-of-partition events would be taken for records
        nazar.toml:14: kafka.properties.bootstrap.servers = "x:1": is not to be set here: use kafka.brokers
        nazar.toml:15: kafka.properties.group.id = "x": is not to be set here: use kafka.group
        nazar.toml:16: kafka.properties.auto.offset.reset = "latest": is not to be set here: use kafka.start, nazar chooses every start offset itself
        nazar.toml:17: kafka.properties.queued.max.messages.kbytes = "5": is not to be set here: use limits.prefetch_bytes
        nazar.toml:18: kafka.properties.fetch.min.byte = "1": librdkafka knows no such property; did you mean "fetch.min.bytes"?
        nazar.toml:19: kafka.properties.fetch.wait.max.ms = "soon": librdkafka says: Invalid value for configuration property "fetch.wait.max.ms"
        default: limits.prefetch_bytes = "64 MiB": must be at least 1 MiB and one limits.record_bytes for each of kafka.handles: below that a handle waits for every fetch
        "#);
        let none = "[topics]\nclick = ''\nwishlist = ''\npurchase = ''";
        insta::assert_snapshot!(errors(none), @r#"nazar.toml:2: topics.click = "": nothing to read: name at least one topic"#);
        for brokers in ["b1:9092,b2:9092", "[::1]:9092", "SSL://b:1"] {
            let config = load("", &[], &[&format!("kafka.brokers={brokers}")]);
            assert_eq!(config.expect("valid").kafka.brokers, brokers);
        }
    }

    #[test]
    fn properties_that_the_group_protocol_refuses_are_named() {
        let refused = errors(
            "[kafka.properties]\n'group.protocol' = 'consumer'\n'session.timeout.ms' = 9000\n\
             'partition.assignment.strategy' = 'range'\n'group.instance.id' = 'a'",
        );
        insta::assert_snapshot!(refused, @r#"
        nazar.toml:3: kafka.properties.session.timeout.ms = "9000": cannot be set: with group.protocol=consumer the broker decides it: group.consumer.session.timeout.ms
        nazar.toml:4: kafka.properties.partition.assignment.strategy = "range": cannot be set: with group.protocol=consumer the broker assigns: choose by group.remote.assignor
        "#);
        assert!(load("[kafka.properties]\n'session.timeout.ms' = 9000", &[], &[]).is_ok());
    }

    #[test]
    fn a_lease_has_a_sensible_length() {
        for lease in ["900ms", "301s"] {
            let file = format!("[redis]\nlease = '{lease}'");
            let refused = errors(&file);
            let expected =
                format!("nazar.toml:2: redis.lease = \"{lease}\": must be from 1s to 300s");
            assert!(refused.starts_with(&expected), "{refused}");
        }
        assert!(load("[redis]\nlease = '1s'", &[], &[]).is_ok());
    }

    #[test]
    fn redis_http_and_log() {
        let file = "
[redis]
url = 'http://me:c4n4ry-5ecret@host'
prefix = 'a:{b}'
flush = '10ms'
connect_timeout = '0s'
[http]
listen = 'localhost:9464'
[log]
level = 'nazar=loud'
";
        insta::assert_snapshot!(errors(file), @r#"
        nazar.toml:3: redis.url = "http://[redacted]@host": must begin with one of the schemes "redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+unix" or "unix", as in redis://host:6379/0
        nazar.toml:4: redis.prefix = "a:{b}": must be printable ASCII without spaces, ':', '%', braces or the signs of key patterns: it is the hash tag of every key
        nazar.toml:5: redis.flush = "10ms": must be from 50ms to 60s: faster keeps Redis busy with views nobody has read yet, slower lets deliveries pile up in memory
        nazar.toml:6: redis.connect_timeout = "0s": must be longer than 0: every attempt would fail
        nazar.toml:8: http.listen = "localhost:9464": must be address:port, such as "127.0.0.1:9464" or "[::]:9464", or "" for none
        nazar.toml:10: log.level = "nazar=loud": is no filter; write "info,nazar::sinks=debug": levels by module, with commas
        "#);
        let twice = "
[redis]
url = 'redis://me:c4n4ry-5ecret@host'
username = 'me'
password = 'c4n4ry-5ecret'
tls_ca_file = '/ca.pem'
";
        insta::assert_snapshot!(errors(twice), @r#"
        nazar.toml:4: redis.username = "me": redis.url carries a user as well; keep one of them
        nazar.toml:5: redis.password = "[redacted]": redis.url carries a password as well; keep one of them
        nazar.toml:6: redis.tls_ca_file = "/ca.pem": has no effect without TLS: redis.url must begin with rediss:// or rediss+sentinel://
        "#);
        insta::assert_snapshot!(errors("redis = { url = 'redis://host:port', username = 'me' }"), @r#"nazar.toml:1: redis.url = "redis://host:port": is not a Redis URL; write redis://[user:password@]host:6379[/db], several nodes of a Cluster with commas, or redis+sentinel://host:26379,…/name; characters other than letters and digits in user and password percent-encoded"#);
        for url in [
            "redis://h",
            "rediss://u:p@h:6380/1",
            "redis://u:p@a:1,b:2,c:3",
            "rediss+sentinel://u:p@a:1,b/shop/0",
            "redis+unix:///s.sock",
            "unix:///s.sock",
        ] {
            let config = load("", &[], &[&format!("redis.url={url}")]).expect(url);
            assert_eq!(config.redis.url.expose(), url);
        }
        assert!(load("", &[], &["log.level=warn,nazar::sinks=debug"]).is_ok());
        assert!(load("", &[], &["http.listen="]).is_ok(), "no listener is a choice");
    }

    #[test]
    fn limits() {
        let file = "
[kafka]
handles = 2
[deduplicate]
enabled = true
bytes_max = 1
[limits]
sketch_bytes = '100 KiB'
state_bytes = '1 MiB'
in_flight_bytes = '1 MiB'
prefetch_bytes = '1 MiB'
record_bytes = '1 MiB'
id_bytes = 0
max_consecutive_rejects = 0
";
        insta::assert_snapshot!(errors(file), @r#"
        nazar.toml:6: deduplicate.bytes_max = 1: must be at least 1 MiB: too few ids would be remembered to find a duplicate
        nazar.toml:8: limits.sketch_bytes = "100 KiB": must be at least 3 MiB: each kind of event needs a sketch, and one more for each dimension in uniques.dimensions
        nazar.toml:9: limits.state_bytes = "1 MiB": must be at least 16 MiB: the panes of one busy minute would not fit
        nazar.toml:10: limits.in_flight_bytes = "1 MiB": must be at least 1 MiB and two limits.record_bytes: reading would stand still
        nazar.toml:11: limits.prefetch_bytes = "1 MiB": must be at least 1 MiB and one limits.record_bytes for each of kafka.handles: below that a handle waits for every fetch
        nazar.toml:13: limits.id_bytes = 0: must be from 1 to 1024: ids are parts of Redis keys
        nazar.toml:14: limits.max_consecutive_rejects = 0: must be at least 1: every start would be fatal
        "#);
        let large = "[limits]\nprefetch_bytes = '4 GiB'\nrecord_bytes = '1 GiB'";
        insta::assert_snapshot!(errors(large), @r#"
        nazar.toml:2: limits.prefetch_bytes = "4 GiB": must be at most 2047 MiB for each of kafka.handles, the most that librdkafka takes
        nazar.toml:3: limits.record_bytes = "1 GiB": must be from 1 KiB to 1_000_000_000 bytes, the most that librdkafka fetches
        default: limits.in_flight_bytes = "64 MiB": must be at least 1 MiB and two limits.record_bytes: reading would stand still
        "#);
    }
}

mod secrets {
    use super::*;

    /// Every place that can hold a secret holds the canary.
    fn with_canaries() -> Config {
        let file = format!(
            "
[redis]
url = 'rediss://{CANARY}:{CANARY}@host:6380/1'
[kafka.properties]
'sasl.username' = 'nazar'
'sasl.password' = '{CANARY}'
'ssl.key.password' = '{CANARY}'
'sasl.oauthbearer.config' = 'principal={CANARY}'
"
        );
        load_file(&file).expect("valid")
    }

    #[test]
    fn nothing_that_is_printed_shows_one() {
        let config = with_canaries();
        assert_eq!(config.kafka.properties["sasl.password"], CANARY);
        let printed = [
            config.render(),
            format!("{config:?}"),
            format!("{:?}", config.meaning()),
            format!("{:?}", Secret::new(CANARY)),
        ];
        for text in printed {
            assert!(!text.contains(CANARY), "{text}");
        }
        let text = config.render();
        let kafka_and_url = text.lines().filter(|line| line.contains("redacted"));
        insta::assert_snapshot!(kafka_and_url.collect::<Vec<_>>().join("\n"), @r#"
        "sasl.oauthbearer.config" = "[redacted]"
        "sasl.password" = "[redacted]"
        "ssl.key.password" = "[redacted]"
        url = "rediss://[redacted]@host:6380/1"
        "#);
    }

    #[test]
    fn no_error_shows_one() {
        let file = format!(
            "
[redis]
pasword = '{CANARY}'
pw = '{CANARY}'
password = ['{CANARY}']
url = ['redis://:{CANARY}@h']
[redsi]
password = '{CANARY}'
[kafka]
sasl = {{ password = '{CANARY}' }}
[kafka.properties]
'sasl.password' = {{}}
'sasl.pasword' = '{CANARY}'
'ssl.key.password' = ['{CANARY}']
"
        );
        let env = [("NAZAR__REDIS__PASSWD", CANARY), ("NAZAR__REDSI__URL", CANARY)];
        let colon = format!("redis.password:{CANARY}");
        let errors = load(&file, &env, &[&colon, &format!("redis.pass={CANARY}")]);
        let errors = errors.expect_err("wrong in many ways");
        assert!(!errors.contains(CANARY), "{errors}");
        insta::assert_snapshot!(errors, @r#"
        nazar.toml:3: redis.pasword = "[redacted]": no such key; did you mean redis.password?
        nazar.toml:4: redis.pw = "[redacted]": no such key; there are closed_keep, connect_timeout, entity_hashes, flush, history_keep, lease, password, password_file, prefix, response_timeout, tls_ca_file, ttl_slack, url, url_file, username
        nazar.toml:5: redis.password = "[redacted]": expected a string in quotes
        nazar.toml:6: redis.url = "[redacted]": expected a string in quotes
        nazar.toml:8: redsi.password = "[redacted]": no such key; did you mean redis.password?
        nazar.toml:10: kafka.sasl.password = "[redacted]": no such key; there are brokers, client_id, dead_letter_topic, group, handles, properties, properties_files, start
        nazar.toml:13: kafka.properties.sasl.pasword = "[redacted]": librdkafka knows no such property; did you mean "sasl.password"?
        nazar.toml:14: kafka.properties.ssl.key.password = "[redacted]": expected a string, a number or a boolean
        environment NAZAR__REDIS__PASSWD: redis.passwd = "[redacted]": no such key; did you mean redis.password?
        environment NAZAR__REDSI__URL: redsi.url = "[redacted]": no such key; did you mean redis.url?
        --set: redis.password: write it as section.key=value
        --set: redis.pass = "[redacted]": no such key; there are closed_keep, connect_timeout, entity_hashes, flush, history_keep, lease, password, password_file, prefix, response_timeout, tls_ca_file, ttl_slack, url, url_file, username
        "#);
    }

    #[test]
    fn what_was_printed_is_not_taken_for_a_secret() {
        let rendered = with_canaries().render();
        insta::assert_snapshot!(errors(&rendered), @r#"
        nazar.toml:10: kafka.properties.sasl.oauthbearer.config = "[redacted]": [redacted] is what nazar prints in place of a secret; write the secret itself
        nazar.toml:11: kafka.properties.sasl.password = "[redacted]": [redacted] is what nazar prints in place of a secret; write the secret itself
        nazar.toml:13: kafka.properties.ssl.key.password = "[redacted]": [redacted] is what nazar prints in place of a secret; write the secret itself
        nazar.toml:82: redis.url = "[redacted]": [redacted] is what nazar prints in place of a secret; write the secret itself
        "#);
    }

    #[test]
    fn files_hold_them_as_well() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let (url, password) =
            (write("url", "redis://h:1\n"), write("password", &format!("{CANARY}\r\n")));
        let file = format!(
            "[redis]\nurl_file = '{url}'\npassword_file = '{password}'\n[kafka.properties_files]\nsasl.password = '{password}'\nsasl.username = '{password}'"
        );
        let config = load_file(&file).expect("valid");
        assert_eq!(config.redis.url.expose(), "redis://h:1");
        assert_eq!(config.redis.password.expose(), CANARY);
        assert_eq!(config.kafka.properties["sasl.password"], CANARY);

        // What is printed names the files, whatever the property, and reads back whole.
        let rendered = config.render();
        assert!(!rendered.contains(CANARY), "{rendered}");
        assert_eq!(load_file(&rendered).expect("valid"), config);

        // A rule that such a value breaks names the file's key, and not the value.
        let wrong = format!(
            "[redis]\nurl_file = '{password}'\n[kafka.properties_files]\ngroup.id = '{password}'"
        );
        let errors = load_file(&wrong).expect_err("no URL, and not to be set");
        assert!(!errors.contains(CANARY), "{errors}");
        let keys: Vec<_> = errors.lines().filter_map(|error| error.split(' ').nth(1)).collect();
        assert_eq!(keys, ["redis.url_file", "kafka.properties_files.group.id"]);

        let empty = write("empty", "\n");
        let env = [
            ("NAZAR__REDIS__URL", "redis://other"),
            ("NAZAR__REDIS__PASSWORD", CANARY),
            ("NAZAR__KAFKA__PROPERTIES__SASL_PASSWORD", CANARY),
            ("NAZAR__KAFKA__PROPERTIES_FILES__SASL_USERNAME", "/nowhere/user"),
            ("NAZAR__KAFKA__PROPERTIES_FILES__SSL_KEY_PASSWORD", &empty),
        ];
        let errors = load(&file, &env, &[]).expect_err("both ways");
        assert!(!errors.contains(CANARY), "{errors}");
        let errors = errors.replace(&format!("{}/", directory.path().display()), "");
        insta::assert_snapshot!(errors, @r#"
        nazar.toml:2: redis.url_file = "url": redis.url is set as well (environment NAZAR__REDIS__URL); keep one of them
        nazar.toml:3: redis.password_file = "password": redis.password is set as well (environment NAZAR__REDIS__PASSWORD); keep one of them
        nazar.toml:5: kafka.properties_files.sasl.password = "password": kafka.properties.sasl.password is set as well (environment NAZAR__KAFKA__PROPERTIES__SASL_PASSWORD); keep one of them
        environment NAZAR__KAFKA__PROPERTIES_FILES__SASL_USERNAME: kafka.properties_files.sasl.username = "/nowhere/user": the file cannot be read: No such file or directory (os error 2)
        environment NAZAR__KAFKA__PROPERTIES_FILES__SSL_KEY_PASSWORD: kafka.properties_files.ssl.key.password = "empty": the file is empty; it should hold the secret
        "#);
    }
}

mod shipped {
    use super::*;

    #[test]
    fn the_file_equals_the_defaults() {
        let file = Some(shipped_file());
        let config = Config::load(LoadOptions { file, env: [], sets: vec![] }).expect("valid");
        assert_eq!(config, Config::default());
    }

    /// A key that is absent by default stands there as a comment; it must be known as well.
    #[test]
    fn the_file_shows_every_key() {
        let text = std::fs::read_to_string(shipped_file()).expect("the shipped file");
        let mut shown: Vec<String> = Vec::new();
        let mut section = String::new();
        for line in text.lines() {
            let line = line.trim_start_matches("# ");
            if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
                section = format!("{name}[].");
            } else if let Some(name) =
                line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
            {
                section = format!("{name}.");
            } else if let Some((key, _)) = line.split_once(" = ") {
                shown.push(format!("{section}{}", key.trim_matches('"')));
            }
        }
        for key in known_keys() {
            let stem = key.trim_end_matches('*');
            assert!(
                shown.iter().any(|shown| *shown == key || key != stem && shown.starts_with(stem)),
                "{key} is missing"
            );
        }
    }

    #[test]
    fn the_reference_has_every_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIG.md");
        let text = std::fs::read_to_string(path).expect("the reference");
        for key in known_keys() {
            assert!(text.contains(&format!("| `{key}` |")), "{key} is missing");
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("| `")) {
            let key = line.split('`').next().unwrap_or_default();
            let is_variable = key.starts_with("NAZAR"); // of the table of variables
            assert!(
                is_variable || known_keys().iter().any(|known| known == key),
                "{key} is unknown"
            );
        }
    }

    /// Every example of the reference is valid, but for the secrets that are not mounted here.
    #[test]
    fn the_examples_of_the_reference_load() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIG.md");
        let text = std::fs::read_to_string(path).expect("the reference");
        let examples: Vec<&str> =
            text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(examples.len(), 4, "examples were added or taken away");
        for example in examples {
            let example = example.replace("/etc/ssl/certs/kafka-ca.pem", "");
            if let Err(errors) = load_file(&example) {
                for error in errors.lines() {
                    assert!(error.contains("the file cannot be read"), "{error}\nin {example}");
                }
            }
        }
        for set in ["window[4]={size=\"15m\", slide=\"15m\"}", "view[3]={dimension=\"brand\"}"] {
            assert!(text.contains(set), "{set} is no longer an example");
            load("", &[], &[set]).expect(set);
        }
    }

    #[test]
    fn the_rendered_defaults() {
        insta::assert_snapshot!(Config::default().render(), @r#"
        [kafka]
        brokers = "localhost:9092"
        group = "nazar"
        client_id = "nazar"
        start = "window"
        handles = 1
        dead_letter_topic = "nazar-dead-letters"

        [topics]
        click = "click"
        wishlist = "wishlist"
        purchase = "purchase"
        order_status = ""

        [fields]
        event_id = "event_id"
        timestamp = "timestamp"
        user_id = "user_id"
        session_id = "session_id"
        product_id = "product_id"
        category = "category"
        seller_id = "seller_id"
        action = "action"
        order_id = "order_id"
        quantity = "quantity"
        price_minor = "price_minor"
        currency = "currency"
        items = "items"
        status = "status"

        [money]
        currency = "USD"

        [time]
        lateness = "1m"
        max_future = "5m"
        max_skew = "5m"
        stall_limit = "10m"

        [[window]]
        size = "1m"
        slide = "1s"

        [[window]]
        size = "5m"
        slide = "5s"

        [[window]]
        size = "1h"
        slide = "1m"

        [[window]]
        size = "24h"
        slide = "15m"

        [[view]]
        dimension = "product"
        metrics = ["clicks", "wishlists", "orders", "units", "revenue_minor"]

        [[view]]
        dimension = "category"
        metrics = ["clicks", "wishlists", "orders", "units", "revenue_minor"]

        [[view]]
        dimension = "seller"
        metrics = ["clicks", "wishlists", "orders", "units", "revenue_minor"]

        [uniques]
        dimensions = ["category"]

        [deduplicate]
        enabled = false
        bytes_max = "256 MiB"

        [redis]
        url = "redis://127.0.0.1:6379"
        username = ""
        password = ""
        prefix = "nazar"
        flush = "1s"
        connect_timeout = "5s"
        response_timeout = "10s"
        lease = "10s"
        closed_keep = 10
        history_keep = 10_000
        ttl_slack = "1h"
        entity_hashes = "boards"

        [checkpoint]
        every = "10s"
        blobs = "redis"

        [limits]
        sketch_bytes = "64 MiB"
        state_bytes = "4 GiB"
        in_flight_bytes = "64 MiB"
        prefetch_bytes = "64 MiB"
        record_bytes = "1 MiB"
        id_bytes = 256
        max_consecutive_rejects = 10_000

        [limits.entities]
        category = 10_000
        product = 2_000_000
        seller = 200_000

        [http]
        listen = "127.0.0.1:9464"

        [log]
        format = "text"
        level = "info"
        "#);
    }
}

mod meaning {
    use super::*;

    #[test]
    fn the_keys_and_values_of_the_default() {
        let lines: Vec<String> = Config::default()
            .meaning()
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        deduplicate.enabled = false
        fields.action = action
        fields.category = category
        fields.currency = currency
        fields.event_id = event_id
        fields.items = items
        fields.order_id = order_id
        fields.price_minor = price_minor
        fields.product_id = product_id
        fields.quantity = quantity
        fields.seller_id = seller_id
        fields.session_id = session_id
        fields.status = status
        fields.timestamp = timestamp
        fields.user_id = user_id
        format = 1
        limits.entities.category = 10000
        limits.entities.product = 2000000
        limits.entities.seller = 200000
        limits.id_bytes = 256
        limits.record_bytes = 1048576
        limits.sketch_bytes = 67108864
        money.currency = USD
        time.lateness = 1m
        time.max_future = 5m
        topics.click = click
        topics.order_status = 
        topics.purchase = purchase
        topics.wishlist = wishlist
        uniques.category = true
        uniques.product = false
        uniques.seller = false
        view.category.clicks.top = 100
        view.category.field = category
        view.category.orders.top = 100
        view.category.revenue_minor.top = 100
        view.category.units.top = 100
        view.category.wishlists.top = 100
        view.product.clicks.top = 1000
        view.product.field = product_id
        view.product.orders.top = 1000
        view.product.revenue_minor.top = 1000
        view.product.units.top = 1000
        view.product.wishlists.top = 1000
        view.seller.clicks.top = 100
        view.seller.field = seller_id
        view.seller.orders.top = 100
        view.seller.revenue_minor.top = 100
        view.seller.units.top = 100
        view.seller.wishlists.top = 100
        window.1h.closed_step = 1m
        window.1h.slide = 1m
        window.1m.closed_step = 1m
        window.1m.slide = 1s
        window.24h.closed_step = 15m
        window.24h.slide = 15m
        window.5m.closed_step = 1m
        window.5m.slide = 5s
        "#);
    }

    /// If this fails, state that users have will be refused: raise the format version knowingly.
    #[test]
    fn the_hash_is_the_same_in_every_version() {
        insta::assert_snapshot!(Config::default().meaning_hash(), @"0bbbfb3b9ab1c1f816460729e33dd486");
    }

    #[test]
    fn it_changes_with_the_numbers_and_with_nothing_else() {
        let hash = |file: &str| load_file(file).expect(file).meaning_hash();
        let default = Config::default().meaning_hash();
        let same = [
            "redis.flush = '2s'\nkafka.group = 'x'\nlimits.state_bytes = '1 GiB'\ntime.max_skew = '1m'",
            // A default written down, and another order, mean the same.
            "window = [{size='24h', slide='15m', closed_step='15m'}, {size='1h', slide='1m', refresh='1m'}, {size='5m', slide='5s'}, {size='1m', slide='1s'}]",
        ];
        for file in same {
            assert_eq!(hash(file), default, "{file}");
        }
        let other = [
            "time.lateness = '2m'",
            "time.max_future = '1h'",
            "window = [{size='1m', slide='1s'}]",
            "topics.order_status = 'order-events'",
            "fields.user_id = 'customer'",
            "money.currency = 'EUR'",
            "deduplicate.enabled = true",
            "limits.entities.product = 5",
            "limits.sketch_bytes = '32 MiB'",
            "uniques.dimensions = []",
            "[[view]]\ndimension = 'product'\ntop = 5",
        ];
        for file in other {
            assert_ne!(hash(file), default, "{file}");
        }
    }
}

mod definitions {
    use super::*;
    use nazar::event::Metric;

    #[test]
    fn the_default_ones() {
        let definitions = Config::default().definitions();
        let windows: Vec<String> = definitions
            .windows
            .iter()
            .map(|w| {
                format!(
                    "{}/{} closed each {} level {}",
                    w.label,
                    w.slide.label(),
                    w.closed_step.label(),
                    w.level
                )
            })
            .collect();
        insta::assert_snapshot!(windows.join("\n"), @r#"
        1m/1s closed each 1m level 0
        5m/5s closed each 1m level 1
        1h/1m closed each 1m level 2
        24h/15m closed each 15m level 3
        "#);
        let dimensions: Vec<String> = definitions
            .dimensions
            .iter()
            .map(|d| {
                format!("{} from {} max {} uniques {}", d.name, d.field, d.entities_max, d.uniques)
            })
            .collect();
        insta::assert_snapshot!(dimensions.join("\n"), @r#"
        product from product_id max 2000000 uniques false
        category from category max 10000 uniques true
        seller from seller_id max 200000 uniques false
        "#);
        let tops: Vec<usize> = definitions.boards.iter().map(|board| board.top).collect();
        assert_eq!(tops, [[1000; 5], [100; 5], [100; 5]].concat());
        assert_eq!(definitions.currency, "USD");
    }

    #[test]
    fn a_dimension_and_a_window_need_no_code() {
        let file = "
fields.seller_id = 'shop'
[[window]]
size = '10m'
slide = '7s'
[[view]]
dimension = 'brand'
metrics = ['units']
top = 3
[[view]]
dimension = 'seller'
metrics = ['clicks']
[[view]]
dimension = 'brand'
metrics = ['orders']
[[view]]
dimension = 'band'
field = 'price_band'
metrics = ['clicks']
";
        assert!(load_file(file).is_err(), "7s does not divide 10m");
        let definitions = load_file(&file.replace("7s", "8s")).expect("valid").definitions();
        let names: Vec<_> = definitions
            .dimensions
            .iter()
            .map(|d| (d.name.as_str(), d.field.as_str(), d.entities_max))
            .collect();
        assert_eq!(
            names,
            [
                ("brand", "brand", 200_000),
                ("seller", "shop", 200_000),
                ("band", "price_band", 200_000)
            ]
        );
        let boards: Vec<_> =
            definitions.boards.iter().map(|b| (b.dimension, b.metric, b.top)).collect();
        assert_eq!(
            boards,
            [
                (0, Metric::Units, 3),
                (1, Metric::Clicks, 100),
                (0, Metric::Orders, 100),
                (2, Metric::Clicks, 100)
            ]
        );
        // A minute is no multiple of 8 s; the next one is.
        assert_eq!(definitions.windows[0].closed_step.label(), "64s");
    }

    #[test]
    fn refreshes_follow_the_order_of_windows() {
        let config =
            load("redis.flush = '10s'", &[], &["window[0].refresh=20s", "window[3].refresh=2m"]);
        let secs: Vec<u64> =
            config.expect("valid").refresh_by_window().iter().map(Duration::as_secs).collect();
        assert_eq!(secs, [20, 10, 15, 120]);
    }
}

mod memory {
    use super::*;

    #[test]
    fn the_estimate_of_the_default() {
        let estimate = Config::default().memory_estimate();
        let sum: u64 = estimate.parts.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(sum, estimate.worst_bytes);
        insta::assert_snapshot!(estimate, @"memory expected 821.5 MiB, at most 5.8 GiB (panes 4.0 GiB, entities 1.4 GiB, prefetch 178.0 MiB, process 64.0 MiB, in_flight 64.0 MiB, sketches 64.0 MiB, closed 64.0 MiB, boards 14.6 MiB)");
    }

    #[test]
    fn caps_bound_it() {
        let of = |set: &str| load("", &[], &[set]).expect(set).memory_estimate().worst_bytes;
        let default = Config::default().memory_estimate().worst_bytes;
        let gib = 1 << 30;
        assert_eq!(of("limits.state_bytes=5 GiB"), default + gib);
        // 5 metrics × 2 edges × 4 windows × 8 B, and the name.
        assert_eq!(of("limits.entities.product=2_000_001"), default + 320 + 96 + 256);
        assert_eq!(of("deduplicate.enabled=true"), default + gib / 4);
    }
}

mod round_trip {
    use super::*;
    use proptest::prelude::*;

    fn spans() -> impl Strategy<Value = (Duration, Duration)> {
        (1u64..=60, prop::sample::select(vec![100u64, 1000, 5000, 60_000])).prop_map(
            |(slides, slide)| (Duration::from_millis(slides * slide), Duration::from_millis(slide)),
        )
    }

    prop_compose! {
        fn configs()(
            windows in prop::collection::vec(spans(), 1..4),
            texts in prop::collection::vec("[ -~äß\u{7f}]{1,12}", 3),
            dimension in "[a-z][a-z0-9_]{0,8}",
            top in prop::option::of(1usize..=100_000),
            (lateness, flush) in (0u64..10_000_000, 50u64..=60_000),
            bytes in 16u64 << 20..1 << 40,
            (enabled, step) in any::<(bool, bool)>(),
        ) -> Config {
            let mut config = Config::default();
            // One slide per size.
            let sizes: BTreeMap<Duration, Duration> = windows.into_iter().collect();
            config.window = sizes
                .into_iter()
                .map(|(size, slide)| WindowConfig { size, slide, closed_step: step.then_some(slide * 2), refresh: None })
                .collect();
            config.view.push(ViewConfig { field: Some(texts[0].clone()), top, ..ViewConfig::of(&format!("x_{dimension}")) });
            config.kafka.client_id = texts[1].clone();
            config.kafka.properties.insert("client.rack".to_owned(), texts[2].clone());
            config.limits.entities.insert(format!("x_{dimension}"), 77_777);
            config.limits.state_bytes = bytes;
            config.time.lateness = Duration::from_millis(lateness);
            config.redis.flush = Duration::from_millis(flush);
            config.deduplicate.enabled = enabled;
            config
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// What is printed, read again, is the same configuration and means the same.
        #[test]
        fn rendered_configurations_read_back(config in configs()) {
            let rendered = config.render();
            let read = load_file(&rendered).expect("what was printed is valid");
            prop_assert_eq!(read.meaning_hash(), config.meaning_hash());
            prop_assert_eq!(read, config);
        }
    }
}
