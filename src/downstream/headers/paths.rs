//! Owns making a request's path the one form of it, before anybody looks at it.

use understudy_actors::{
    runtime::{Runtime, Share},
    stats::HttpStat,
};

use super::is_grpc;
use crate::{
    admission::Inadmissible,
    codec::{Known, RequestHead},
    config::model::paths::PathOptions,
    downstream::manager::Manager,
    local_reply::LocalReply,
    path::{self, EscapedSlashes, Outcome, Rules},
};

/// The rules in force: what the configuration leaves open, the runtime says once, when the listener
/// comes to be. `None` for rules that change nothing.
///
/// Observed: Envoy 1.40, `http_connection_manager.*`.
pub fn path_rules(options: PathOptions, runtime: &Runtime) -> Option<Rules> {
    let share = |numerator| Share { numerator, denominator: 100 };
    let enabled = |name: &str, default| {
        let key = format!("http_connection_manager.{name}");
        runtime.enabled(&key, share(default), fastrand::u64(..))
    };
    let number = runtime.integer("http_connection_manager.path_with_escaped_slashes_action", 0);
    let escaped_slashes = options.escaped_slashes.unwrap_or(match number {
        2 => EscapedSlashes::Refuse,
        3 => EscapedSlashes::Redirect,
        4 => EscapedSlashes::Forward,
        _ => EscapedSlashes::Keep,
    });
    let heeded = enabled("path_with_escaped_slashes_action_enabled", 100);
    let rules = Rules {
        escaped_slashes: if heeded { escaped_slashes } else { EscapedSlashes::Keep },
        normalize: options.normalize.unwrap_or_else(|| enabled("normalize_path", 0)),
        merge_slashes: options.merge_slashes,
    };
    (rules != Rules::default()).then_some(rules)
}

/// Makes the path the one form of it.
///
/// # Errors
///
/// The reply for a path that has none, or to a client that is to ask for another.
pub(super) fn normalize(
    head: &mut RequestHead,
    rules: &Rules,
    manager: &Manager,
) -> Result<(), LocalReply> {
    let redirected = match path::apply(head.path(), rules) {
        Outcome::Target(std::borrow::Cow::Borrowed(_)) => return Ok(()),
        Outcome::Target(std::borrow::Cow::Owned(target)) => {
            head.set_path(&target);
            return Ok(());
        }
        // No gRPC client follows. Observed: Envoy 1.40.
        Outcome::Redirect(target) if !is_grpc(head) => target,
        Outcome::Redirect(_) | Outcome::Refused => {
            manager.stats().inc(HttpStat::DownstreamRqFailedPathNormalization);
            return Err(Inadmissible::BadPath.reply());
        }
    };
    manager.stats().inc(HttpStat::DownstreamRqRedirectedWithNormalizedPath);
    let reply = LocalReply::new(307, "", "path_normalization_failed");
    Err(LocalReply { headers: vec![(Known::Location, redirected)], ..reply })
}

#[cfg(test)]
mod tests {
    use understudy_actors::runtime::{RuntimeLayer, RuntimeValue};

    use super::*;

    #[test]
    fn what_the_file_leaves_open_the_runtime_decides() {
        use EscapedSlashes as E;
        let open = PathOptions::default();
        let shut = PathOptions { normalize: Some(false), escaped_slashes: Some(E::Keep), ..open };
        let refuse = PathOptions { escaped_slashes: Some(E::Refuse), ..open };
        let rules =
            |escaped_slashes, normalize| Rules { escaped_slashes, normalize, ..Rules::default() };
        for (options, keys, expected) in [
            (open, &[][..], None),
            (open, &[("normalize_path", "100")], Some(rules(E::Keep, true))),
            (open, &[("normalize_path", "true")], None),
            (shut, &[("normalize_path", "100"), ("path_with_escaped_slashes_action", "4")], None),
            (open, &[("path_with_escaped_slashes_action", "2")], Some(rules(E::Refuse, false))),
            (open, &[("path_with_escaped_slashes_action", "9")], None),
            (refuse, &[], Some(rules(E::Refuse, false))),
            (refuse, &[("path_with_escaped_slashes_action_enabled", "0")], None),
        ] {
            let entry = |(name, text): &(&str, &str)| {
                (format!("http_connection_manager.{name}"), RuntimeValue::parse(text))
            };
            let entries = keys.iter().map(entry).collect();
            let layer = RuntimeLayer { name: "a".to_owned(), admin: false, entries };
            let runtime = Runtime::new(vec![layer]);
            assert_eq!(path_rules(options, &runtime), expected, "{options:?} {keys:?}");
        }
    }
}
