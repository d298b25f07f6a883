//! `/clusters/endpoints`, ours: hosts that people add, take away or drain while the proxy runs.

use std::fmt::{self, Write as _};

use tokio::time::Instant;
use understudy_actors::{
    Applied, Command,
    address::Address,
    by_hand::{Changed, Hand, Standing},
    command::EndpointChange,
    snapshot::{ClusterSnapshot, Host},
    stats::HostStat,
};

use super::{Answer, Ask, Desk, clusters::health_flags};

/// The greatest weight of a host. Source: `LbEndpoint.load_balancing_weight`: sums stay below 2^32.
const WEIGHT_MAX: u32 = 1 << 24;

const USAGE: &str = "usage: /clusters/endpoints?cluster=NAME&add=10.0.0.4:80&weight=2&remove=10.0.0.5:80\
    &drain=10.0.0.6:80&ttl=10m; each of add, remove and drain as often as you like\n";

pub(super) fn change(_: &Desk, ask: &Ask) -> Result<Command, Answer> {
    let mut cluster = None;
    let mut changes: Vec<EndpointChange> = Vec::new();
    // The form of the home page sends empty fields along.
    for (name, value) in ask.in_order().into_iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "cluster" => cluster = Some(value),
            "add" => {
                changes.push(EndpointChange::Add { address: address(&name, &value)?, weight: None })
            }
            "remove" => changes.push(EndpointChange::Remove(address(&name, &value)?)),
            "drain" => changes.push(EndpointChange::Drain(address(&name, &value)?)),
            "weight" => match changes.last_mut() {
                Some(EndpointChange::Add { weight, .. }) => *weight = Some(read_weight(&value)?),
                _ => return Err(refuse("weight= follows the add= whose weight it is")),
            },
            "ttl" => {}
            _ => return Err(refuse(&format!("{name}= is nothing that can be changed"))),
        }
    }
    let Some(cluster) = cluster else { return Err(refuse("cluster= is missing")) };
    match changes.is_empty() {
        true => Err(refuse("nothing is to be changed")),
        false => Ok(Command::ChangeEndpoints { cluster, changes, term: ask.term()? }),
    }
}

fn refuse(why: &str) -> Answer {
    Answer::status(400, format!("{why}\n{USAGE}"))
}

fn address(name: &str, text: &str) -> Result<Address, Answer> {
    let address = text.parse::<Address>().ok().filter(|address| address.port() != Some(0));
    address.ok_or_else(|| {
        refuse(&format!(
            "{name}={text} is no address: write IP:PORT, as 10.0.0.4:80 or [fd00::4]:80, or a path, as /run/a.sock"
        ))
    })
}

fn read_weight(text: &str) -> Result<u32, Answer> {
    let weight = text.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
    weight.ok_or_else(|| refuse(&format!("weight={text} is no number from 1 to {WEIGHT_MAX}")))
}

/// The hosts of the cluster as they are now.
pub(super) fn in_force(desk: &Desk, ask: &Ask, applied: Applied) -> Answer {
    if let Applied::Refused(refusal) = applied {
        return Answer::refused(&refusal);
    }
    let named =
        ask.in_order().into_iter().rfind(|(name, value)| name == "cluster" && !value.is_empty());
    let cluster = named.and_then(|(_, name)| desk.view.clusters.read().named(&name).cloned());
    let mut out = String::new();
    if let Some(cluster) = cluster {
        // Writing to a string cannot fail.
        let _ = write(&mut out, &cluster.read());
    }
    Answer::text(out)
}

fn write(out: &mut String, cluster: &ClusterSnapshot) -> fmt::Result {
    let (name, by_hand) = (&cluster.plan.name, &cluster.by_hand);
    let (hosts, draining) = (cluster.hosts.len(), cluster.draining.len());
    writeln!(out, "{name}: {hosts} hosts, {draining} draining")?;
    for host in cluster.hosts.iter().chain(cluster.draining.iter()) {
        let (address, weight) = (&host.address_text, host.weight());
        write!(out, "{address} weight {weight} {}", health_flags(host))?;
        let changed = by_hand.iter().find(|(address, _)| *address == host.address);
        if let Some((_, changed)) = changed {
            write!(out, ", {}{}", said(changed.hand, host), left(&changed))?;
        }
        writeln!(out)?;
    }
    for (address, changed) in by_hand.iter() {
        if changed.hand.standing == Standing::Removed {
            writeln!(out, "{address} is removed by hand{}", left(&changed))?;
        }
    }
    Ok(())
}

fn said(hand: Hand, host: &Host) -> String {
    match hand.standing {
        Standing::Draining => {
            let (requests, connections) =
                (host.stats.sum(HostStat::RqActive), host.stats.sum(HostStat::CxActive));
            format!("drained by hand with {requests} requests and {connections} connections left")
        }
        _ if hand.added => "added by hand".to_owned(),
        _ => "weighed by hand".to_owned(),
    }
}

fn left(changed: &Changed) -> String {
    changed.lease.map_or(String::new(), |(until, _)| {
        let left = until.saturating_duration_since(Instant::now());
        format!(", for {:.1} s more", left.as_secs_f64())
    })
}
