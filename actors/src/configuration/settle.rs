//! Owns bringing subscriptions up to date: who subscribes to what, which documents are read, what is taken of them.
//!
//! Clusters come first, then their endpoints, then listeners, then their route tables: each may subscribe to the
//! next, and be refused for want of the one before.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs, io,
    path::Path,
    sync::Arc,
};

use super::{store, tally::Tally};
use crate::{
    configured::{Base, Configured},
    plan::{ClusterPlan, Discovery, ListenerPlan, SdsPlan},
    resources::{
        ConfigSource, Document, Kind, Known, ResourcePlan, Resources, ResponseError, Subscription,
        Topic, print_of,
    },
    seams::Understand,
    stats::{Group, Registry, Scope, SslContextStat},
};

/// Bytes of a document at most.
const DOCUMENT_BYTES_MAX: u64 = 256 << 20;

/// What is remembered of documents and counted of subscribers. Kept through a fall.
#[derive(Default)]
pub(super) struct Ledger {
    /// What each file held when it was read last.
    read: RefCell<HashMap<ConfigSource, u64>>,
    tallies: RefCell<BTreeMap<(Topic, String), Arc<Tally>>>,
    contexts: RefCell<Vec<Arc<Group<SslContextStat>>>>,
}

/// Which documents are to be looked at besides those nobody has seen yet.
pub(super) enum Look {
    /// None.
    No,
    /// This one.
    At(ConfigSource),
    /// Those that are others than when they were read last.
    Changed,
}

/// What came of looking.
#[derive(Default)]
pub(super) struct Settled {
    /// Whether anything asks for something else now.
    pub(super) changed: bool,
    /// Secrets that are others now.
    pub(super) secrets: Vec<Topic>,
    /// Documents that were read, and files that secrets name, and what they held.
    read: Vec<(ConfigSource, u64)>,
    verdicts: Vec<Verdict>,
}

/// What is to be counted once it is known whether it can be put in force.
struct Verdict {
    topic: Topic,
    tallies: Vec<Arc<Tally>>,
    version: String,
    hash: u64,
    updated: bool,
    empty: bool,
    refused: Option<String>,
}

/// A pass over all subscriptions.
struct Pass<'a> {
    ledger: &'a Ledger,
    understand: &'a dyn Understand,
    registry: &'a Registry,
    look: Look,
    /// Documents that were read in this pass.
    documents: HashMap<ConfigSource, Option<Document>>,
    /// Those of them that hold something else than when they were read last.
    others: HashSet<ConfigSource>,
    before: &'a Resources,
    after: Resources,
    settled: Settled,
}

impl Ledger {
    /// Brings the subscriptions of `next` up to date.
    pub(super) fn settle(
        &self,
        next: &mut Configured,
        look: Look,
        understand: &dyn Understand,
        registry: &Registry,
    ) -> Settled {
        let Some(base) = next.base.clone() else { return Settled::default() };
        let before = std::mem::take(&mut next.resources);
        let mut pass = Pass {
            ledger: self,
            understand,
            registry,
            look,
            documents: HashMap::new(),
            others: HashSet::new(),
            before: &before,
            after: Resources::new(),
            settled: Settled::default(),
        };
        pass.all(&base);
        let Pass { after, settled, .. } = pass;
        self.tallies.borrow_mut().retain(|(topic, _), _| after.contains_key(topic));
        next.resources = after;
        settled
    }

    /// Counts the contexts that have another secret now.
    pub(super) fn count_contexts(
        &self,
        configured: &Configured,
        secrets: &[Topic],
        registry: &Registry,
    ) {
        if secrets.is_empty() {
            return;
        }
        let plan = configured.plan();
        let listeners = plan.listeners.iter().map(|listener| {
            let scope = Scope::listener(&listener.stat_prefix);
            (scope.within("server_ssl_socket_factory"), &listener.sds)
        });
        let clusters = plan.clusters.iter().map(|cluster| {
            let scope = Scope::cluster(&cluster.stat_name);
            (scope.within("client_ssl_socket_factory"), &cluster.sds)
        });
        let mut held = Vec::new();
        for (scope, subscribed) in listeners.chain(clusters) {
            let is_one = |sds: &&SdsPlan| {
                secrets
                    .iter()
                    .any(|one| one.source == sds.source && one.name.as_ref() == Some(&sds.name))
            };
            let count = subscribed.iter().filter(is_one).count() as u64;
            let contexts = registry.group::<SslContextStat>(scope);
            contexts.add(SslContextStat::SslContextUpdateBySds, count);
            held.push(contexts);
        }
        // A listener makes its own when the first client comes; what was counted before is not to be lost.
        self.contexts.replace(held);
    }

    /// The files that somebody subscribes to, and those that secrets name.
    pub(super) fn sources(configured: &Configured) -> BTreeSet<ConfigSource> {
        let named = configured.resources.values().filter_map(Subscription::secret);
        let named = named.flat_map(|secret| secret.files.iter().map(|(source, _)| source));
        configured.resources.keys().map(|topic| &topic.source).chain(named).cloned().collect()
    }
}

