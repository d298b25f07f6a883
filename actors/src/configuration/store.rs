//! Owns taking a response into a subscription: what is new, what stays, what goes, what is refused. A pure function.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use crate::resources::{
    Found, Kind, Known, Refused, Resource, ResourcePlan, Response, Subscription, Topic, Wrong,
};

/// What came of a response.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Resources that are new, or others than before.
    pub(super) updated: Vec<String>,
    /// Resources that are gone.
    pub(super) removed: Vec<String>,
    /// It brought nothing, where one was asked for.
    pub(super) empty: bool,
    /// Why it was refused, wholly or in part, in one line.
    pub(super) refused: Option<String>,
}

/// Takes a response. A resource that is refused stays as it was; the others are in force.
///
/// Observed: Envoy 1.40, for each of the four types from files.
pub(super) fn take(
    topic: &Topic,
    subscription: &mut Subscription,
    response: &Response,
    known: &Known,
) -> Taken {
    match &topic.name {
        None => take_all(topic.kind, subscription, response, known),
        Some(name) => take_one(topic.kind, name, subscription, response, known),
    }
}

fn take_all(
    kind: Kind,
    subscription: &mut Subscription,
    response: &Response,
    known: &Known,
) -> Taken {
    subscription.version.clone_from(&response.version);
    subscription.refused.clear();
    let (mut taken, mut seen) = (Taken::default(), HashSet::new());
    for found in &response.resources {
        let outcome = match seen.insert(found.name.as_str()) {
            true => put(kind, subscription, &response.version, found, known),
            false => Err(twice(kind, &found.name)),
        };
        match outcome {
            Ok(true) => taken.updated.push(found.name.clone()),
            Ok(false) => {}
            Err(wrong) => refuse(kind, subscription, found, &wrong),
        }
    }
    subscription.resources.retain(|name, _| {
        let stays = seen.contains(name.as_str());
        if !stays {
            taken.removed.push(name.clone());
        }
        stays
    });
    taken.refused = refusals(kind, &subscription.refused);
    taken
}

fn take_one(
    kind: Kind,
    name: &str,
    subscription: &mut Subscription,
    response: &Response,
    known: &Known,
) -> Taken {
    subscription.refused.clear();
    let mut taken = Taken::default();
    let found = match response.resources.as_slice() {
        [] if kind == Kind::Secret => {
            taken.refused = Some(format!("Missing SDS resources for {name} in onConfigUpdate()"));
            return taken;
        }
        [] => {
            taken.empty = true;
            subscription.version.clone_from(&response.version);
            return taken;
        }
        [found] if found.name == name => found,
        [other] => {
            taken.refused = Some(stranger(kind, name, &other.name));
            return taken;
        }
        several if kind == Kind::Secret => {
            let count = several.len();
            taken.refused = Some(format!(
                "Unexpected SDS secrets length for {name}, number of added resources {count}, number of removed \
                 resources 0. Expected sum is 1"
            ));
            return taken;
        }
        several => {
            let service = kind.service().to_uppercase();
            let count = several.len();
            taken.refused = Some(format!("Unexpected {service} resource length: {count}"));
            return taken;
        }
    };
    match put(kind, subscription, &response.version, found, known) {
        Ok(updated) => {
            subscription.version.clone_from(&response.version);
            taken.updated.extend(updated.then(|| name.to_owned()));
        }
        Err(wrong) => {
            refuse(kind, subscription, found, &wrong);
            taken.refused = Some(wrong.line);
        }
    }
    taken
}

/// Puts a resource in the place of the one before; says whether that was another.
fn put(
    kind: Kind,
    subscription: &mut Subscription,
    version: &str,
    found: &Found,
    known: &Known,
) -> Result<bool, Wrong> {
    let before = subscription.resources.get(&found.name);
    if before.is_some_and(|before| before.fingerprint == found.fingerprint)
        // A cluster is told of its hosts again: it counts that they are the same. And a secret may name files.
        && !matches!(kind, Kind::Endpoints | Kind::Secret)
    {
        return Ok(false);
    }
    let plan = (found.plan)(known)?;
    if let (ResourcePlan::Secret(now), Some(ResourcePlan::Secret(was))) =
        (&plan, before.map(|before| &before.plan))
        && now.fingerprint == was.fingerprint
        && now.files == was.files
    {
        return Ok(false);
    }
    let resource = Resource {
        version: version.to_owned(),
        updated: SystemTime::now(),
        message: found.message.clone(),
        fingerprint: found.fingerprint,
        plan,
    };
    subscription.resources.insert(found.name.clone(), Arc::new(resource));
    Ok(true)
}

fn refuse(kind: Kind, subscription: &mut Subscription, found: &Found, wrong: &Wrong) {
    tracing::warn!(
        target: "config",
        "{}: {:?} is refused, and stays as it was:\n{}",
        kind.service(), found.name, wrong.told
    );
    subscription.refused.push(Arc::new(Refused {
        name: found.name.clone(),
        message: found.message.clone(),
        at: SystemTime::now(),
        why: wrong.line.clone(),
    }));
}

/// The refusals of a response in one line, in Envoy's words.
pub(super) fn refusals(kind: Kind, refused: &[Arc<Refused>]) -> Option<String> {
    let what = if kind == Kind::Cluster { "cluster(s)" } else { "listener(s)" };
    let all: Vec<_> = refused.iter().map(|one| format!("{}: {}", one.name, one.why)).collect();
    (!all.is_empty()).then(|| format!("Error adding/updating {what} {}", all.join(", ")))
}

fn twice(kind: Kind, name: &str) -> Wrong {
    let what = if kind == Kind::Cluster { "cluster" } else { "listener" };
    let line = format!("duplicate {what} {name} found");
    Wrong { told: line.clone(), line }
}

fn stranger(kind: Kind, expected: &str, name: &str) -> String {
    match kind {
        Kind::Secret => format!("Unexpected SDS secret (expecting {expected}): {name}"),
        Kind::Endpoints => format!("Unexpected EDS cluster (expecting {expected}): {name}"),
        _ => format!("Unexpected RDS configuration (expecting {expected}): {name}"),
    }
}
