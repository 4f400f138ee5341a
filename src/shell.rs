//! What a shell and `man` want to know of a command line, made from its definition.

use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// The script that completes `command` in a shell.
pub fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// Writes a page for `command` and one for each of its commands: `name.1`, `name-run.1`, ….
pub fn man_pages(command: Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)
}
