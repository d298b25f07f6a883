//! Owns the tests of settings: what is set, for how long, and what a fall leaves of it.

use std::time::Duration;

use super::*;
use crate::{
    plan::LayerSource,
    runtime::RuntimeValue,
    supervise::{Cast, Fall, supervise},
};

fn settings() -> (Addr<Settings>, Rc<SettingsSeed>) {
    let (registry, roster) = (Arc::new(Registry::new(1)), Arc::new(Roster::default()));
    let levels = LogLevels::all(&["upstream", "admin"], LogLevel::Info);
    let seed = Rc::new(SettingsSeed::new(registry, roster.clone(), levels, SystemTime::now()));
    let (role, name, parent) = ("Settings", "settings".to_owned(), String::new());
    let cast = Cast { roster, role, name, parent, reports: Arc::new(|_| {}) };
    let own = seed.clone();
    (supervise(cast, move |_| Settings::new(own)), seed)
}

fn layers(key: &str, value: &str) -> Vec<LayerPlan> {
    let values = [(key.to_owned(), RuntimeValue::parse(value))];
    let layer = |name: &str, source| LayerPlan { name: name.to_owned(), source };
    vec![layer("static", LayerSource::Static(values.into())), layer("admin", LayerSource::Admin)]
}

fn pair(key: &str, value: &str) -> Setting {
    Setting::Runtime(vec![(key.to_owned(), value.to_owned())])
}

fn lasting(setting: Setting) -> Set {
    Set(setting, Term::Lasting)
}

fn seconds(seconds: u64, setting: Setting) -> Set {
    Set(setting, Term::For(Duration::from_secs(seconds)))
}

fn level(logger: &str, level: LogLevel) -> Setting {
    Setting::LogLevels(vec![LogLevelChange::One(logger.to_owned(), level)])
}

#[actix::test]
async fn a_fall_loses_no_override_no_log_level_and_no_state_of_health() {
    let (settings, seed) = settings();
    let replan = Replan { layers: layers("a", "1"), flush: StatsFlush::default() };
    settings.send(replan.clone()).await.unwrap();
    for set in [pair("a", "2"), level("admin", LogLevel::Debug), Setting::HealthFailed(true)] {
        assert_eq!(settings.send(lasting(set)).await.unwrap(), Applied::Done);
    }
    settings.do_send(Fall);
    // The supervisor says its plan again after its own falls; that must not undo an override.
    settings.send(replan).await.unwrap();
    assert_eq!(seed.runtime.read().integer("a", 0), 2);
    assert_eq!(seed.log_levels.read().level("admin"), Some(LogLevel::Debug));
    assert_eq!(seed.server.read().lifecycle(), Lifecycle::Draining);
    assert_eq!(seed.stats.sum(ServerStat::Live), 0);

    settings.send(lasting(pair("a", ""))).await.unwrap();
    assert_eq!(seed.runtime.read().integer("a", 0), 1);
}

#[actix::test]
async fn another_plan_keeps_overrides_and_brings_its_own_layers() {
    let (settings, seed) = settings();
    let refused = settings.send(lasting(pair("a", "2"))).await.unwrap();
    assert_eq!(refused, Applied::Refused(Refusal::NoAdminLayer));
    let replan = |layers| Replan { layers, flush: StatsFlush::default() };
    settings.send(replan(layers("a", "1"))).await.unwrap();
    settings.send(lasting(pair("a", "2"))).await.unwrap();
    settings.send(replan(layers("b", "3"))).await.unwrap();
    let runtime = seed.runtime.read();
    assert_eq!((runtime.integer("a", 0), runtime.integer("b", 0)), (2, 3));
}

#[actix::test]
async fn one_unknown_logger_leaves_all_levels_as_they_were() {
    let (settings, seed) = settings();
    let changes = vec![
        LogLevelChange::All(LogLevel::Trace),
        LogLevelChange::One("nobody".to_owned(), LogLevel::Debug),
    ];
    let applied = settings.send(lasting(Setting::LogLevels(changes))).await.unwrap();
    assert_eq!(applied, Applied::Refused(Refusal::UnknownLogger("nobody".to_owned())));
    assert_eq!(seed.log_levels.read().level("admin"), Some(LogLevel::Info));
}

