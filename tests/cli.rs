//! The command line of `nazar` as users meet it: help, version, exit codes.

use std::path::Path;
use std::process::{Command, Output};

use clap::{CommandFactory, Parser};
use nazar::cli::{Cli, Command as Said};

/// Runs the binary with no variables of ours but those given.
fn nazar(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let inherited =
        std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("NAZAR"));
    Command::new(env!("CARGO_BIN_EXE_nazar"))
        .args(arguments)
        .env_clear()
        .envs(inherited)
        .envs(variables.iter().copied())
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The help of the program, or of one of its commands, 100 columns wide.
fn help(command: Option<&str>) -> String {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let shown = match command {
        Some(name) => cli.find_subcommand_mut(name).expect("a command").render_help(),
        None => cli.render_help(),
    };
    let lines: Vec<String> =
        shown.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_of_the_program() {
    insta::assert_snapshot!(help(None), @r#"
    Event-time sliding windows from Kafka to Redis

    Usage: nazar <COMMAND>

    Commands:
      run           Read events, compute windows, publish views
      config        Print the effective configuration, without secrets
      check         Validate the configuration and ask Kafka and Redis whether it works
      status        Say who writes, how far the views are, and what holds them back
      backfill      Compute a period of history anew, under a prefix of its own
      promote       Put what a backfill has computed in the place of the live closed windows
      demo          Show everything at once, with an embedded broker, a Redis and a generator
      dead-letters  Count the records in the dead-letter topic, by reason and topic
      reset         Delete everything nazar keeps in Redis under the configured prefix
      probe         Ask a running nazar on this machine for its health, for container health checks
      completions   Print the script that completes this program in a shell
      man           Write man pages into a directory
      help          Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Exit codes: 0 done, 1 an error, 2 refused before anything was touched (command line, configuration,
    or state in Redis that another configuration has built).

    Configuration: defaults < --config FILE < NAZAR__SECTION__KEY < --set section.key=value
    "#);
}

#[test]
fn the_help_of_run() {
    insta::assert_snapshot!(help(Some("run")), @r#"
    Read events, compute windows, publish views

    Usage: nazar run [OPTIONS]

    Options:
          --config <FILE>    Configuration file (TOML) [env: NAZAR_CONFIG]
          --set <KEY=VALUE>  Set one key, over file and environment: time.lateness=30s (repeatable)
          --bounded          Stop at the end of the log as it is now, close every window, print one line
                             of JSON
      -h, --help             Print help
    "#);
}

#[test]
fn the_help_of_probe() {
    insta::assert_snapshot!(help(Some("probe")), @r#"
    Ask a running nazar on this machine for its health, for container health checks

    Usage: nazar probe [OPTIONS]

    Options:
          --config <FILE>       Configuration file (TOML) [env: NAZAR_CONFIG]
          --set <KEY=VALUE>     Set one key, over file and environment: time.lateness=30s (repeatable)
          --page <PATH>         The page to ask for: /livez or /readyz [default: /livez]
          --timeout <DURATION>  How long an answer may take [default: 3s]
      -h, --help                Print help
    "#);
}

/// The reference shows each help text as it is.
#[test]
fn the_reference_shows_every_help() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CLI.md");
    let reference = std::fs::read_to_string(path).expect("the reference");
    let commands = [
        "run",
        "config",
        "check",
        "status",
        "backfill",
        "promote",
        "demo",
        "dead-letters",
        "reset",
        "probe",
        "completions",
        "man",
    ];
    for command in [None].into_iter().chain(commands.map(Some)) {
        let help = help(command);
        assert!(reference.contains(&help), "docs/CLI.md should show\n{help}");
    }
    let declared: Vec<String> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert_eq!(declared, commands);
}

#[test]
fn alone_it_prints_help_and_refuses() {
    let output = nazar(&[], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: nazar <COMMAND>"));
}

#[test]
fn the_version_names_what_was_built_in() {
    let output = nazar(&["--version"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let version = text(&output.stdout);
    assert!(
        version.starts_with(concat!("nazar ", env!("CARGO_PKG_VERSION"), "\nlibrdkafka ")),
        "{version}"
    );
    assert!(version.contains("zstd"), "{version}");
    assert_eq!(cfg!(feature = "tls"), version.contains("ssl"), "{version}");
}

#[test]
fn config_prints_what_is_in_force() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("a.toml");
    std::fs::write(&file, "[kafka]\ngroup = 'file'\nclient_id = 'file'").expect("a file");
    let file = file.display().to_string();
    let variables = [("NAZAR_CONFIG", file.as_str()), ("NAZAR__REDIS__PASSWORD", "c4n4ry")];
    let output = nazar(&["config", "--set", "kafka.group=set"], &variables);
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    for line in ["group = \"set\"", "client_id = \"file\"", "password = \"[redacted]\""] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in {printed}");
    }
    assert!(!printed.contains("c4n4ry"));
    assert!(printed.contains("\n# memory expected ") && printed.contains("\n# meaning "));
}

#[test]
fn what_is_wrong_ends_with_2_and_says_all() {
    let output = nazar(&["config", "--set", "kafka.handels=2"], &[("NAZAR__REDIS__FLUSH", "1ms")]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    insta::assert_snapshot!(text(&output.stderr), @r#"
    nazar: the configuration is refused
    environment NAZAR__REDIS__FLUSH: redis.flush = "1ms": must be from 50ms to 60s: faster keeps Redis busy with views nobody has read yet, slower lets deliveries pile up in memory
    --set: kafka.handels = "2": no such key; did you mean kafka.handles?
    "#);
    assert_eq!(nazar(&["run", "--unknown"], &[]).status.code(), Some(2));
}

#[test]
fn probe_fails_where_nobody_listens() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let set = format!("http.listen={}", free.expect("a port"));
    let output = nazar(&["probe", "--set", &set, "--timeout", "500ms"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("nazar: connect to 127.0.0.1:"));
}

#[test]
fn durations_are_read_as_in_the_configuration() {
    let said = Cli::try_parse_from(["nazar", "demo", "--for", "20s"]).expect("valid").command;
    assert!(
        matches!(said, Said::Demo(demo) if demo.duration == Some(std::time::Duration::from_secs(20)))
    );
    assert!(Cli::try_parse_from(["nazar", "demo", "--for", "20"]).is_err());
}
