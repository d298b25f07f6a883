//! Owns what is done about header names with an underscore in them.

use understudy_actors::stats::{ClusterHttp2Stat, Http1Stat};

use super::serve::Worker;
use crate::{
    codec::{
        HeaderBlock,
        http1::request::{RequestError, bad},
    },
    config::model::paths::Underscores,
};

/// Such a name in a message over HTTP/1.
pub(super) const UNEXPECTED: RequestError = bad("http1.unexpected_underscore");

/// The message is refused for such a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// Does to a head or trailers over HTTP/1 what is to be done, and counts it.
///
/// # Errors
///
/// [`UNEXPECTED`].
#[cold]
pub(super) fn check_http1(
    block: &mut HeaderBlock,
    action: Underscores,
    worker: &Worker,
) -> Result<(), RequestError> {
    let stats = worker.http1_stats();
    match check(block, action) {
        Ok(dropped) => stats.add(Http1Stat::DroppedHeadersWithUnderscores, dropped),
        Err(Refused) => {
            stats.inc(Http1Stat::RequestsRejectedWithUnderscoresInHeaders);
            return Err(UNEXPECTED);
        }
    }
    Ok(())
}

/// The same over HTTP/2.
///
/// # Errors
///
/// [`Refused`]: the stream is to be reset.
#[cold]
pub(super) fn check_http2(
    block: &mut HeaderBlock,
    action: Underscores,
    worker: &Worker,
) -> Result<(), Refused> {
    let (stats, checked) = (worker.http2_stats(), check(block, action));
    match checked {
        Ok(dropped) => stats.add(ClusterHttp2Stat::DroppedHeadersWithUnderscores, dropped),
        Err(Refused) => stats.inc(ClusterHttp2Stat::RequestsRejectedWithUnderscoresInHeaders),
    }
    checked.map(|_| ())
}

/// Leaves out what is to be left out; gives back how many.
fn check(block: &mut HeaderBlock, action: Underscores) -> Result<u64, Refused> {
    let underscored = |name: &[u8]| name.contains(&b'_');
    match action {
        Underscores::Allow => Ok(0),
        Underscores::Drop => Ok(block.remove_others(underscored) as u64),
        Underscores::Reject => match block.iter().any(|(name, _)| underscored(name)) {
            true => Err(Refused),
            false => Ok(0),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Known;

    #[test]
    fn names_with_an_underscore_are_taken_left_out_or_refused() {
        let names = |block: &HeaderBlock| {
            block.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
        };
        let mut block = HeaderBlock::default();
        for name in ["x_a", "te", "_", "content_length", "x-b"] {
            block.append_name(name.as_bytes(), b"1");
        }
        assert_eq!(check(&mut block, Underscores::Allow), Ok(0));
        assert_eq!(check(&mut block, Underscores::Reject), Err(Refused));
        assert_eq!(check(&mut block, Underscores::Drop), Ok(3));
        let left: Vec<String> = names(&block);
        assert_eq!(left, ["te", "x-b"]);
        assert_eq!(check(&mut block, Underscores::Reject), Ok(0));
        assert!(Known::ALL.iter().all(|known| !known.name().contains('_')));
    }
}
