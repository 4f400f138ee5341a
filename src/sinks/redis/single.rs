//! What follows the atomic views: distinct users and hashes of single entities.

use std::time::{Duration, Instant};

use tracing::warn;

use super::commands::Batch;
use super::content::{self, Content, View};
use super::entities::Change;
use super::keys::Place;
use super::link::Link;
use super::witness::Witnesses;
use super::{Failure, KEYS_MAX, RedisSink, scripts, ttl_millis};
use crate::event::Metric;
use crate::pipeline::view::LatestView;
use crate::sinks::FlushReport;

/// One script writes at most this much of single entities' values: a larger one would hold
/// Redis for longer than a reader likes to wait.
const PUT_BYTES: usize = 256 << 10;

impl RedisSink {
    pub(super) async fn publish_entity_uniques(
        &mut self,
        connection: &mut Link,
        latest: &LatestView,
        ttl: Duration,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let definitions = self.settings.definitions.clone();
        let keys = self.settings.keys.clone();
        let window = latest.view.window;
        let index = keys.uniques_index(&definitions.windows[window].label);
        let now = Instant::now();
        let views = content::entity_views(&keys, &definitions, Place::Latest, &latest.view);
        let plan = self.windows[window].uniques.plan_all(views, now, ttl / 2);
        let effects = plan.effects();
        self.windows[window].uniques.doubt(&effects);
        let (unchanged, mut refresh) = (plan.unchanged, plan.refresh);
        let write: Vec<View> = plan.write.into_iter().map(|(view, _)| view).collect();
        self.put(connection, &index, &write, &plan.remove, ttl_millis(ttl), report).await?;
        self.windows[window].uniques.apply(effects, now);
        self.windows[window].uniques.compact();
        report.keys_unchanged += unchanged;
        if !refresh.is_empty() {
            refresh.push(index);
        }
        self.refresh(connection, &refresh, ttl, |sink| &mut sink.windows[window].uniques).await
    }

