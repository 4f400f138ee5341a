//! nazar beside what others would pick, by way of the ceiling.
//!
//! The peers were measured at another time, so machines are not compared: what nazar does of the ceiling
//! here is multiplied with what the ceiling of that time did of the peer.

use anyhow::Context;
use serde::Deserialize;

use super::ratios::Pair;
use super::stats::significant;
use super::{Measured, NOT_MEASURED};

#[derive(Deserialize)]
pub struct Peers {
    source: String,
    ceiling: Peer,
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    name: String,
    million_events_per_second: f64,
    million_events_per_processor_second: f64,
    peak_rss_gb: f64,
}

impl Peers {
    pub fn here() -> anyhow::Result<Self> {
        serde_json::from_str(include_str!("../../../bench/peers.json")).context("parse peers.json")
    }
}

pub fn table(measured: &Measured) -> String {
    let Peers { source, ceiling, peers } = &measured.peers;
    let Some(pair) = Pair::of(measured, "sb1") else { return NOT_MEASURED.to_owned() };
    let rate = pair.ratio.median;
    let per_processor = pair.nazar_per_processor.median / pair.ceiling_per_processor.median;
    let line = |peer: &Peer| {
        let times = |ours: f64, figure: fn(&Peer) -> f64| {
            format!("**{}**", significant(ours * figure(ceiling) / figure(peer)))
        };
        vec![
            peer.name.clone(),
            significant(peer.million_events_per_second),
            significant(peer.million_events_per_processor_second),
            format!("{} GB", peer.peak_rss_gb),
            times(rate, |peer| peer.million_events_per_second),
            times(per_processor, |peer| peer.million_events_per_processor_second),
        ]
    };
    let head = [
        "engine",
        "M/s, measured then",
        "M per processor second, measured then",
        "peak memory",
        "nazar is so many times as fast",
        "nazar does so many times as much per processor second",
    ];
    let beside = vec![
        ceiling.name.clone(),
        significant(ceiling.million_events_per_second),
        significant(ceiling.million_events_per_processor_second),
        format!("{} GB", ceiling.peak_rss_gb),
        significant(rate),
        significant(per_processor),
    ];
    let lines = peers.iter().map(line).chain([beside]);
    format!(
        "(nazar / ceiling here, {}) × (ceiling / peer then); per processor second \
         (nazar / ceiling here, {}) × (ceiling / peer then).\n\n{}\n{source}\n",
        significant(rate),
        significant(per_processor),
        super::table(&head, lines),
    )
}
