//! Instances that share a log which has no end for them: how long until the views cover it.

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nazar::load::observed::{Fields, Keys, Observed, RedisObserved};

use crate::Bench;
use crate::case::Case;
use crate::log::Written;
use crate::measured::{Background, Spent};
use crate::row::Row;

/// The resolution of the time that is measured.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Bench {
    /// The first instance leads: the others are started once it holds the lease. Time counts from
    /// the start of the first until one window's latest views cover the log.
    pub fn team(&self, case: &Case, instances: u32, runs: u32) -> anyhow::Result<Vec<Row>> {
        let log = self.written(&case.log)?;
        let mut rows = Vec::new();
        for round in 1..=runs {
            let prefix = format!("{}-{round}", case.name);
            let mut row = Row::of(case, "nazar", round);
            let before = self.servers.spent();
            let mut members = vec![self.instance(case, &prefix, 0)?];
            let deadline = Instant::now() + case.patience();
            self.wait_for_leader(&prefix, deadline)?;
            for number in 1..instances {
                members.push(self.instance(case, &prefix, number)?);
            }
            while !covers(&self.meta(&prefix)?, &log) {
                ensure!(Instant::now() < deadline, "the log was not covered in time");
                for (number, member) in (0..).zip(&mut members) {
                    member.ensure_running(&self.log_of_instance(number))?;
                }
                std::thread::sleep(LOOK_EVERY);
            }
            row.seconds = members[0].started.elapsed().as_secs_f64();
            row.instances = members.iter().map(Background::spent).collect::<anyhow::Result<_>>()?;
            self.note_servers(&mut row, before);
            row.spent = sum(&row.instances);
            row.figures.insert("instances".into(), f64::from(instances));
            if round == 1 || self.verify_all {
                row.verified = Some(self.verify(&log, &prefix, None, case)?);
            }
            eprintln!("{}", row.text());
            rows.push(row);
            // Followers first, so that nobody takes over.
            members.into_iter().rev().try_for_each(Background::terminate)?;
            self.servers.flush()?;
        }
        Ok(rows)
    }

    pub fn instance(&self, case: &Case, prefix: &str, number: u32) -> anyhow::Result<Background> {
        let mut nazar = Command::new(&self.programs.nazar);
        nazar.arg("run").args(self.arguments(case, prefix)?);
        Background::start(&mut nazar, &self.log_of_instance(number))
    }

    pub fn log_of_instance(&self, number: u32) -> std::path::PathBuf {
        self.log_of(&format!("nazar-{number}"))
    }

    fn wait_for_leader(&self, prefix: &str, deadline: Instant) -> anyhow::Result<()> {
        let mut redis = self.servers.redis()?;
        let lease = format!("{{{prefix}}}:lease");
        while !redis::cmd("EXISTS").arg(&lease).query::<bool>(&mut redis)? {
            ensure!(Instant::now() < deadline, "nobody leads");
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// As it is now; empty before anything was published.
    pub fn meta(&self, prefix: &str) -> anyhow::Result<Fields> {
        let keys = Keys { prefix: prefix.to_owned() };
        let mut redis = RedisObserved::connect(&self.servers.redis_url(), prefix)?;
        redis.hash(&keys.meta()).context("read meta")
    }
}

/// Whether the latest views of any window count the whole log.
fn covers(meta: &Fields, log: &Written) -> bool {
    let vectors = meta.iter().filter(|(name, _)| name.starts_with("offsets:"));
    vectors.into_iter().any(|(_, vector)| {
        let offsets: HashMap<&str, i64> = vector
            .split(',')
            .filter_map(|item| item.rsplit_once('='))
            .filter_map(|(place, offset)| Some((place, offset.parse().ok()?)))
            .collect();
        log.ends().all(|(place, end)| {
            end == 0 || offsets.get(place.as_str()).is_some_and(|&at| at >= end)
        })
    })
}

fn sum(spent: &[Spent]) -> Spent {
    spent.iter().fold(Spent::default(), |sum, one| Spent {
        user_seconds: sum.user_seconds + one.user_seconds,
        system_seconds: sum.system_seconds + one.system_seconds,
        peak_rss_bytes: sum.peak_rss_bytes.max(one.peak_rss_bytes),
    })
}
