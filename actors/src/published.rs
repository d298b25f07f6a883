//! Owns the one road from the control plane to the data plane: one writer, many readers, no lock.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// The only hand that may change a published value. Not `Clone`: one piece of state, one owner.
#[derive(Debug)]
pub struct Publisher<T> {
    cell: Arc<ArcSwap<T>>,
}

/// A reader's view of a published value; cheap to clone and to send.
#[derive(Debug)]
pub struct Published<T> {
    cell: Arc<ArcSwap<T>>,
}

/// A reader that remembers the last value it saw: about a nanosecond while nothing changes.
///
/// Loading wants `&mut self`, so a worker keeps these and hands the loaded value on.
#[derive(Debug)]
pub struct Cached<T> {
    cache: arc_swap::Cache<Arc<ArcSwap<T>>, Arc<T>>,
}

// === impl Publisher ===

impl<T> Publisher<T> {
    /// Publishes a first value.
    pub fn new(value: T) -> Self {
        Self::from_arc(Arc::new(value))
    }

    /// Publishes a first value that is shared already.
    pub fn from_arc(value: Arc<T>) -> Self {
        Self { cell: Arc::new(ArcSwap::new(value)) }
    }

    /// Replaces the value as a whole; readers see the old or the new one, never a mixture.
    pub fn publish(&self, value: impl Into<Arc<T>>) {
        self.cell.store(value.into());
    }

    /// A reader of this value.
    pub fn subscribe(&self) -> Published<T> {
        Published { cell: self.cell.clone() }
    }

    /// What is published now.
    pub fn read(&self) -> Arc<T> {
        self.cell.load_full()
    }
}

// === impl Published ===

impl<T> Published<T> {
    /// A value that nobody will ever change, for tests and constants.
    pub fn constant(value: T) -> Self {
        Publisher::new(value).subscribe()
    }

    /// What is published now.
    pub fn read(&self) -> Arc<T> {
        self.cell.load_full()
    }

    /// Whether two readers read the same publisher.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }

    /// A reader for a hot path.
    pub fn cached(&self) -> Cached<T> {
        Cached { cache: arc_swap::Cache::new(self.cell.clone()) }
    }
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self { cell: self.cell.clone() }
    }
}

// === impl Cached ===

impl<T> Cached<T> {
    /// The value published last.
    pub fn load(&mut self) -> &Arc<T> {
        self.cache.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_reader_sees_what_was_published_after_it_was_made() {
        let publisher = Publisher::new(1);
        let mut cached = publisher.subscribe().cached();
        assert_eq!(**cached.load(), 1);
        publisher.publish(2);
        assert_eq!(**cached.load(), 2);
        assert_eq!(*publisher.subscribe().read(), 2);
    }
}
