//! Owns noticing that files of discovery are others: one watch for all of them.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashSet},
    rc::Rc,
    time::Duration,
};

use actix::prelude::*;

use crate::{
    resources::ConfigSource,
    supervise::falls,
    watch::{Noticing, Watch},
};

/// How long a watch that cannot be kept rests before it is tried again.
const REST: Duration = Duration::from_secs(1);

/// What the watch keeps through a fall.
pub(crate) struct FilesSeed {
    sources: RefCell<BTreeSet<ConfigSource>>,
    told: Recipient<Noticed>,
}

/// Watches files.
pub(crate) struct Files {
    seed: Rc<FilesSeed>,
    watching: Option<SpawnHandle>,
}

/// Watch these, and no others.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Observe(pub(crate) BTreeSet<ConfigSource>);

/// The end of it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum Noticed {
    /// This was written or moved onto.
    Changed(ConfigSource),
    /// Any may have changed while nobody looked.
    Unsure,
}

// === impl FilesSeed ===

impl FilesSeed {
    pub(crate) fn new(told: Recipient<Noticed>) -> Self {
        Self { sources: RefCell::default(), told }
    }

    /// Watches until that is no longer possible.
    async fn watch(&self) -> std::io::Result<()> {
        let sources: Vec<ConfigSource> = self.sources.borrow().iter().cloned().collect();
        let paths = sources.iter().map(|ConfigSource::File { path, watched }| match watched {
            Some(folder) => (folder.as_path(), Noticing::MovesWithin),
            None => (path.as_path(), Noticing::MovesAndWrites),
        });
        let mut watch = Watch::on(paths)?;
        self.told.do_send(Noticed::Unsure);
        loop {
            let noticed: HashSet<usize> = watch.noticed().await?;
            for source in sources.iter().enumerate().filter(|(at, _)| noticed.contains(at)) {
                self.told.do_send(Noticed::Changed(source.1.clone()));
            }
        }
    }
}

// === impl Files ===

impl Files {
    pub(crate) fn new(seed: Rc<FilesSeed>) -> Self {
        Self { seed, watching: None }
    }

    /// Watches what there is to watch; where that fails, again and again.
    fn watch(&mut self, ctx: &mut Context<Self>) {
        if let Some(before) = self.watching.take() {
            ctx.cancel_future(before);
        }
        if self.seed.sources.borrow().is_empty() {
            return;
        }
        let seed = self.seed.clone();
        let watching = async move {
            let mut told = false;
            loop {
                let ended = seed.watch().await;
                if let Some(error) = ended.err().filter(|_| !told) {
                    let what = "files of discovery cannot be watched, and are looked at each";
                    tracing::warn!(target: "config", "{what} {REST:?}: {error}");
                }
                told = true;
                tokio::time::sleep(REST).await;
                seed.told.do_send(Noticed::Unsure);
            }
        };
        self.watching = Some(ctx.spawn(watching.into_actor(self)));
    }
}

impl Actor for Files {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.watch(ctx);
    }
}

impl Supervised for Files {
    /// What it watches is in its seed; what it missed is looked for.
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(Files);

impl Handler<Observe> for Files {
    type Result = ();

    fn handle(&mut self, Observe(sources): Observe, ctx: &mut Context<Self>) {
        if *self.seed.sources.borrow() != sources {
            self.seed.sources.replace(sources);
            self.watch(ctx);
        }
    }
}
