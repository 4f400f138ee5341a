//! How mimalloc, which both programs allocate with, treats memory that was freed.
//!
//! It gives pages back to the system a second after they were freed. While a backlog is read, fetch
//! buffers come and go by the hundred megabytes, and memory given back is asked for again at once:
//! 225,000 page faults in ten million records, each of which clears a page, where 1,500 do
//! (`/usr/bin/time` of the daemon in `bench/run run default`). So it waits for a minute: a steady load reuses what it
//! has, and what a backlog needed is given back soon after.
#![allow(unsafe_code)]

use libmimalloc_sys as sys;

/// `mi_option_purge_delay`, which has no name in the bindings, but the option after it has.
const PURGE_DELAY: sys::mi_option_t = sys::mi_option_use_numa_nodes - 1;

const PURGE_DELAY_MILLIS: i64 = 60_000;

/// Keeps freed memory for a minute. To be called first of all; `MIMALLOC_PURGE_DELAY` in the
/// environment (milliseconds) has precedence.
pub fn keep_freed_memory() {
    // Safety: takes two numbers and sets a global that is meant to be set while others allocate.
    unsafe { sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MILLIS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_purge_delay() {
        // Safety: reads a number.
        let get = || unsafe { sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(get(), 1_000, "mimalloc's default");
        keep_freed_memory();
        assert_eq!(get(), PURGE_DELAY_MILLIS);
    }
}
