//! Checkpoints.

use std::time::Duration;

use super::{Rules, hint};
use crate::config::{BLOBS_IN_REDIS, Config};

/// What an address of blobs may begin with; all but the first need a feature of the build.
const SCHEMES: [&str; 4] = ["file", "s3", "gs", "az"];

pub(super) fn check(config: &Config, rules: &mut Rules<'_>) {
    let checkpoint = &config.checkpoint;
    let fits = (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&checkpoint.every);
    rules.refuse_if(
        !fits,
        "checkpoint.every",
        "must be from 1s to 600s: more often writes the open panes again for little, less often \
         reads minutes of the log again after a crash",
    );
    let blobs = &checkpoint.blobs;
    if blobs == BLOBS_IN_REDIS {
        return;
    }
    let scheme = blobs.split_once("://").map(|(scheme, _)| scheme);
    if !scheme.is_some_and(|scheme| SCHEMES.contains(&scheme)) {
        let hint = hint(blobs, [BLOBS_IN_REDIS]);
        rules.refuse(
            "checkpoint.blobs",
            format!(
                "must be \"redis\", or an address as in file:///var/lib/nazar or \
                 s3://bucket/path{hint}"
            ),
        );
    } else if scheme == Some("file") && !blobs.starts_with("file:///") {
        rules.refuse(
            "checkpoint.blobs",
            "must name an absolute path, as in file:///var/lib/nazar (three slashes)",
        );
    }
}
