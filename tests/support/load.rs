//! Owns a load: clients over HTTP/1 and HTTP/2 that go on until they are told to end, or one request fails.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Instant,
};

use parking_lot::Mutex;

use super::{client::Client, h2::H2Client};

/// What a client is told by a GOAWAY without an error: what it asks for now is not looked at.
const GOODBYE: &str = "not a result of an error";

/// Clients that ask one after the other, as fast as they are answered.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
    since: Instant,
}

// === impl Load ===

impl Load {
    /// Two clients for each path, over HTTP/1 and over HTTP/2, and one that comes and goes.
    pub fn on(address: SocketAddr, paths: &[&'static str]) -> Self {
        let (stop, answered, failures) = (Arc::default(), Arc::default(), Arc::default());
        let since = Instant::now();
        let mut load = Self { stop, answered, failures, clients: Vec::new(), since };
        for &path in paths {
            let mut client = Client::connect(address);
            let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
            load.client(move || {
                client.try_send(&request).map_err(|error| error.to_string())?;
                let answer = client.try_answer(false).map_err(|error| error.to_string())?;
                // Who is told goodbye comes again.
                if answer.header("connection") == Some("close") {
                    client = Client::try_connect(address).map_err(|error| error.to_string())?;
                }
                Ok(answer.status)
            });
            let mut client = H2Client::connect(address);
            load.client(move || match client.get(path) {
                Err(why) if why.contains(GOODBYE) => {
                    client = H2Client::try_connect(address)?;
                    client.get(path).map(|(status, _)| status)
                }
                answer => answer.map(|(status, _)| status),
            });
        }
        // These come and go: a listener that does not accept would be seen.
        load.client(move || {
            let mut client = Client::try_connect(address).map_err(|error| error.to_string())?;
            client.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
            client.try_answer(false).map(|answer| answer.status).map_err(|error| error.to_string())
        });
        load
    }

    fn client(&mut self, mut ask: impl FnMut() -> Result<u16, String> + Send + 'static) {
        let (stop, answered) = (self.stop.clone(), self.answered.clone());
        let failures = self.failures.clone();
        self.clients.push(std::thread::spawn(move || {
            while !stop.load(SeqCst) {
                match ask() {
                    Ok(200) => drop(answered.fetch_add(1, SeqCst)),
                    other => {
                        failures.lock().push(format!("{other:?}"));
                        return;
                    }
                }
            }
        }));
    }

    /// What was not 200.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().clone()
    }

    /// Ends; gives requests per second.
    pub fn end(self) -> u64 {
        let seconds = self.since.elapsed().as_secs_f64();
        self.stop.store(true, SeqCst);
        for client in self.clients {
            client.join().expect("no client panics");
        }
        (self.answered.load(SeqCst) as f64 / seconds) as u64
    }
}
