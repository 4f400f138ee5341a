//! Ending a run by a signal.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::load::report::exit;

/// Sets the flag on Ctrl-C or SIGTERM; a second signal ends the process at once.
pub fn stop_on_signal(stop: &'static AtomicBool) -> anyhow::Result<()> {
    on_signal(stop, || eprintln!("stopping; once more to stop at once"))
}

/// The same without a word, for a command that has the terminal to itself.
pub fn stop_silently_on_signal(stop: &'static AtomicBool) -> anyhow::Result<()> {
    on_signal(stop, || ())
}

fn on_signal(stop: &'static AtomicBool, say: fn()) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the signal listener")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            loop {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(exit::INTERRUPTED));
                }
                say();
            }
        });
    });
    Ok(())
}
