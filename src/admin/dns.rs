//! `/dns` and `/dns/refresh`, ours: what is known of every name that DNS is asked for.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use understudy_actors::{
    Applied, Command,
    names::{Name, NameStatus},
    plan::{ClusterPlan, Discovery},
};

use super::{Answer, Ask, Desk};

/// A name with what is known of it now.
struct Known {
    cluster: Arc<ClusterPlan>,
    name: Arc<Name>,
    status: Arc<NameStatus>,
}

pub(super) fn dns(desk: &Desk, ask: &Ask) -> Answer {
    let known = known(desk, ask);
    if ask.param("format") == Some("json") {
        let names: Vec<Value> = known.iter().map(Known::describe).collect();
        return Answer::json(&json!({ "names": names }));
    }
    let mut out = match known.is_empty() {
        true => "no such name is asked of DNS\n".to_owned(),
        false => String::new(),
    };
    for known in known {
        // Writing to a string cannot fail.
        let _ = known.write(&mut out);
    }
    Answer::text(out)
}

pub(super) fn refresh(_: &Desk, ask: &Ask) -> Result<Command, Answer> {
    let name = ask.param("name").filter(|name| !name.is_empty());
    Ok(Command::RefreshDns(name.map(str::to_owned)))
}

pub(super) fn refreshed(desk: &Desk, ask: &Ask, applied: Applied) -> Answer {
    match applied {
        Applied::Refused(refusal) => Answer::refused(&refusal),
        _ => dns(desk, ask),
    }
}

fn known(desk: &Desk, ask: &Ask) -> Vec<Known> {
    let wanted = |param: &str, own: &str| {
        ask.param(param).is_none_or(|wanted| wanted.is_empty() || wanted == own)
    };
    let directory = desk.view.clusters.read();
    let clusters = directory.slots.iter().flatten().map(|cluster| cluster.read());
    let mut out = Vec::new();
    for cluster in clusters.filter(|cluster| wanted("cluster", &cluster.plan.name)) {
        for name in cluster.names.iter().filter(|name| wanted("name", &name.name)) {
            let (name, status) = (name.clone(), name.status.read());
            out.push(Known { cluster: cluster.plan.clone(), name, status });
        }
    }
    out
}

// === impl Known ===

impl Known {
    /// How long hosts are still held though DNS says that there are none.
    fn held_for(&self) -> Option<Duration> {
        let (Discovery::StrictDns { dns, .. } | Discovery::LogicalDns { dns, .. }) =
            &self.cluster.discovery
        else {
            return None;
        };
        let held = self.status.held_since.zip(dns.hold_stale);
        held.map(|(since, hold)| hold.saturating_sub(since.elapsed()))
    }

    fn next_in(&self) -> Option<Duration> {
        self.status.next_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let (Name { name, port, .. }, status) = (&*self.name, &self.status);
        writeln!(out, "cluster {}, {name}:{port}", self.cluster.name)?;
        let addresses: Vec<_> = status.addresses.iter().map(IpAddr::to_string).collect();
        match (status.answered_at, addresses.is_empty()) {
            (None, _) => writeln!(out, "  no answer yet")?,
            (Some(_), true) => writeln!(out, "  no address")?,
            (Some(_), false) => writeln!(out, "  {}", addresses.join(" "))?,
        }
        let mut times = Vec::new();
        times.extend(status.answered_at.map(|at| format!("answered {} ago", s(at.elapsed()))));
        times.extend(status.ttl.map(|ttl| format!("time to live {}", s(ttl))));
        times.push(match self.next_in() {
            Some(wait) => format!("asked again in {}", s(wait)),
            None => "being asked".to_owned(),
        });
        writeln!(out, "  {}", times.join(", "))?;
        if let Some((at, why)) = &status.last_error {
            let row = match status.failures {
                0 => "before the last answer".to_owned(),
                failures => format!("{failures} since the last answer"),
            };
            writeln!(out, "  last error {} ago, {row}: {why}", s(at.elapsed()))?;
        }
        if let Some(left) = self.held_for() {
            writeln!(out, "  DNS has no address; hosts are held for {} more", s(left))?;
        }
        Ok(())
    }

    fn describe(&self) -> Value {
        let status = &self.status;
        let error = status.last_error.as_ref();
        json!({
            "cluster": self.cluster.name,
            "name": self.name.name,
            "port": self.name.port,
            "addresses": status.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            "ttl_s": status.ttl.map(rounded),
            "age_s": status.answered_at.map(|at| rounded(at.elapsed())),
            "asking": status.next_at.is_none(),
            "next_s": self.next_in().map(rounded),
            "failures": status.failures,
            "last_error": error.map(|(at, why)| json!({"age_s": rounded(at.elapsed()), "why": why})),
            "held_for_s": self.held_for().map(rounded),
        })
    }
}

fn s(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}
