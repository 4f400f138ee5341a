//! Limits that contradict each other.

use super::Rules;
use crate::config::Config;
use crate::event::Kind;
use crate::pipeline::distinct::SKETCH_BYTES_WORST;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// What librdkafka takes for `queued.max.messages.kbytes`, per handle.
const PREFETCH_BYTES_MAX: u64 = 2_097_151 * KIB;
/// What librdkafka takes for `fetch.message.max.bytes`.
const RECORD_BYTES_MAX: u64 = 1_000_000_000;
/// Three bytes a byte when percent-encoded in a Redis key; longer ids are somebody's mistake.
const ID_BYTES_MAX: usize = 1024;

pub(super) fn check(config: &Config, rules: &mut Rules<'_>) {
    let limits = &config.limits;
    let record_fits = (KIB..=RECORD_BYTES_MAX).contains(&limits.record_bytes);
    rules.refuse_if(
        !record_fits,
        "limits.record_bytes",
        "must be from 1 KiB to 1_000_000_000 bytes, the most that librdkafka fetches",
    );
    let handles = config.kafka.handles.max(1) as u64;
    let per_handle = limits.prefetch_bytes / handles;
    if per_handle < limits.record_bytes.max(MIB) {
        rules.refuse(
            "limits.prefetch_bytes",
            "must be at least 1 MiB and one limits.record_bytes for each of kafka.handles: below \
             that a handle waits for every fetch",
        );
    }
    rules.refuse_if(
        per_handle > PREFETCH_BYTES_MAX,
        "limits.prefetch_bytes",
        "must be at most 2047 MiB for each of kafka.handles, the most that librdkafka takes",
    );
    let in_flight_min = limits.record_bytes.saturating_mul(2).max(MIB);
    rules.refuse_if(
        limits.in_flight_bytes < in_flight_min,
        "limits.in_flight_bytes",
        "must be at least 1 MiB and two limits.record_bytes: reading would stand still",
    );
    let ids_fit = (1..=ID_BYTES_MAX).contains(&limits.id_bytes);
    rules.refuse_if(
        !ids_fit,
        "limits.id_bytes",
        format!("must be from 1 to {ID_BYTES_MAX}: ids are parts of Redis keys"),
    );
    rules.refuse_if(
        limits.state_bytes < 16 * MIB,
        "limits.state_bytes",
        "must be at least 16 MiB: the panes of one busy minute would not fit",
    );
    // Of everybody, and of `__other__` in each dimension whose users are counted.
    let sketches = Kind::WITH_UNIQUES.len() * (1 + config.uniques.dimensions.len());
    let sketches_min = (sketches * SKETCH_BYTES_WORST) as u64;
    rules.refuse_if(
        limits.sketch_bytes < sketches_min,
        "limits.sketch_bytes",
        format!(
            "must be at least {} MiB: each kind of event needs a sketch, and one more for each dimension in uniques.dimensions",
            sketches_min.div_ceil(MIB)
        ),
    );
    rules.refuse_if(
        limits.max_consecutive_rejects == 0,
        "limits.max_consecutive_rejects",
        "must be at least 1: every start would be fatal",
    );
    let remembers = config.deduplicate.bytes_max >= MIB || !config.deduplicate.enabled;
    rules.refuse_if(
        !remembers,
        "deduplicate.bytes_max",
        "must be at least 1 MiB: too few ids would be remembered to find a duplicate",
    );
}
