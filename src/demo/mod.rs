//! Owns the demo: the tutorial's services and their DNS on one machine, and a port to scale them by.

mod control;
mod dns;
mod service;
mod town;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
};

use tokio::net::TcpListener;

pub use control::{ScaleError, scale};
pub use service::Service;
use town::Town;

/// The configuration that the demo runs, with its ports in it.
const CONFIG: &str = include_str!("../../configs/demo.yaml");

/// Where things listen; port 0 lets the system choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The proxy.
    pub proxy: u16,
    /// The proxy's admin port.
    pub admin: u16,
    /// The demo's own control port.
    pub control: u16,
}

/// A town that is up: services, DNS and the control port run on a thread of their own.
#[derive(Debug)]
pub struct Open {
    /// The proxy's configuration, with the ports that things got.
    pub config: String,
    /// Where `understudy demo scale` asks.
    pub control: SocketAddr,
}

/// Why the demo does not come up.
#[derive(Debug, thiserror::Error)]
#[error("the demo's {what} cannot listen on {address}: {error}; is another demo running?")]
pub struct DemoError {
    what: &'static str,
    address: SocketAddr,
    error: io::Error,
}

/// Raises services, DNS and the control port.
///
/// # Errors
///
/// [`DemoError`] for a port that another process has.
pub fn open(ports: Ports) -> Result<Open, DemoError> {
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            match raise(ports).await {
                Ok((open, town, control)) => {
                    let _ = tell.send(Ok(open));
                    control::serve(control, town).await;
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        });
    });
    told.recv().unwrap_or_else(|_| {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let error = io::Error::other("its thread ended");
        Err(DemoError { what: "thread", address, error })
    })
}

async fn raise(ports: Ports) -> Result<(Open, Town, TcpListener), DemoError> {
    let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let fixed = ports.proxy != 0;
    let or_any = |port: u16| if fixed { port } else { 0 };
    let address = loopback(ports.control);
    let control = TcpListener::bind(address).await.map_err(|error| DemoError {
        what: "control port",
        address,
        error,
    })?;
    let address = loopback(or_any(18053));
    let dns = dns::Server::bind(address).await.map_err(|error| DemoError {
        what: "DNS server",
        address,
        error,
    })?;
    let mut town = Town::new(dns.records());
    for (number, port) in [(1, 18081), (2, 18082)] {
        town.found(number, or_any(port)).await?;
    }
    let config = configured(ports, dns.address().port(), town.port(1), town.port(2));
    tokio::task::spawn_local(dns.serve());
    let address = control.local_addr().unwrap_or(loopback(ports.control));
    Ok((Open { config, control: address }, town, control))
}

/// The configuration with other ports in it.
fn configured(ports: Ports, dns: u16, service1: u16, service2: u16) -> String {
    let mut config = CONFIG.to_owned();
    let pairs = [
        (8000, ports.proxy),
        (8001, ports.admin),
        (18053, dns),
        (18081, service1),
        (18082, service2),
    ];
    for (shipped, port) in pairs {
        let (shipped, port) = (format!("port_value: {shipped}}}"), format!("port_value: {port}}}"));
        config = config.replace(&shipped, &port);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_takes_other_ports() {
        let ports = Ports { proxy: 1, admin: 2, control: 3 };
        let config = configured(ports, 4, 5, 6);
        for port in [8000, 8001, 18053, 18081, 18082] {
            assert!(!config.contains(&format!("port_value: {port}}}")), "{port}");
        }
        for port in [1, 2, 4, 5, 6] {
            assert!(config.contains(&format!("port_value: {port}}}")), "{port}");
        }
    }
}
