//! The sink's task: writes one flush after another, and says what became readable when.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::health::{Health, Pulse};
use crate::metrics::{FlushPhase, Metrics};
use crate::pipeline::flush::{Job, JobReceiver};
use crate::sinks::Sink;

/// How often the task shows that it lives while it waits for the sink.
const BEAT: Duration = Duration::from_secs(1);

/// Who hears of flushes.
pub struct Audience {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub pulse: Arc<Pulse>,
}

/// Publishes jobs until the last, or until there are no more. `losses` counts how often the sink
/// found its store without what it had written: the next flush then carries every window, and a
/// checkpoint follows at once.
///
/// # Errors
/// The sink needs a person.
pub async fn publish<S: Sink>(
    mut sink: S,
    mut jobs: JobReceiver,
    audience: Audience,
    losses: impl Fn() -> u64,
) -> anyhow::Result<()> {
    let mut losses_seen = losses();
    while let Some(job) = beating(&audience.pulse, jobs.next()).await {
        let started = Instant::now();
        let report = beating(&audience.pulse, sink.flush(&job.flush)).await?;
        let metrics = &audience.metrics;
        metrics.flush.took(FlushPhase::Write, started.elapsed().as_secs_f64());
        let now_millis = wall_clock_millis();
        metrics.flush.acknowledged(&report, now_millis as f64 / 1000.0);
        note_visible(metrics, &job, now_millis);
        if !job.flush.keeps_latest {
            audience.health.first_flush.hold();
        }
        let losses_now = losses();
        if losses_now != losses_seen {
            losses_seen = losses_now;
            jobs.data_lost();
        }
        if job.is_last {
            jobs.done();
            break;
        }
    }
    beating(&audience.pulse, sink.close()).await;
    audience.pulse.stop();
    Ok(())
}

fn note_visible(metrics: &Metrics, job: &Job, now_millis: i64) {
    for &(kind, oldest_millis, records) in &job.visible {
        if let Some(topic) = metrics.topic(kind) {
            topic.freshness.observe((now_millis - oldest_millis).max(0) as f64 / 1000.0, records);
        }
    }
    for closed in &job.flush.closed {
        let window = closed.view.window;
        metrics.flush.windows_closed[window].inc();
        metrics.flush.closed_through[window].set(closed.view.end);
    }
}

/// Waits for a future; what is being waited for is not dead.
async fn beating<F: Future>(pulse: &Pulse, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        pulse.beat();
        if let Ok(output) = tokio::time::timeout(BEAT, &mut future).await {
            return output;
        }
    }
}

pub fn wall_clock_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
