//! Verifying a run while it goes on: pictures of the latest views are taken now and then, and judged
//! when the log they came from is complete.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::verify::{Verification, VerifyOptions};

/// How soon the end is noticed, and how soon a daemon that has not published yet is asked again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Takes samples until `done`: at first each `options.every`, and at most `options.latest_samples` in the
/// end. When there are more, every other one is forgotten and they are taken half as often, so they
/// spread over a run of any length.
///
/// `None` if there never was anything to take them of.
pub fn sample<'a>(options: &'a VerifyOptions, done: &AtomicBool) -> Option<Verification<'a>> {
    let mut verification: Option<Verification<'a>> = None;
    let mut every = options.every;
    let mut next = Instant::now();
    while !done.load(Relaxed) {
        if options.latest_samples == 0 || Instant::now() < next {
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        let taken = match &mut verification {
            Some(verification) => verification.sample(),
            None => Verification::begin(options).map(|begun| verification = Some(begun)),
        };
        next = Instant::now() + if taken.is_ok() { every } else { LOOK_EVERY };
        if let (Err(_), Some(broken)) = (taken, &mut verification) {
            // Redis was away: with a new connection it goes on.
            if let Ok(mut begun) = Verification::begin(options) {
                std::mem::swap(broken, &mut begun);
                broken.take_over(begun);
            }
        }
        let is_full = |verification: &&mut Verification<'_>| {
            verification.samples() as u64 > options.latest_samples
        };
        if let Some(full) = verification.as_mut().filter(is_full) {
            full.thin();
            every *= 2;
        }
    }
    verification
}
