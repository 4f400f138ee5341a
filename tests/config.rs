//! The configuration as users meet it: layers, messages, secrets, the shipped file.

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
        insta::assert_snapshot!(shown.join("\n"), @"");
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
        insta::assert_snapshot!(errors(file), @"");
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
        insta::assert_snapshot!(errors(file), @"");
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
        insta::assert_snapshot!(errors, @"");
    }

    #[test]
    fn broken_toml_is_named_by_line_without_its_text() {
        let file = format!("[redis]\npassword = {CANARY}\n\n[kafka\ngroup = 'x'\n[http]\n[http]");
        let errors = errors(&file);
        assert!(!errors.contains(CANARY), "{errors}");
        insta::assert_snapshot!(errors, @"");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let file = Some(PathBuf::from("/nowhere/nazar.toml"));
        let sets = vec!["time.latenes=1m".to_owned()];
        let errors = Config::load(LoadOptions { file, env: [], sets }).expect_err("no file");
        insta::assert_snapshot!(errors, @"");
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
        insta::assert_snapshot!(errors(file), @"");
        let sets = ["window[6].size=1m", "view=[1]", "topics=[]", "window={}"];
        insta::assert_snapshot!(load("", &[], &sets).expect_err("wrong"), @"");
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
        insta::assert_snapshot!(errors(file), @"");
        insta::assert_snapshot!(errors("window = []"), @"");
        let too_fine = "window = [{ size = '1m', slide = '15ms' }, { size = '2m', slide = '8ms' }]";
        insta::assert_snapshot!(errors(too_fine), @"");
        let too_many =
            "window = [{ size = '1s', slide = '100ms' }, { size = '24h', slide = '1m' }]";
        insta::assert_snapshot!(errors(too_many), @"");
        insta::assert_snapshot!(errors("[time]\nmax_future = '0s'\nmax_skew = '0s'\nstall_limit = '0s'"), @"");
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
        insta::assert_snapshot!(errors(file), @"");
        let nine: String = (0..9).map(|n| format!("[[view]]\ndimension = 'd{n}'\n")).collect();
        insta::assert_snapshot!(errors(&nine), @"");
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
        insta::assert_snapshot!(errors(file), @"");
        let none = "[topics]\nclick = ''\nwishlist = ''\npurchase = ''";
        insta::assert_snapshot!(errors(none), @"");
        for brokers in ["b1:9092,b2:9092", "[::1]:9092", "SSL://b:1"] {
            let config = load("", &[], &[&format!("kafka.brokers={brokers}")]);
            assert_eq!(config.expect("valid").kafka.brokers, brokers);
        }
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
        insta::assert_snapshot!(errors(file), @"");
        let twice = "
[redis]
url = 'redis://me:c4n4ry-5ecret@host'
username = 'me'
password = 'c4n4ry-5ecret'
tls_ca_file = '/ca.pem'
";
        insta::assert_snapshot!(errors(twice), @"");
        insta::assert_snapshot!(errors("redis = { url = 'redis://host:port', username = 'me' }"), @"");
        for url in ["redis://h", "rediss://u:p@h:6380/1", "redis+unix:///s.sock", "unix:///s.sock"]
        {
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
        insta::assert_snapshot!(errors(file), @"");
        let large = "[limits]\nprefetch_bytes = '4 GiB'\nrecord_bytes = '1 GiB'";
        insta::assert_snapshot!(errors(large), @"");
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
'sasl.oauthbearer.client.secret' = '{CANARY}'
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
        insta::assert_snapshot!(kafka_and_url.collect::<Vec<_>>().join("\n"), @"");
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
        insta::assert_snapshot!(errors, @"");
    }

    #[test]
    fn what_was_printed_is_not_taken_for_a_secret() {
        let rendered = with_canaries().render();
        insta::assert_snapshot!(errors(&rendered), @"");
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
        insta::assert_snapshot!(errors, @"");
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
            let is_variable = key.starts_with("NAZAR");
            assert!(
                is_variable || known_keys().iter().any(|known| known == key),
                "{key} is unknown"
            );
        }
    }

    #[test]
    fn the_rendered_defaults() {
        insta::assert_snapshot!(Config::default().render(), @"");
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
        insta::assert_snapshot!(lines.join("\n"), @"");
    }

    /// If this fails, state that users have will be refused: raise the format version knowingly.
    #[test]
    fn the_hash_is_the_same_in_every_version() {
        insta::assert_snapshot!(Config::default().meaning_hash(), @"");
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
        insta::assert_snapshot!(windows.join("\n"), @"");
        let dimensions: Vec<String> = definitions
            .dimensions
            .iter()
            .map(|d| {
                format!("{} from {} max {} uniques {}", d.name, d.field, d.entities_max, d.uniques)
            })
            .collect();
        insta::assert_snapshot!(dimensions.join("\n"), @"");
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
        insta::assert_snapshot!(estimate, @"");
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
            windows in prop::collection::btree_map(spans().prop_map(|(size, slide)| size.max(slide)), spans(), 1..4),
            texts in prop::collection::vec("[ -~äß\u{7f}]{1,12}", 3),
            dimension in "[a-z][a-z0-9_]{0,8}",
            top in prop::option::of(1usize..=100_000),
            (lateness, flush) in (0u64..10_000_000, 50u64..=60_000),
            bytes in 16u64 << 20..1 << 40,
            (enabled, step) in any::<(bool, bool)>(),
        ) -> Config {
            let mut config = Config::default();
            let sizes: std::collections::BTreeMap<_, _> = windows.values().map(|&(size, slide)| (size, slide)).collect();
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
            match load_file(&rendered) {
                Ok(read) => {
                    prop_assert_eq!(read.meaning_hash(), config.meaning_hash());
                    prop_assert_eq!(read, config);
                }
                Err(errors) => {
                    // A rule may refuse it; then it refuses the original in the same words.
                    let original = config.validate().expect_err(&errors).0;
                    let words: Vec<_> = original.into_iter().map(|error| (error.key, error.problem)).collect();
                    for (key, problem) in words {
                        prop_assert!(errors.contains(&key) && errors.contains(&problem), "{errors}");
                    }
                }
            }
        }
    }
}
