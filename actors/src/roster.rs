//! Owns the company's list: which actors there are, how they fare, and the journal of what happened.
//! Cold: `/actors` reads it, falls and commands write it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use actix::Recipient;
use parking_lot::Mutex;

use crate::supervise::Fall;

/// Entries that the journal keeps.
pub const JOURNAL_ENTRIES_MAX: usize = 1024;

/// Every living actor but connections (those are counted), and the journal.
#[derive(Debug, Default)]
pub struct Roster {
    members: Mutex<Vec<Arc<Member>>>,
    journal: Mutex<VecDeque<Entry>>,
    /// Connections on stage; they come and go too fast to be listed.
    pub connections: AtomicU64,
}

/// One actor on stage.
pub struct Member {
    /// What it is: `Cluster`, `Listener` …
    pub role: &'static str,
    /// Unique: `cluster/service1`, `worker/0/listener/ingress`.
    pub name: String,
    /// Its parent's name; empty for the supervisor.
    pub parent: String,
    /// When it came on stage.
    pub since: SystemTime,
    /// How often it fell and was revived.
    pub restarts: AtomicU64,
    /// How it fares.
    pub state: Mutex<MemberState>,
    drill: Recipient<Fall>,
}

/// How an actor fares.
#[derive(Clone, Debug, Default)]
pub struct MemberState {
    /// Waiting out its back-off after too many falls.
    pub paused: bool,
    /// When it fell last, and why.
    pub last_fall: Option<(SystemTime, String)>,
}

/// One line of the journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: SystemTime,
    /// Who: an actor's name, or who sent the command.
    pub who: String,
    /// What: `fell`, `restarted`, `command`, `applied` …
    pub what: &'static str,
    /// The particulars; for a change what was before and is after.
    pub detail: String,
}

// === impl Roster ===

impl Roster {
    /// Lists an actor until it [leaves](Self::leave); `drill` lets it fall.
    pub(crate) fn enter(
        &self,
        role: &'static str,
        name: String,
        parent: String,
        drill: Recipient<Fall>,
    ) -> Arc<Member> {
        let member = Arc::new(Member {
            role,
            name,
            parent,
            since: SystemTime::now(),
            restarts: AtomicU64::new(0),
            state: Mutex::default(),
            drill,
        });
        self.members.lock().push(member.clone());
        member
    }

    /// Takes an actor off the list.
    pub(crate) fn leave(&self, member: &Arc<Member>) {
        self.members.lock().retain(|known| !Arc::ptr_eq(known, member));
    }

    /// All actors on stage, by name.
    pub fn members(&self) -> Vec<Arc<Member>> {
        let mut list = self.members.lock().clone();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// All actors on stage with their depth: each parent before its children, children by name.
    pub fn tree(&self) -> Vec<(usize, Arc<Member>)> {
        let mut below: BTreeMap<String, Vec<Arc<Member>>> = BTreeMap::new();
        for member in self.members() {
            below.entry(member.parent.clone()).or_default().push(member);
        }
        let mut tree = Vec::new();
        let root = below.remove("").unwrap_or_default();
        let mut next: Vec<_> = root.into_iter().rev().map(|member| (0, member)).collect();
        while let Some((depth, member)) = next.pop() {
            let children = below.remove(&member.name).unwrap_or_default();
            next.extend(children.into_iter().rev().map(|child| (depth + 1, child)));
            tree.push((depth, member));
        }
        // Children whose parent is just leaving.
        tree.extend(below.into_values().flatten().map(|orphan| (0, orphan)));
        tree
    }

    /// The actor of this name.
    pub fn member(&self, name: &str) -> Option<Arc<Member>> {
        self.members.lock().iter().find(|member| member.name == name).cloned()
    }

    /// Writes a line into the journal; the oldest line goes when it is full.
    pub fn note(&self, who: impl Into<String>, what: &'static str, detail: impl Into<String>) {
        let mut journal = self.journal.lock();
        if journal.len() == JOURNAL_ENTRIES_MAX {
            journal.pop_front();
        }
        let (who, detail) = (who.into(), detail.into());
        journal.push_back(Entry { at: SystemTime::now(), who, what, detail });
    }

    /// The journal, oldest first.
    pub fn journal(&self) -> Vec<Entry> {
        self.journal.lock().iter().cloned().collect()
    }
}

// === impl Member ===

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Member {
    /// Lets it fall over its next message.
    pub(crate) fn drill(&self) {
        self.drill.do_send(Fall);
    }

    /// Whether its mailbox takes messages. How many wait in it is not known: actix keeps that to itself, and a
    /// count of our own would cost every message an atomic.
    pub fn is_open(&self) -> bool {
        self.drill.connected()
    }

    /// Notes a fall.
    pub(crate) fn fell(&self, why: String) {
        self.restarts.fetch_add(1, Relaxed);
        self.state.lock().last_fall = Some((SystemTime::now(), why));
    }
}
