//! Owns the flush: gauges of the process, and the end of an interval of every histogram.

use std::{fs, sync::atomic::Ordering::Relaxed};

use super::SettingsSeed;
use crate::stats::ServerStat;

/// What the kernel counts resident memory in.
const PAGE_BYTES: u64 = 4096;

/// Bytes of memory; 0 where the system does not say.
struct Memory {
    resident: u64,
    /// What is not backed by a file: the heap, mostly.
    anonymous: u64,
}

// === impl SettingsSeed ===

impl SettingsSeed {
    pub(super) fn flush(&self) {
        let (stats, state) = (&self.stats, self.server.read());
        let uptime = state.started.elapsed().unwrap_or_default();
        stats.set(ServerStat::Uptime, uptime.as_secs());
        stats.set(ServerStat::State, state.lifecycle() as u64);
        stats.set(ServerStat::TotalConnections, self.roster.connections.load(Relaxed));
        let memory = Memory::read();
        stats.set(ServerStat::MemoryAllocated, memory.anonymous);
        stats.set(ServerStat::MemoryHeapSize, memory.anonymous);
        stats.set(ServerStat::MemoryPhysicalSize, memory.resident);
        self.registry.flush();
    }
}

// === impl Memory ===

impl Memory {
    fn read() -> Self {
        let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let mut fields = text.split(' ').skip(1).map(|pages| pages.parse().unwrap_or(0));
        let mut next = || fields.next().unwrap_or(0_u64).saturating_mul(PAGE_BYTES);
        let (resident, shared) = (next(), next());
        Self { resident, anonymous: resident.saturating_sub(shared) }
    }
}
