//! A TCP relay between the daemons and Redis, for faults of the way between them: it delays
//! bytes, and cuts every connection, in the middle of an answer if it falls so.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a thread that waits for bytes looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

pub struct Relay {
    port: u16,
    way: Arc<Way>,
}

/// What all threads of a relay share.
#[derive(Default)]
struct Way {
    target: u16,
    latency_millis: AtomicU64,
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Listens on a free port and relays to `target` on loopback.
    pub fn start(target: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Way { target, ..Way::default() });
        let shared = way.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                // Redis is away: so is the relay's connection.
                let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target)) else { continue };
                shared.pump(&client, &server);
                shared.pump(&server, &client);
                shared.open.lock().unwrap().extend([client, server]);
            }
        });
        Relay { port, way }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every chunk of bytes is held back for so long, in both directions.
    pub fn delay(&self, latency: Duration) {
        self.way.latency_millis.store(latency.as_millis() as u64, Ordering::Relaxed);
    }

    /// Cuts all connections; returns how many there were. New ones are relayed as before.
    pub fn cut(&self) -> usize {
        let ends = std::mem::take(&mut *self.way.open.lock().unwrap());
        let alive = |end: &&TcpStream| end.shutdown(Shutdown::Both).is_ok();
        ends.iter().filter(alive).count() / 2
    }
}

impl Way {
    /// Copies bytes one way on a thread of its own until an end closes.
    fn pump(self: &Arc<Self>, from: &TcpStream, to: &TcpStream) {
        let (way, mut from, mut to) =
            (self.clone(), from.try_clone().unwrap(), to.try_clone().unwrap());
        from.set_read_timeout(Some(LOOK)).unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 16 << 10];
            while !way.ended.load(Ordering::Relaxed) {
                let count = match from.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if is_quiet(&error) => continue,
                    Err(_) => break,
                };
                let latency = way.latency_millis.load(Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(latency));
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn is_quiet(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.way.ended.store(true, Ordering::Relaxed);
        self.cut();
        // The listener's thread is woken to see it.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
