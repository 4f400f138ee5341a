//! `nazar reset`: deletes the prefix, but never by accident.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::Context;

use crate::config::Config;
use crate::sinks::redis::admin;

/// What may be done without having asked, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consent {
    Given,
    Ask,
    /// Nobody is there to be asked.
    Refused,
}

fn consent(yes: bool, is_terminal: bool) -> Consent {
    match (yes, is_terminal) {
        (true, _) => Consent::Given,
        (false, true) => Consent::Ask,
        (false, false) => Consent::Refused,
    }
}

/// Only a whole yes is one.
fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Whether to delete. Blocks while it asks: call it while a signal still ends the process.
pub fn may_delete(config: &Config, yes: bool) -> anyhow::Result<bool> {
    let prefix = &config.redis.prefix;
    let is_wanted = match consent(yes, io::stdin().is_terminal()) {
        Consent::Given => true,
        Consent::Ask => ask(prefix).context("ask whether to delete")?,
        Consent::Refused => {
            eprintln!(
                "nazar: nobody to ask whether to delete everything under {prefix}; say --yes"
            );
            return Ok(false);
        }
    };
    if !is_wanted {
        eprintln!("nazar: nothing was deleted");
    }
    Ok(is_wanted)
}

/// Deletes everything under the configured prefix, and says how much that was.
pub async fn delete(config: &Config) -> anyhow::Result<()> {
    let prefix = &config.redis.prefix;
    if let Some((holder, left)) = admin::lease(&config.redis).await.context("ask for the lease")? {
        anyhow::bail!(
            "an instance writes under {prefix} and would write its views again: stop it first \
             (lease of {holder}; if it is gone already, the lease ends in {:.0} s)",
            left.as_secs_f64().ceil()
        );
    }
    let deleted = admin::reset(&config.redis).await.context("delete the prefix")?;
    writeln!(io::stdout(), "{deleted} keys deleted under {prefix}").context("write to stdout")
}

fn ask(prefix: &str) -> io::Result<bool> {
    eprint!("Delete everything nazar keeps under the prefix {prefix}, history included? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_deleted_unasked() {
        assert_eq!(consent(true, false), Consent::Given);
        assert_eq!(consent(true, true), Consent::Given);
        assert_eq!(consent(false, true), Consent::Ask);
        assert_eq!(consent(false, false), Consent::Refused);
    }

    #[test]
    fn only_a_whole_yes_is_one() {
        assert!(["y", "Yes\n", " YES "].iter().all(|answer| is_yes(answer)));
        assert!(["", "\n", "yep", "no", "n", "yes please"].iter().all(|answer| !is_yes(answer)));
    }
}