impl Pass<'_> {
    fn all(&mut self, base: &Arc<Base>) {
        let mut known = Known::default();
        known.clusters.extend(base.plan.clusters.iter().map(|cluster| cluster.name.clone()));
        let mut clusters: Vec<Arc<ClusterPlan>> = base.plan.clusters.clone();
        if let Some(source) = &base.clusters_from {
            let topic = Topic { kind: Kind::Cluster, source: source.clone(), name: None };
            self.subscribe(topic.clone(), "", &known, Tally::cds);
            let brought = self.after.get(&topic).into_iter().flat_map(Subscription::clusters);
            clusters.extend(brought.filter(|cluster| !known.clusters.contains(&cluster.name)));
            known.clusters.extend(clusters.iter().map(|cluster| cluster.name.clone()));
        }
        for cluster in &clusters {
            let Discovery::Eds { service_name, source } = &cluster.discovery else { continue };
            let (source, name) = (source.clone(), Some(service_name.clone()));
            let topic = Topic { kind: Kind::Endpoints, source, name };
            let stat_name = &cluster.stat_name;
            self.subscribe(topic, &cluster.name, &known, |all| Tally::eds(all, stat_name));
        }
        let mut listeners: Vec<Arc<ListenerPlan>> = base.plan.listeners.clone();
        if let Some(source) = &base.listeners_from {
            let topic = Topic { kind: Kind::Listener, source: source.clone(), name: None };
            self.subscribe(topic.clone(), "", &known, Tally::lds);
            listeners.extend(self.after.get(&topic).into_iter().flat_map(Subscription::listeners));
        }
        for rds in listeners.iter().flat_map(|listener| &listener.rds) {
            let (source, name) = (rds.source.clone(), Some(rds.name.clone()));
            let topic = Topic { kind: Kind::Routes, source, name };
            let (prefix, name) = (&rds.stat_prefix, &rds.name);
            self.subscribe(topic, prefix, &known, |all| Tally::rds(all, prefix, name));
        }
        let secrets = clusters.iter().flat_map(|cluster| &cluster.sds);
        let secrets = secrets.chain(listeners.iter().flat_map(|listener| &listener.sds));
        for sds in secrets.collect::<BTreeSet<_>>() {
            let (source, name) = (sds.source.clone(), Some(sds.name.clone()));
            let topic = Topic { kind: Kind::Secret, source, name };
            known.secret = sds.wants;
            self.subscribe(topic, "", &known, |all| Tally::sds(all, &sds.name));
        }
        let gone = self.before.keys().any(|topic| !self.after.contains_key(topic));
        self.settled.changed |= gone;
    }

    /// Goes on with a subscription or begins it, and looks at its document where that is called for. Each
    /// subscriber counts for itself.
    fn subscribe(
        &mut self,
        topic: Topic,
        who: &str,
        known: &Known,
        tally: impl Fn(&Registry) -> Tally,
    ) {
        let key = (topic.clone(), who.to_owned());
        let mut tallies = self.ledger.tallies.borrow_mut();
        let new = !tallies.contains_key(&key);
        let tally = tallies.entry(key).or_insert_with(|| Arc::new(tally(self.registry))).clone();
        drop(tallies);
        if let Some(verdict) = self.settled.verdicts.iter_mut().find(|one| one.topic == topic) {
            tally.attempt();
            return verdict.tallies.push(tally);
        }
        let before = self.before.get(&topic);
        let begun = self.after.get(&topic).or(before).cloned();
        let rotated = begun.as_ref().is_some_and(|begun| self.is_rotated(begun));
        if !(new || begun.is_none() || self.is_called_for(&topic.source)) {
            let mut subscription = begun.unwrap_or_default();
            if rotated {
                self.rotate(&topic, &mut subscription, known, &tally);
            }
            self.after.entry(topic).or_insert(subscription);
            return;
        }
        let mut subscription = begun.unwrap_or_default();
        self.settled.changed |= before.is_none();
        self.look_at(&topic, &mut subscription, known, tally);
        self.after.insert(topic, subscription);
    }

    fn is_called_for(&mut self, source: &ConfigSource) -> bool {
        match &self.look {
            Look::No => false,
            Look::At(changed) => changed == source,
            Look::Changed => self.document(source).is_some() && self.others.contains(source),
        }
    }

    /// Whether a file that a secret names is to be looked at.
    fn is_rotated(&mut self, subscription: &Subscription) -> bool {
        let Some(secret) = subscription.secret() else { return false };
        secret.files.iter().any(|(file, _)| self.is_called_for(file))
    }

    /// Takes a secret again whose files are others, though its document is the same.
    ///
    /// Observed: Envoy 1.40 counts that as no update.
    fn rotate(
        &mut self,
        topic: &Topic,
        subscription: &mut Subscription,
        known: &Known,
        tally: &Tally,
    ) {
        let document = self.document(&topic.source);
        if self.others.contains(&topic.source) {
            // The document is another, too, of which we hear next: it is taken then as a whole, and counted.
            return self.settled.read.retain(|(source, _)| *source != topic.source);
        }
        let read = document.map(|document| self.understand.understand(topic.kind, &document));
        // What is wrong with the document was told when it was looked at.
        let Some(Ok(response)) = read else { return };
        let taken = store::take(topic, subscription, &response, known);
        match taken.refused {
            Some(_) => tally.rotation_failed(),
            None => self.took(topic, subscription, &taken.updated),
        }
    }

    /// Takes note of what a subscription has brought.
    fn took(&mut self, topic: &Topic, subscription: &Subscription, updated: &[String]) {
        let Some(secret) = subscription.secret() else { return };
        self.settled.read.extend(secret.files.iter().cloned());
        if !updated.is_empty() {
            self.settled.secrets.push(topic.clone());
            self.settled.changed = true;
        }
    }

    /// Reads a document once in each pass.
    fn document(&mut self, source: &ConfigSource) -> Option<Document> {
        if let Some(known) = self.documents.get(source) {
            return known.clone();
        }
        let path = source.path();
        let read = read(path).map(|text| Document { path: path.clone(), text: text.into() });
        let told =
            |error| tracing::warn!(target: "config", "cannot read {}: {error}", path.display());
        let document: Option<Document> = read.map_err(told).ok();
        if let Some(document) = &document {
            let now = print_of(document.text.as_bytes());
            if self.ledger.read.borrow().get(source) != Some(&now) {
                self.others.insert(source.clone());
            }
            self.settled.read.push((source.clone(), now));
        }
        self.documents.insert(source.clone(), document.clone());
        document
    }

    fn look_at(
        &mut self,
        topic: &Topic,
        subscription: &mut Subscription,
        known: &Known,
        tally: Arc<Tally>,
    ) {
        tally.attempt();
        let Some(document) = self.document(&topic.source) else { return tally.failure() };
        let response = match self.understand.understand(topic.kind, &document) {
            Ok(response) => response,
            Err(why) => {
                let service = topic.kind.service();
                let path = topic.source.path().display();
                let (what, text) = match &why {
                    ResponseError::Unreadable(text) => ("cannot be read", text),
                    ResponseError::Rejected(text) => ("is refused", text),
                };
                tracing::warn!(target: "config", "{service}: {path} {what}, all stays as it was:\n{text}");
                return match why {
                    ResponseError::Unreadable(_) => tally.failure(),
                    ResponseError::Rejected(_) => tally.rejected(),
                };
            }
        };
        let taken = store::take(topic, subscription, &response, known);
        let updated = !taken.updated.is_empty();
        self.took(topic, subscription, &taken.updated);
        self.settled.changed |= updated || !taken.removed.is_empty();
        self.settled.verdicts.push(Verdict {
            topic: topic.clone(),
            tallies: vec![tally],
            version: response.version,
            hash: response.version_hash,
            updated,
            empty: taken.empty,
            refused: taken.refused,
        });
    }
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > DOCUMENT_BYTES_MAX {
        return Err(io::Error::other(format!("more than {DOCUMENT_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path)
}

// === impl Settled ===

impl Settled {
    /// A listener could not be put in force.
    pub(super) fn refuse(&mut self, topic: &Topic, why: String) {
        for verdict in self.verdicts.iter_mut().filter(|verdict| verdict.topic == *topic) {
            verdict.refused = Some(why.clone());
        }
    }

    /// It is in force: what came of it is counted, and what was read need not be read again.
    pub(super) fn commit(&self, ledger: &Ledger) {
        ledger.read.borrow_mut().extend(self.read.iter().cloned());
        for verdict in &self.verdicts {
            let Verdict { topic, version, hash, .. } = verdict;
            if let Some(why) = &verdict.refused {
                let (service, path) = (topic.kind.service(), topic.source.path().display());
                tracing::warn!(target: "config", "{service}: {path} is refused, in part or as a whole: {why}");
                verdict.tallies.iter().for_each(|tally| tally.rejected());
                continue;
            }
            for tally in &verdict.tallies {
                tally.success(version, *hash, verdict.updated);
                if verdict.empty {
                    tally.empty();
                }
            }
        }
    }
}

// === impl Subscription ===

impl Subscription {
    fn clusters(&self) -> impl Iterator<Item = Arc<ClusterPlan>> + '_ {
        self.resources.values().filter_map(|resource| match &resource.plan {
            ResourcePlan::Cluster(plan) => Some(plan.clone()),
            _ => None,
        })
    }

    fn listeners(&self) -> impl Iterator<Item = Arc<ListenerPlan>> + '_ {
        self.resources.values().filter_map(|resource| match &resource.plan {
            ResourcePlan::Listener(plan, _) => Some(plan.clone()),
            _ => None,
        })
    }
}
