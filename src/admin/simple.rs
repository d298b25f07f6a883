//! Endpoints whose answer is a line or two.

use std::fs;

use serde_json::json;
use understudy_actors::server_state::Lifecycle;

use super::{Answer, Ask, Desk, answer::BARE_TEXT};

/// `/ready`: 200 if we serve, else 503; the body says why.
pub(super) fn ready(desk: &Desk, _: &Ask) -> Answer {
    let lifecycle = desk.view.server.read().lifecycle();
    let status = if lifecycle == Lifecycle::Live { 200 } else { 503 };
    Answer::status(status, format!("{}\n", lifecycle.name()))
}

/// `/contention`: no mutex stands in a request's way, and none is traced.
pub(super) fn contention(_: &Desk, _: &Ask) -> Answer {
    Answer::text(
        "Mutex contention tracing is not enabled. To enable, run Envoy with flag --enable-mutex-tracing.",
    )
}

/// `/hot_restart_version`
pub(super) fn hot_restart_version(desk: &Desk, _: &Ask) -> Answer {
    Answer::text(desk.facts.flags.hot_restart_version())
}

/// `/init_dump`: which clusters have not answered yet. Listeners wait for nobody here.
pub(super) fn init_dump(desk: &Desk, ask: &Ask) -> Answer {
    let state = desk.view.server.read();
    let wanted = ask.param("mask").is_none_or(|mask| mask.split(',').any(|one| one == "cluster"));
    if state.unready.is_empty() || !wanted {
        return Answer::json(&json!({}));
    }
    let names: Vec<String> = state.unready.iter().map(|name| format!("Cluster {name}")).collect();
    Answer::json(&json!({"unready_targets_dumps": [
        {"name": "init manager Cluster manager", "target_names": names},
    ]}))
}

/// `/heapprofiler`
pub(super) fn heap_profiler(_: &Desk, _: &Ask) -> Answer {
    Answer::status(501, "The current build does not support heap profiler")
}

/// `/allocprofiler`
pub(super) fn alloc_profiler(_: &Desk, ask: &Ask) -> Answer {
    match ask.param("enable") {
        Some("y" | "n") => {
            Answer::status(501, "The current build does not support allocation profiler")
        }
        _ => Answer::status(400, "?enable=<y|n>\n"),
    }
}

/// `/heap_dump`, `/peak_heap_dump`
pub(super) fn heap_dump(_: &Desk, _: &Ask) -> Answer {
    Answer::status(501, "Heap dump is not supported in current build")
}

/// `/memory/tcmalloc`: the system's allocator is used, so the system says what it knows.
pub(super) fn tcmalloc(_: &Desk, _: &Ask) -> Answer {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut text =
        "The system's allocator is used, not TCMalloc. What the system counts:\n".to_owned();
    let lines = status.lines().filter(|line| line.starts_with("Vm") || line.starts_with("Rss"));
    lines.for_each(|line| text.extend([line, "\n"]));
    Answer { content_type: BARE_TEXT, ..Answer::text(text) }
}

/// `/stats/recentlookups`: no stat is looked up by its name here, so none is ever listed.
pub(super) fn recent_lookups(desk: &Desk, _: &Ask) -> Answer {
    Answer::text(match desk.view.server.read().tracks_lookups {
        true => "   Count Lookup\n\ntotal: 0\n",
        false => {
            "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n\ntotal: 0\n"
        }
    })
}

/// `/stats/recentlookups/clear`
pub(super) fn clear_lookups(_: &Desk, _: &Ask) -> Answer {
    Answer::text("OK\n")
}