    /// Writes and removes values of single entities, in fenced chunks.
    pub(super) async fn put(
        &mut self,
        connection: &mut Link,
        index: &str,
        write: &[View<'_>],
        remove: &[String],
        ttl_millis: u64,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let values: Vec<(&str, &[u8])> = write
            .iter()
            .filter_map(|view| match view.content {
                Content::Value(value) => Some((view.key.as_str(), value)),
                _ => None,
            })
            .collect();
        for values in chunks(&values) {
            self.put_chunk(connection, index, values, &[], ttl_millis).await?;
            report.keys_written += values.len() as u64;
            report.bytes +=
                values.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        }
        for keys in remove.chunks(KEYS_MAX) {
            self.put_chunk(connection, index, &[], keys, ttl_millis).await?;
            report.keys_deleted += keys.len() as u64;
        }
        Ok(())
    }

    async fn put_chunk(
        &mut self,
        connection: &mut Link,
        index: &str,
        values: &[(&str, &[u8])],
        remove: &[String],
        ttl_millis: u64,
    ) -> Result<(), Failure> {
        let mut invocation = self.scripts.put.prepare_invoke();
        invocation.key(self.settings.keys.meta()).key(index);
        for (key, _) in values {
            invocation.key(*key);
        }
        invocation.key(remove);
        invocation.arg(&self.lineage.token).arg(self.lineage.expected()).arg(ttl_millis);
        for (_, value) in values {
            invocation.arg(*value);
        }
        let answer = scripts::run(&invocation, connection).await?;
        self.done(answer)?;
        Ok(())
    }

    pub(super) async fn publish_entity_hashes(
        &mut self,
        connection: &mut Link,
        latest: &LatestView,
        seq: u64,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let settings = &self.settings;
        let window = latest.view.window;
        let label = settings.label(window);
        let ttl = settings.entity_ttl();
        let now = Instant::now();
        let plan = self.entities.plan(
            &settings.keys,
            &settings.definitions,
            window,
            &latest.entities,
            now,
            ttl / 2,
        );
        self.entities.doubt(&plan, window, now);
        // Until all is written, nobody can say what a node should hold.
        let mut witnesses = std::mem::take(&mut self.witnesses);
        let names: Vec<String> =
            Metric::ALL.iter().map(|metric| format!("{}.{label}", metric.name())).collect();
        let index = settings.keys.entities_index();
        let cluster = connection.cluster().cloned();
        let mut batch = Batch::new(connection);
        // The index names a hash before it stands and until it is gone: what it does not name,
        // no later run would remove.
        let is_new = |change: &Change| matches!(change, Change::Write { index: true, .. });
        batch.in_parts("SADD", &index, &plan.keys(is_new)).await?;
        batch.settle().await?;
        for (key, change) in &plan.changes {
            match change {
                Change::Delete => {
                    batch.command("UNLINK", key, &[]);
                    report.keys_deleted += 1;
                }
                Change::Write { afresh, metrics, .. } => {
                    if *afresh {
                        batch.command("UNLINK", key, &[]);
                    }
                    let mut fields = vec![
                        ("seq".to_owned(), seq.to_string()),
                        ("as_of".to_owned(), latest.stream_time.to_string()),
                    ];
                    match metrics {
                        Some(metrics) => fields
                            .extend(names.iter().cloned().zip(metrics.iter().map(u64::to_string))),
                        None => {
                            let names: Vec<&str> = names.iter().map(String::as_str).collect();
                            batch.command("HDEL", key, &names);
                        }
                    }
                    batch.set_fields(key, &fields);
                    batch.expire(key, ttl_millis(ttl));
                    report.keys_written += 1;
                }
            }
            if let Some(cluster) = &cluster {
                witnesses.note(
                    cluster.node_of(key),
                    key,
                    (*change != Change::Delete).then_some(seq),
                );
            }
            batch.send_if_full().await?;
        }
        batch.settle().await?;
        let is_gone = |change: &Change| *change == Change::Delete;
        batch.in_parts("SREM", &index, &plan.keys(is_gone)).await?;
        report.keys_unchanged += plan.unchanged;
        report.bytes += batch.finish().await?;
        self.entities.apply(plan, window, now);
        self.witnesses = witnesses;
        Ok(())
    }

    /// A node of a Cluster may lose the hashes that it holds, and meta stand elsewhere: then
    /// they are written again as their windows fall due.
    pub(super) async fn check_witnesses(&mut self, connection: &mut Link) -> Result<(), Failure> {
        let Some(node) = self.witnesses.missing(connection).await? else { return Ok(()) };
        self.health.count_republish();
        warn!(%node, "a node has lost hashes of entities, all are written again");
        self.witnesses = Witnesses::default();
        self.entities.distrust();
        Ok(())
    }
}

/// Splits values so that no part exceeds the bounds of one script.
fn chunks<'a, 'b>(values: &'a [(&'b str, &'b [u8])]) -> Vec<&'a [(&'b str, &'b [u8])]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, (_, value)) in values.iter().enumerate() {
        if index > start && (bytes + value.len() > PUT_BYTES || index - start >= KEYS_MAX) {
            parts.push(&values[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += value.len();
    }
    if start < values.len() {
        parts.push(&values[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_exceeds_the_bounds_of_one_script() {
        let sizes = |values: &[(&str, &[u8])]| {
            chunks(values).iter().map(|part| part.len()).collect::<Vec<_>>()
        };
        let small = [("k", &[0; 10][..]); KEYS_MAX + 1];
        assert_eq!(sizes(&small), [KEYS_MAX, 1]);
        let half = vec![0; PUT_BYTES / 2];
        assert_eq!(sizes(&[("k", &half[..]); 5]), [2, 2, 1]);
        let huge = vec![0; PUT_BYTES * 2];
        assert_eq!(sizes(&[("k", &huge[..]); 2]), [1, 1], "one value always passes");
        assert_eq!(sizes(&[]), Vec::<usize>::new());
    }
}
