//! Connections with limits: on their number, and on how long one may stay.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Further connections wait in the kernel's backlog. Fewer would let one stuck scraper shut
    /// out the health checks; more only helps a client that does not close.
    pub connections_max: usize,
    /// After this, a connection that waits for the client is closed, whatever it has sent so
    /// far: a header that trickles in has no more time than one that does not come. Scrapers
    /// that keep connections open just open another.
    pub connection_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_max: 64, connection_max: Duration::from_secs(60) }
    }
}

pub struct LimitedListener {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    connection_max: Duration,
}

impl LimitedListener {
    pub fn new(listener: TcpListener, limits: Limits) -> Self {
        let slots = Arc::new(Semaphore::new(limits.connections_max));
        Self { listener, slots, connection_max: limits.connection_max }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedStream, SocketAddr) {
        let slots = self.slots.clone();
        let slot = slots.acquire_owned().await.expect("the semaphore is never closed");
        // The inner accept waits out its own errors, such as too many open files.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let expiry = Box::pin(sleep(self.connection_max));
        (LimitedStream { stream, expiry, _slot: slot }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when it keeps us waiting past its time.
pub struct LimitedStream {
    stream: TcpStream,
    expiry: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl LimitedStream {
    fn expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.expiry.as_mut().poll(context)
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.expired(context).is_ready() {
            return Poll::Ready(Ok(())); // Nothing read: the end of the stream.
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let written @ Poll::Ready(_) = Pin::new(&mut self.stream).poll_write(context, bytes) {
            return written;
        }
        ready!(self.expired(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
