//! The merger's way to whoever stores checkpoints: one capture at a time.
//!
//! While one is being stored the merger goes on and takes none. A capture that could not be
//! stored is given up, and the next one takes everything: nothing waits in memory for a store
//! that is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::pipeline::checkpoint::Capture;

/// What is asked of the store.
pub enum Order {
    Store(Box<Capture>),
    /// A bounded run has ended: nobody will go on from here.
    Discard,
}

#[derive(Default)]
struct Shared {
    is_busy: AtomicBool,
    needs_everything: AtomicBool,
}

/// The merger's end.
pub struct CaptureSender {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

/// The store's end.
pub struct CaptureReceiver {
    orders: mpsc::Receiver<Order>,
    shared: Arc<Shared>,
}

pub fn capture_line() -> (CaptureSender, CaptureReceiver) {
    let (sender, receiver) = mpsc::channel(1);
    let shared = Arc::new(Shared::default());
    let sender = CaptureSender { orders: sender, shared: shared.clone() };
    (sender, CaptureReceiver { orders: receiver, shared })
}

impl CaptureSender {
    /// Whether the last order is done. A store that is gone is never busy: it takes nothing.
    pub fn is_free(&self) -> bool {
        !self.shared.is_busy.load(Ordering::Acquire) || self.orders.is_closed()
    }

    /// Whether the next capture must hold everything.
    pub fn needs_everything(&self) -> bool {
        self.shared.needs_everything.load(Ordering::Acquire)
    }

    /// The store is known to have lost what earlier captures wrote.
    pub fn ask_everything(&self) {
        self.shared.needs_everything.store(true, Ordering::Release);
    }

    /// Call only when it [is free](Self::is_free).
    pub fn send(&self, order: Order) {
        self.shared.is_busy.store(true, Ordering::Release);
        // One that is gone has said why; checkpoints end, the daemon does not.
        let _ = self.orders.try_send(order);
    }
}

impl CaptureReceiver {
    /// The next order; `None` when there will be none. Asking for it says that the last one is
    /// done.
    pub async fn next(&mut self) -> Option<Order> {
        self.shared.is_busy.store(false, Ordering::Release);
        self.orders.recv().await
    }

    /// Whether the last capture was stored, and the next one may build on it.
    pub fn set_stored(&self, stored: bool) {
        self.shared.needs_everything.store(!stored, Ordering::Release);
    }

    /// The last order is done, and nothing more is taken.
    pub fn close(&mut self) {
        self.orders.close();
        self.shared.is_busy.store(false, Ordering::Release);
    }
}
