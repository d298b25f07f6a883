//! Owns the demo's services: how many instances each has, where they live, and how they leave.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch};

use super::{DemoError, dns::Records, service::Service};

/// Instances of a service at most.
pub(super) const INSTANCES_MAX: usize = 20;

/// How long an instance serves on after DNS has forgotten it: the proxy asks DNS each second, and what it
/// has sent by then must be answered.
const FORGOTTEN: Duration = Duration::from_secs(3);

/// The services, by number.
#[derive(Clone)]
pub(super) struct Town {
    services: Rc<RefCell<BTreeMap<u8, Site>>>,
    records: Records,
}

struct Site {
    port: u16,
    instances: Vec<(Ipv4Addr, watch::Sender<bool>)>,
}

/// Why a service cannot be scaled so.
#[derive(Debug, thiserror::Error)]
pub(super) enum TownError {
    #[error("there is no service {0:?}; there are service1 and service2")]
    Unknown(String),
    #[error("{0} instances are too many; 0 to {INSTANCES_MAX} can be had")]
    TooMany(usize),
    #[error(transparent)]
    Demo(#[from] DemoError),
}

// === impl Town ===

impl Town {
    pub(super) fn new(records: Records) -> Self {
        Self { services: Rc::default(), records }
    }

    /// A service's port.
    pub(super) fn port(&self, number: u8) -> u16 {
        self.services.borrow().get(&number).map_or(0, |site| site.port)
    }

    /// Founds a service with one instance; port 0 lets the system choose.
    pub(super) async fn found(&mut self, number: u8, port: u16) -> Result<(), DemoError> {
        let (ip, listener) = listen(number, 1, port).await?;
        let port = listener.local_addr().map_or(port, |address| address.port());
        self.services.borrow_mut().insert(number, Site { port, instances: Vec::new() });
        self.settle(number, ip, listener);
        self.publish(number);
        Ok(())
    }

    /// Gives a service so many instances. New ones serve before DNS names them; old ones serve on for
    /// a while after DNS has forgotten them.
    pub(super) async fn scale(&self, name: &str, count: usize) -> Result<(), TownError> {
        let number = name.strip_prefix("service").and_then(|number| number.parse::<u8>().ok());
        let number = number.filter(|number| self.services.borrow().contains_key(number));
        let number = number.ok_or_else(|| TownError::Unknown(name.to_owned()))?;
        if count > INSTANCES_MAX {
            return Err(TownError::TooMany(count));
        }
        loop {
            let (port, here) = {
                let services = self.services.borrow();
                let Some(site) = services.get(&number) else { break };
                (site.port, site.instances.len())
            };
            if here < count {
                let instance = u8::try_from(here + 1).unwrap_or(u8::MAX);
                let (ip, listener) = listen(number, instance, port).await?;
                self.settle(number, ip, listener);
            } else if here > count {
                self.dismiss(number);
            } else {
                break;
            }
        }
        self.publish(number);
        Ok(())
    }

    fn settle(&self, number: u8, ip: Ipv4Addr, listener: TcpListener) {
        let (end, ended) = watch::channel(false);
        let [_, _, site, instance] = ip.octets();
        // What a container would be called.
        let hostname =
            format!("{:012x}", 0xa3e4_185a_0000u64 + u64::from(site) * 256 + u64::from(instance));
        let service = Service { name: number.to_string(), hostname, address: ip.to_string() };
        tokio::task::spawn_local(Rc::new(service).accept(listener, ended));
        if let Some(site) = self.services.borrow_mut().get_mut(&number) {
            site.instances.push((ip, end));
        }
    }

    fn dismiss(&self, number: u8) {
        let last =
            self.services.borrow_mut().get_mut(&number).and_then(|site| site.instances.pop());
        if let Some((_, end)) = last {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(FORGOTTEN).await;
                end.send_replace(true);
            });
        }
    }

    fn publish(&self, number: u8) {
        let services = self.services.borrow();
        let addresses = services
            .get(&number)
            .map(|site| site.instances.iter().map(|(ip, _)| *ip).collect::<Vec<_>>());
        self.records.set(&format!("service{number}"), addresses.unwrap_or_default());
    }
}

/// The socket of one instance: each lives on an address of its own. One that left a moment ago may still
/// have it.
async fn listen(number: u8, instance: u8, port: u16) -> Result<(Ipv4Addr, TcpListener), DemoError> {
    let mut ip = Ipv4Addr::new(127, 0, number, instance);
    for spare in 0..4u8 {
        ip = Ipv4Addr::new(127, spare, number, instance);
        let address = SocketAddr::new(IpAddr::V4(ip), port);
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok((ip, listener)),
            Err(error) if spare == 3 => {
                return Err(DemoError { what: "service", address, error });
            }
            Err(_) => {}
        }
    }
    let (address, error) =
        (SocketAddr::new(IpAddr::V4(ip), port), std::io::ErrorKind::AddrInUse.into());
    Err(DemoError { what: "service", address, error })
}