#[actix::test]
async fn the_flush_keeps_the_interval_of_the_plan_through_a_fall() {
    let (settings, seed) = settings();
    tokio::time::pause();
    let flush = StatsFlush::Every(Duration::from_secs(1));
    settings.send(Replan { layers: Vec::new(), flush }).await.unwrap();
    settings.do_send(Fall);
    settings.send(lasting(Setting::HealthFailed(true))).await.unwrap();
    assert_eq!(seed.stats.sum(ServerStat::State), 2);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(seed.stats.sum(ServerStat::State), 1);
}

#[actix::test]
async fn what_is_set_for_a_time_gives_way_by_itself_even_after_a_fall() {
    let (settings, seed) = settings();
    tokio::time::pause();
    let replan = Replan { layers: layers("a", "1"), flush: StatsFlush::default() };
    settings.send(replan).await.unwrap();
    settings.send(lasting(pair("a", "2"))).await.unwrap();
    for set in [
        seconds(10, pair("a", "3")),
        seconds(20, level("admin", LogLevel::Trace)),
        seconds(30, Setting::HealthFailed(true)),
    ] {
        assert_eq!(settings.send(set).await.unwrap(), Applied::Done);
    }
    settings.do_send(Fall);
    let now = || {
        let level = seed.log_levels.read().level("admin");
        (seed.runtime.read().integer("a", 0), level, seed.server.read().health_failed)
    };
    let temporary = || {
        seed.temporary
            .read()
            .iter()
            .map(|t| format!("{} {}", t.what, t.back_to))
            .collect::<Vec<_>>()
    };
    let (trace, info) = (Some(LogLevel::Trace), Some(LogLevel::Info));
    for (wait, expected, left) in [
        (9, (3, trace, true), 3),
        (2, (2, trace, true), 2),
        (10, (2, info, true), 1),
        (10, (2, info, false), 0),
    ] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        assert_eq!(now(), expected, "{wait}");
        assert_eq!(temporary().len(), left, "{:?}", temporary());
    }
    let journal = seed.roster.journal();
    assert_eq!(journal.iter().filter(|entry| entry.what == "time over").count(), 3);
}

#[actix::test]
async fn what_is_set_without_an_end_stays_though_it_was_set_for_a_time_before() {
    let (settings, seed) = settings();
    tokio::time::pause();
    settings.send(seconds(10, level("admin", LogLevel::Trace))).await.unwrap();
    settings.send(lasting(level("admin", LogLevel::Error))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(seed.log_levels.read().level("admin"), Some(LogLevel::Error));
}

#[actix::test]
async fn a_folder_of_values_is_read_again_when_its_link_is_swapped_and_not_when_a_file_is_edited() {
    use std::{fs, os::unix::fs::symlink};

    let folder = std::env::temp_dir().join(format!("understudy-layers-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    for (version, value) in [("one", "1"), ("two", "2")] {
        fs::create_dir_all(folder.join(version).join("values")).unwrap();
        fs::write(folder.join(version).join("values/a"), value).unwrap();
    }
    let root = folder.join("current");
    symlink("one", &root).unwrap();
    let source = LayerSource::Disk { folder: root.join("values"), root: root.clone() };
    let (settings, seed) = settings();
    let layers = vec![
        LayerPlan { name: "disk".to_owned(), source },
        LayerPlan { name: "admin".to_owned(), source: LayerSource::Admin },
    ];
    settings.send(Replan { layers, flush: StatsFlush::default() }).await.unwrap();
    settings.send(lasting(pair("b", "7"))).await.unwrap();
    assert_eq!(seed.runtime.read().integer("a", 0), 1);
    fs::write(folder.join("one/values/a"), "9").unwrap();
    settings.do_send(Fall);
    settings.send(lasting(Setting::HealthFailed(true))).await.unwrap();
    assert_eq!(seed.runtime.read().integer("a", 0), 1, "half a file could have been read");
    symlink("two", folder.join("next")).unwrap();
    fs::rename(folder.join("next"), &root).unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while seed.runtime.read().integer("a", 0) != 2 {
        assert!(std::time::Instant::now() < patience, "the swap was not noticed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(seed.runtime.read().integer("b", 0), 7, "an override was lost");
    fs::remove_dir_all(&folder).unwrap();
}
