//! `/memory`: what the process holds, from the kernel's books.

use std::fs;

use serde_json::json;

use super::{Answer, Ask, Desk};

pub(super) fn memory(_: &Desk, _: &Ask) -> Answer {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split(' ').map(|pages| pages.parse::<u64>().unwrap_or(0));
    let (_, resident, shared) =
        (pages.next(), pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    let (_, _, data) = (pages.next(), pages.next(), pages.next().unwrap_or(0));
    let bytes = |pages: u64| (pages * 4096).to_string();
    let value = json!({
        "allocated": bytes(resident.saturating_sub(shared)),
        "heap_size": bytes(data),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": bytes(resident),
    });
    Answer::json(&value)
}
