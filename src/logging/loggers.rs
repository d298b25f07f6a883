//! Owns the loggers: Envoy's names, the levels they begin with, and who of ours writes as whom.

use understudy_actors::{
    command::{LogLevel, LogLevelChange},
    log_levels::LogLevels,
};

/// All loggers, in the order `/logging` prints them. Observed: Envoy 1.40 `POST /logging`.
pub const LOGGERS: [&str; 73] = [
    "a2a",
    "admin",
    "ai_protocol_manager",
    "alternate_protocols_cache",
    "aws",
    "assert",
    "backtrace",
    "basic_auth",
    "cache_filter",
    "client",
    "config",
    "connection",
    "conn_handler",
    "compression",
    "credential_injector",
    "decompression",
    "dns",
    "dubbo",
    "envoy_bug",
    "ext_authz",
    "ext_proc",
    "rocketmq",
    "file",
    "filter",
    "forward_proxy",
    "geolocation",
    "grpc",
    "happy_eyeballs",
    "hc",
    "health_checker",
    "http",
    "http2",
    "hystrix",
    "init",
    "io",
    "jwt",
    "json_rpc",
    "kafka",
    "key_value_store",
    "lua",
    "local_rate_limit",
    "main",
    "matcher",
    "mcp",
    "misc",
    "mongo",
    "multi_connection",
    "notification",
    "oauth2",
    "quic",
    "quic_stream",
    "pool",
    "rate_limit_quota",
    "rbac",
    "rds",
    "redis",
    "router",
    "runtime",
    "stats",
    "secret",
    "sse",
    "tap",
    "testing",
    "thrift",
    "tracing",
    "upstream",
    "udp",
    "wasm",
    "websocket",
    "golang",
    "stats_sinks",
    "dynamic_modules",
    "ip_tagging",
];

/// Who writes under a module's path when an event names no logger.
const MODULES: [(&str, &str); 14] = [
    ("understudy::access_log", "file"),
    ("understudy::admin", "admin"),
    ("understudy::codec", "http"),
    ("understudy::config", "config"),
    ("understudy::discovery", "dns"),
    ("understudy::downstream", "http"),
    ("understudy::filter", "filter"),
    ("understudy::route", "router"),
    ("understudy::upstream", "upstream"),
    ("understudy", "main"),
    // Libraries, told apart from ourselves: see `is_ours`.
    ("h2", "http2"),
    ("hyper", "http"),
    ("hickory", "dns"),
    ("actix", "main"),
];

/// The logger that speaks for everybody else.
const OTHERS: &str = "misc";

/// Why log levels could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LevelError {
    /// No such level.
    #[error(
        "error: invalid log level specified '{0}'; write one of trace, debug, info, warning, error, critical, off"
    )]
    Level(String),
    /// No such logger.
    #[error("error: invalid component specified '{0}'; POST /logging lists the names{1}")]
    Logger(String, String),
    /// Not `name:level`.
    #[error(
        "error: component log level not correctly specified '{0}'; write upstream:debug,config:trace"
    )]
    Pair(String),
}

/// The position in [`LOGGERS`] of the logger that an event's target belongs to.
pub(super) fn logger_of(target: &str) -> usize {
    let position = |name: &str| LOGGERS.iter().position(|logger| *logger == name);
    position(target)
        .or_else(|| {
            let module = MODULES.iter().find(|(module, _)| is_within(target, module));
            position(module.map_or(OTHERS, |(_, logger)| logger))
        })
        .unwrap_or(0)
}

/// Whether an event is of our own making. What libraries say below a warning is for their authors.
pub(super) fn is_ours(target: &str) -> bool {
    LOGGERS.contains(&target) || target.starts_with("understudy")
}

fn is_within(target: &str, module: &str) -> bool {
    match target.strip_prefix(module) {
        Some(rest) => rest.is_empty() || rest.starts_with(['_', ':']),
        None => false,
    }
}

/// The levels of `--log-level` and `--component-log-level`.
///
/// # Errors
///
/// [`LevelError`] for a level or a logger that is not there.
pub fn levels(level: &str, components: &str) -> Result<LogLevels, LevelError> {
    // The command line alone knows the short form.
    let named =
        |text: &str| if text == "warn" { Some(LogLevel::Warning) } else { LogLevel::parse(text) };
    let read = |text: &str| named(text).ok_or_else(|| LevelError::Level(text.to_owned()));
    let mut levels = LogLevels::all(&LOGGERS, read(level)?);
    for pair in components.split(',').filter(|pair| !pair.is_empty()) {
        let (name, level) =
            pair.split_once(':').ok_or_else(|| LevelError::Pair(pair.to_owned()))?;
        if !levels.set(name, read(level)?) {
            return Err(LevelError::Logger(name.to_owned(), nearest(name)));
        }
    }
    Ok(levels)
}

fn nearest(name: &str) -> String {
    let near = LOGGERS.iter().map(|logger| (strsim::osa_distance(name, logger), logger));
    match near.min() {
        Some((0..=2, logger)) => format!("; did you mean '{logger}'?"),
        _ => String::new(),
    }
}

/// Reads `name1:level1,name2:level2`, the `paths` of `/logging`.
///
/// # Errors
///
/// [`LevelError`]; nothing is taken from a list with a mistake in it.
pub fn changes(paths: &str) -> Result<Vec<LogLevelChange>, LevelError> {
    let mut changes = Vec::new();
    for pair in paths.split(',').filter(|pair| !pair.is_empty()) {
        let (name, level) =
            pair.split_once(':').ok_or_else(|| LevelError::Pair(pair.to_owned()))?;
        let level = LogLevel::parse(level).ok_or_else(|| LevelError::Level(level.to_owned()))?;
        changes.push(LogLevelChange::One(name.to_owned(), level));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_logger() {
        for (target, logger) in [
            ("admin", "admin"),
            ("understudy::route::table", "router"),
            ("understudy_actors::cluster", "main"),
            ("understudy::upstream::pool", "upstream"),
            ("h2::proto", "http2"),
            ("h2o", "misc"),
            ("hyper_util::rt", "http"),
            ("hickory_net::udp", "dns"),
            ("mio", "misc"),
        ] {
            assert_eq!(LOGGERS[logger_of(target)], logger, "{target}");
        }
    }

    #[test]
    fn levels_are_read_as_envoy_reads_them() {
        let read = levels("warning", "upstream:debug,config:trace").unwrap();
        assert_eq!(read.level("upstream"), Some(LogLevel::Debug));
        assert_eq!(read.level("admin"), Some(LogLevel::Warning));
        assert_eq!(levels("loud", ""), Err(LevelError::Level("loud".to_owned())));
        assert_eq!(levels("info", "up"), Err(LevelError::Pair("up".to_owned())));
        let error = levels("info", "upsteam:debug").unwrap_err();
        assert!(error.to_string().ends_with("did you mean 'upstream'?"), "{error}");
    }
}
