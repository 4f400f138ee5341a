//! How the sink is doing, readable at any time without asking it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::error::ErrorClass;

/// Shared between the sink, which writes it, and metrics and readiness, which read it.
#[derive(Debug, Default)]
pub struct RedisHealth {
    connected: AtomicBool,
    standby: AtomicBool,
    last_success_millis: AtomicU64,
    errors: [AtomicU64; ErrorClass::COUNT],
    retries: AtomicU64,
    republishes: AtomicU64,
    history_lost: AtomicU64,
}

impl RedisHealth {
    /// Whether the last exchange with Redis went well.
    pub fn connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    /// Whether another writer holds the lease, and ours waits for its end.
    pub fn is_standby(&self) -> bool {
        self.standby.load(Relaxed)
    }

    /// Wall-clock milliseconds since the epoch at the end of the last flush; `None` before it.
    pub fn last_success_millis(&self) -> Option<u64> {
        Some(self.last_success_millis.load(Relaxed)).filter(|&millis| millis > 0)
    }

    pub fn errors(&self, class: ErrorClass) -> u64 {
        self.errors[class as usize].load(Relaxed)
    }

    /// Attempts that followed a failed one.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// How often all views were written again because Redis had lost data.
    pub fn republishes(&self) -> u64 {
        self.republishes.load(Relaxed)
    }

    /// History entries that Redis lost and nobody can remake.
    pub fn history_lost(&self) -> u64 {
        self.history_lost.load(Relaxed)
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Relaxed);
    }

    pub(super) fn set_standby(&self, standby: bool) {
        self.standby.store(standby, Relaxed);
    }

    pub(super) fn flushed(&self, now_millis: u64) {
        self.last_success_millis.store(now_millis, Relaxed);
    }

    pub(super) fn count_error(&self, class: ErrorClass) {
        self.errors[class as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn count_republish(&self) {
        self.republishes.fetch_add(1, Relaxed);
    }

    pub(super) fn count_history_lost(&self, entries: u64) {
        self.history_lost.fetch_add(entries, Relaxed);
    }
}
