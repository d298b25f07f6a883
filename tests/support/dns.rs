//! Owns a small DNS server over UDP, whose answers a test changes while it runs.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::Mutex;

/// What the server says about a name.
#[derive(Clone, Debug)]
pub enum Said {
    /// These addresses, with a time to live of one second.
    Hosts(Vec<Ipv4Addr>),
    /// SERVFAIL.
    Failure,
    /// NXDOMAIN, as for every name of which nothing was said.
    NoSuchName,
    /// Nothing.
    Silence,
}

/// A DNS server; ends with its drop.
pub struct Dns {
    /// Where it listens.
    pub address: SocketAddr,
    said: Arc<Mutex<HashMap<String, Said>>>,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

// === impl Dns ===

impl Dns {
    /// A server that knows no name yet.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let address = socket.local_addr().expect("the bound address");
        let said: Arc<Mutex<HashMap<String, Said>>> = Arc::default();
        let (asked, stop): (Arc<AtomicUsize>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
        let (table, count, stopped) = (said.clone(), asked.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while !stopped.load(SeqCst) {
                let Ok((length, peer)) = socket.recv_from(&mut question) else { continue };
                count.fetch_add(1, SeqCst);
                if let Some(answer) = answer(&question[..length], &table.lock()) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self { address, said, asked, stop }
    }

    /// Says this about a name from now on.
    pub fn say(&self, name: &str, said: Said) {
        self.said.lock().insert(name.to_owned(), said);
    }

    /// The same for addresses.
    pub fn hosts(&self, name: &str, hosts: &[Ipv4Addr]) {
        self.say(name, Said::Hosts(hosts.to_vec()));
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    /// Lines of a cluster that asks this server.
    pub fn resolver(&self) -> String {
        let port = self.address.port();
        format!(
            "    typed_dns_resolver_config:
      name: cares
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
        resolvers: [{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}]
        query_tries: 1
        query_timeout_seconds: 1
        dns_resolver_options: {{no_default_search_domain: true}}
"
        )
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

/// Source: RFC 1035, section 4.
fn answer(question: &[u8], table: &HashMap<String, Said>) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), 12);
    while let Some(length) = question.get(at).map(|length| usize::from(*length)).filter(|l| *l > 0)
    {
        let label = question.get(at + 1..at + 1 + length)?;
        name =
            [name.as_str(), &String::from_utf8_lossy(label)].join(if at > 12 { "." } else { "" });
        at += 1 + length;
    }
    let kind = question.get(at + 1..at + 3)?;
    let (code, hosts) = match table.get(&name.to_lowercase()).unwrap_or(&Said::NoSuchName) {
        Said::Hosts(hosts) => (0, hosts.as_slice()),
        Said::Failure => (2, &[][..]),
        Said::NoSuchName => (3, &[][..]),
        Said::Silence => return None,
    };
    let hosts = if kind == [0, 1] { hosts } else { &[] };
    let mut out = question.get(..2)?.to_vec();
    out.extend([0x85, 0x80 | code, 0, 1, 0, u8::try_from(hosts.len()).ok()?, 0, 0, 0, 0]);
    out.extend(question.get(12..at + 5)?);
    for host in hosts {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(host.octets());
    }
    Some(out)
}
