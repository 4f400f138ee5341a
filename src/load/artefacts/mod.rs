//! What a run leaves in its directory, for whoever reports on it.
//!
//! | file | what | written |
//! |---|---|---|
//! | `run.json` | parameters, ledger, latencies, verdict ([`super::run_file`]; schema in docs/schema) | at the start, at the end |
//! | `ledger.txt` | the ledger for people | with it |
//! | `timeline.jsonl` | a line for each second ([`timeline`]) | as it goes |
//! | `latency.hlog` | a histogram for each second and clock ([`hlog`]) | as it goes |
//!
//! Every figure of a report can be derived from these again ([`left`] reads them for it). The histograms of one clock, added
//! up, are the distribution that `run.json` states: both leave out the warm-up.

pub mod hlog;
pub mod latency;
pub mod left;
pub mod timeline;

/// The whole lines of a file that is written as a run goes, and whether one more was begun: a run that
/// is killed may leave half a line.
fn cut_off(bytes: &[u8]) -> (&[u8], bool) {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    (&bytes[..end], end < bytes.len())
}
