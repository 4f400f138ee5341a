//! Completions and man pages of both programs.

use std::path::Path;
use std::process::{Command, Output};

const PROGRAMS: [(&str, &str); 2] =
    [("nazar", env!("CARGO_BIN_EXE_nazar")), ("nazar-load", env!("CARGO_BIN_EXE_nazar-load"))];

fn said(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap()
}

#[test]
fn completions_know_commands_and_options() {
    for (name, program) in PROGRAMS {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let output = said(program, &["completions", shell]);
            assert!(output.status.success(), "{name} {shell}");
            let script = String::from_utf8(output.stdout).unwrap();
            let option = if name == "nazar" { "bounded" } else { "profile" };
            assert!(script.contains(name) && script.contains(option), "{name} {shell}");
        }
        assert_eq!(said(program, &["completions", "ksh"]).status.code(), Some(2));
    }
}

/// Bash reads the script and completes by it.
#[test]
fn bash_completes() {
    let directory = tempfile::tempdir().unwrap();
    for (name, program) in PROGRAMS {
        let path = directory.path().join(name);
        std::fs::write(&path, said(program, &["completions", "bash"]).stdout).unwrap();
        let (typed, expected) =
            if name == "nazar" { ("dea", "dead-letters") } else { ("ver", "verify") };
        // As an interactive bash would call the function that the script has registered.
        let script = format!(
            "source {}; function=$(complete -p {name} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
             COMP_WORDS=({name} {typed}); COMP_CWORD=1; $function {name} {typed} {name}; echo ${{COMPREPLY[@]}}",
            path.display()
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let completed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(completed.trim(), expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_command_has_a_man_page() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    for (name, program) in PROGRAMS {
        let output = said(program, &["man", pages.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let page = |of: &str| std::fs::read_to_string(Path::new(&pages).join(of)).unwrap();
        assert!(page(&format!("{name}.1")).contains(".SH SYNOPSIS"));
        assert!(page(&format!("{name}-run.1")).contains(".SH OPTIONS"));
    }
    assert!(pages.join("nazar-load-replay.1").exists());
}
