//! `nazar reset` on a real Redis: it deletes what is ours, all of it, and not unasked.

#[path = "common/redis.rs"]
mod server;

use std::process::{Command, Output, Stdio};

use server::Server;

/// Runs it without a terminal.
fn reset(server: &Server, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nazar"))
        .arg("reset")
        .args(["--set", &format!("redis.url={}", server.url())])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn it_deletes_the_prefix_when_told_to() {
    let server = Server::start();
    for key in ["{nazar}:meta", "nazar:product:p-1", "nazar2:product:p-1"] {
        server.ask::<()>(&format!("SET {key} x"));
    }

    let refused = reset(&server, &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"));
    assert_eq!(server.ask::<u64>("DBSIZE"), 3);

    // Not under a daemon at work.
    server.ask::<()>("SET {nazar}:lease 0af3 PX 600000");
    let refused = reset(&server, &["--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("stop it first") && said.contains("0af3"), "{said}");
    assert_eq!(server.ask::<u64>("DBSIZE"), 4);
    server.ask::<()>("DEL {nazar}:lease");

    let done = reset(&server, &["--yes"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "2 keys deleted under nazar\n");
    assert_eq!(server.ask::<Vec<String>>("KEYS *"), ["nazar2:product:p-1"]);
}
