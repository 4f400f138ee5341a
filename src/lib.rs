//! nazar reads storefront events from Kafka, aggregates them in event-time sliding windows,
//! and publishes boards, distinct counts and counters to Redis.
#![deny(unsafe_code)]

pub mod allocator;

pub mod time;

pub mod event;

pub mod config;

pub mod lag;

pub mod metrics;

pub mod health;

pub mod http;

pub mod pipeline;

pub mod sinks;

pub mod service;

pub mod check;

pub mod load;

pub mod demo;

pub mod status;

pub mod letters;

pub mod reset;

pub mod backfill;

pub mod promote;

pub mod cli;

pub mod log;

pub mod probe;

pub mod shell;
