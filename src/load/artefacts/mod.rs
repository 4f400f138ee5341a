//! What a run leaves in its directory, for whoever reports on it.
//!
//! | file | what | written |
//! |---|---|---|
//! | `run.json` | parameters, ledger, latencies, verdict ([`super::run_file`]; schema in docs/schema) | at the start, at the end |
//! | `ledger.txt` | the ledger for people | with it |
//! | `timeline.jsonl` | a line for each second ([`timeline`]) | as it goes |
//! | `latency.hlog` | a histogram for each second and clock ([`hlog`]) | as it goes |
//!
//! Every figure of a report can be derived from these again. The histograms of one clock, added
//! up, are the distribution that `run.json` states: both leave out the warm-up.

pub mod hlog;
pub mod latency;
pub mod timeline;
