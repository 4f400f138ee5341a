//! A wrong configuration is refused before anything is touched.

use std::net::TcpListener;

use crate::daemon::Daemon;
use crate::load::outcome;

#[test]
fn a_wrong_configuration_names_file_key_and_value_and_connects_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let [kafka, redis] = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let daemon = || {
        let redis_url = format!("redis://{}/", address(&redis));
        Daemon::new(&directory, "refused", &address(&kafka), &redis_url)
    };
    let file = directory.path().join("shop.toml");
    std::fs::write(&file, "[time]\nlateness = \"1m\"\nlatenes = \"2m\"\n").unwrap();
    let (code, said) = outcome(&daemon().file(&file).refused());
    assert_eq!(code, 2, "{said}");
    for part in ["shop.toml:3", "time.latenes", "\"2m\"", "time.lateness?"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }

    let (code, said) = outcome(&daemon().set("redis.flush", "1ms").refused());
    assert_eq!(code, 2, "{said}");
    for part in ["--set", "redis.flush", "\"1ms\"", "50ms"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }

    // librdkafka's own objection.
    let wrong = daemon().set("kafka.properties.\"fetch.wait.max.ms\"", "soon");
    let (code, said) = outcome(&wrong.refused());
    assert_eq!(code, 2, "{said}");
    for part in ["fetch.wait.max.ms", "soon"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }

    for listener in [&kafka, &redis] {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "somebody was connected to");
    }
}
