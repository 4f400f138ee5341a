//! Looks at `{prefix}:meta` again and again, to see which records the views cover.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::kind::Kind;
use super::latency::meter::Meter;
use super::observed::{Fields, Keys, Observed, RedisObserved};

/// After an error Redis is left alone for so long.
const RETRY_AFTER: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub struct WatchOptions {
    pub redis_url: String,
    pub prefix: String,
    pub poll: Duration,
    /// The window whose offset vector counts; `None`: whichever is furthest.
    pub window: Option<String>,
    /// How long to wait, after the last record, until everything is visible.
    pub wait: Duration,
}

/// Partitions by their names in the vector: `click/3`.
pub type Places = HashMap<String, (Kind, u32)>;

/// Feeds the meter until `done`. Redis may go away and come back.
pub fn watch(
    options: &WatchOptions,
    mut redis: RedisObserved,
    places: &Places,
    meter: &Meter,
    done: &AtomicBool,
) {
    let meta = Keys { prefix: options.prefix.clone() }.meta();
    let mut has_complained = false;
    let mut next = Instant::now();
    while !done.load(Relaxed) {
        match redis.hash(&meta) {
            Ok(fields) => {
                meter.covered(vector(&fields, options.window.as_deref(), places));
                has_complained = false;
            }
            Err(error) => {
                if !has_complained {
                    eprintln!("note: visibility cannot be watched for now: {error:#}");
                    has_complained = true;
                }
                std::thread::sleep(RETRY_AFTER);
                if let Ok(again) = RedisObserved::connect(&options.redis_url, &options.prefix) {
                    redis = again;
                }
            }
        }
        // At a fixed pace, whatever a look takes; one that took too long is not made up for.
        next = (next + options.poll).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// What the vectors cover: of each partition, the next offset.
fn vector<'a>(
    fields: &'a Fields,
    window: Option<&'a str>,
    places: &'a Places,
) -> impl Iterator<Item = ((Kind, u32), i64)> + 'a {
    let is_wanted = move |label: &str| window.is_none_or(|window| window == label);
    let vectors =
        fields.iter().filter(move |(name, _)| name.strip_prefix("offsets:").is_some_and(is_wanted));
    let items = vectors.flat_map(|(_, vector): (&'a String, &'a String)| vector.split(','));
    items.filter_map(|item| {
        let (place, next) = item.rsplit_once('=')?;
        Some((*places.get(place)?, next.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_wanted_windows_are_read() {
        let places = Places::from([
            ("shop.click/0".to_owned(), (Kind::Click, 0)),
            ("shop.click/11".to_owned(), (Kind::Click, 11)),
        ]);
        let fields = Fields::from([
            ("offsets:1m".to_owned(), "shop.click/0=5,shop.click/11=7,other/0=9".to_owned()),
            ("offsets:24h".to_owned(), "shop.click/0=3".to_owned()),
            ("seq:1m".to_owned(), "8".to_owned()),
        ]);
        let read = |window| vector(&fields, window, &places).collect::<Vec<_>>();
        assert_eq!(read(Some("24h")), [((Kind::Click, 0), 3)]);
        let all = read(None);
        assert_eq!(all.len(), 3);
        assert!(all.contains(&((Kind::Click, 11), 7)));
        assert_eq!(vector(&Fields::new(), None, &places).count(), 0);
    }
}
