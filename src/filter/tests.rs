//! A filter that does what a test tells it, on every hook.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use understudy_actors::plan::Payload;

use super::*;
use crate::stream::{
    BodyError, BodySize, Data, Frame, RequestSource, Reset, ResponseSource, Source,
};

/// What hook of which filter is called, and what is decided there. What is not told is `Continue`.
type Script = Vec<(&'static str, fn() -> Verdict)>;

#[derive(Debug)]
struct Told {
    name: &'static str,
    script: fn() -> Script,
    calls: fn(String),
}

struct Actor {
    name: &'static str,
    script: Script,
    calls: fn(String),
}

thread_local! {
    static CALLS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note(call: String) {
    CALLS.with_borrow_mut(|calls| calls.push(call));
}

fn calls() -> Vec<String> {
    CALLS.take()
}

impl Filter for Told {
    fn hooks(&self) -> Hooks {
        [
            Hooks::REQUEST_HEAD,
            Hooks::REQUEST_DATA,
            Hooks::REQUEST_TRAILERS,
            Hooks::RESPONSE_HEAD,
            Hooks::RESPONSE_DATA,
            Hooks::RESPONSE_TRAILERS,
            Hooks::END,
        ]
        .into_iter()
        .fold(Hooks::default(), Hooks::and)
    }

    fn stream(&self, _: Option<&Payload>) -> Box<dyn StreamFilter> {
        Box::new(Actor { name: self.name, script: (self.script)(), calls: self.calls })
    }
}

impl Actor {
    fn at(&mut self, hook: &'static str, about: &str) -> Verdict {
        (self.calls)(format!("{}.{hook} {about}", self.name).trim_end().to_owned());
        let told = self.script.iter().position(|(own, _)| *own == hook);
        told.map_or(Verdict::Continue, |at| (self.script.remove(at).1)())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl StreamFilter for Actor {
    fn on_request_head(&mut self, _: &mut RequestHead, _: &Seen) -> Verdict {
        self.at("request_head", "")
    }

    fn on_request_held(&mut self, _: &mut RequestHead, body: &mut Vec<u8>, _: &Seen) -> Verdict {
        let verdict = self.at("request_held", &text(body));
        body.make_ascii_uppercase();
        verdict
    }

    fn on_request_data(&mut self, data: &mut Vec<u8>) -> Verdict {
        let verdict = self.at("request_data", &text(data));
        data.push(b'+');
        verdict
    }

    fn on_request_trailers(&mut self, trailers: &mut HeaderBlock) {
        trailers.append_name(b"x-seen-by", self.name.as_bytes());
    }

    fn on_response_head(&mut self, head: &mut ResponseHead, _: &Seen) -> Verdict {
        let status = head.status.to_string();
        self.at("response_head", &status)
    }

    fn on_response_held(&mut self, _: &mut ResponseHead, body: &mut Vec<u8>, _: &Seen) -> Verdict {
        let verdict = self.at("response_held", &text(body));
        body.make_ascii_uppercase();
        verdict
    }

    fn on_response_data(&mut self, data: &mut Vec<u8>) -> Verdict {
        let verdict = self.at("response_data", &text(data));
        data.push(b'-');
        verdict
    }

    fn on_response_trailers(&mut self, trailers: &mut HeaderBlock) {
        trailers.append_name(b"x-seen-by", self.name.as_bytes());
    }

    fn on_end(&mut self, status: u16) {
        self.at("end", &status.to_string());
    }
}

/// A filter's name and script.
type Role = (&'static str, fn() -> Script);

fn chain(scripts: &[Role]) -> Filters {
    let placed = scripts.iter().map(|(name, script)| {
        let told = Told { name, script: *script, calls: note };
        Placed { name: Arc::from(*name), filter: Arc::new(told), disabled: false }
    });
    begin(&placed.collect::<Vec<_>>())
}

fn begin(placed: &[Placed]) -> Filters {
    Filters::begin(placed, |_| None, &seen::fake::dull(), seen::fake::client(), true)
}

/// A stream of parts that are here already, with or without trailers.
struct Parts {
    parts: VecDeque<&'static str>,
    trailers: HeaderBlock,
}

fn parts(parts: &[&'static str]) -> Parts {
    let mut trailers = HeaderBlock::default();
    trailers.append_name(b"x-end", b"1");
    Parts { parts: parts.iter().copied().collect(), trailers }
}

impl Source for Parts {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        Poll::Ready(Ok(match self.parts.pop_front() {
            Some(part) => Frame::Data(Data::Slice(part.as_bytes())),
            None => Frame::Trailers(&self.trailers),
        }))
    }

    fn has_more(&self) -> bool {
        true
    }
}

impl RequestSource for Parts {
    fn received(&self) -> u64 {
        0
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn expects_continue(&self) -> bool {
        true
    }
}

impl ResponseSource for Parts {
    fn poll_head(
        &mut self,
        _: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodySize, Reset>> {
        head.status = 200;
        Poll::Ready(Ok(BodySize::Unknown))
    }
}

/// The rest of a stream: its data, and who has seen the trailers.
async fn rest<S: Source>(source: &mut S) -> Result<(Vec<String>, Vec<String>), BodyError> {
    let (mut data, mut seen) = (Vec::new(), Vec::new());
    loop {
        let more = poll_fn(|cx| {
            source.poll_frame(cx).map_ok(|frame| match frame {
                Frame::Data(part) => {
                    data.push(text(part.as_slice()));
                    true
                }
                Frame::Trailers(trailers) => {
                    let names = trailers.iter().filter(|(name, _)| *name == b"x-seen-by");
                    seen.extend(names.map(|(_, value)| text(value)));
                    false
                }
                Frame::End => false,
            })
        });
        if !more.await? {
            return Ok((data, seen));
        }
    }
}

fn wait_then(verdict: fn() -> Verdict) -> Verdict {
    Verdict::Wait(Box::pin(async move {
        tokio::task::yield_now().await;
        verdict()
    }))
}

fn teapot() -> Verdict {
    Verdict::Reply(LocalReply::new(418, "short and stout", "told"))
}

#[tokio::test]
async fn a_request_passes_the_filters_in_order_and_a_response_against_it() {
    let filters = chain(&[("a", Vec::new), ("b", Vec::new)]);
    let mut inner = parts(&["one", "two"]);
    let mut request = FilteredRequest::new(&mut inner);
    request.pass_by(filters.clone(), false);
    let (data, seen) = rest(&mut request).await.unwrap();
    assert_eq!((data, seen), (vec!["one++".into(), "two++".into()], vec!["a".into(), "b".into()]));
    let mut response = FilteredResponse::new(parts(&["three"]), Some(filters.clone()));
    let mut head = ResponseHead::default();
    poll_fn(|cx| response.poll_head(cx, &mut head, |_| false)).await.unwrap();
    let (data, seen) = rest(&mut response).await.unwrap();
    assert_eq!((data, seen), (vec!["three--".into()], vec!["b".into(), "a".into()]));
    filters.end(200);
    assert_eq!(
        calls(),
        [
            "a.request_data one",
            "b.request_data one+",
            "a.request_data two",
            "b.request_data two+",
            "b.response_head 200",
            "a.response_head 200",
            "b.response_data three",
            "a.response_data three-",
            "a.end 200",
            "b.end 200",
        ]
    );
}

#[tokio::test]
async fn a_filter_may_wait_and_refuse_in_the_midst_of_a_body() {
    let filters = chain(&[
        ("a", || vec![("request_data", || wait_then(|| Verdict::Continue))]),
        ("b", || vec![("request_data", || wait_then(teapot))]),
    ]);
    let mut inner = parts(&["one", "two"]);
    let mut request = FilteredRequest::new(&mut inner);
    request.pass_by(filters.clone(), false);
    assert_eq!(rest(&mut request).await, Err(BodyError::Refused));
    assert_eq!(filters.take_reply().map(|reply| reply.status), Some(418));
    assert_eq!(calls(), ["a.request_data one", "b.request_data one+"]);
}

#[tokio::test]
async fn a_held_body_is_whole_and_passes_by_once_more_as_one_part() {
    let filters = chain(&[("a", Vec::new)]);
    let mut inner = parts(&["one", "two"]);
    let mut request = FilteredRequest::new(&mut inner);
    request.pass_by(filters.clone(), false);
    assert!(request.expects_continue());
    assert_eq!(poll_fn(|cx| request.poll_hold(cx, 6)).await, Ok(true));
    request.show_held(0, &mut RequestHead::default());
    // Trailers follow, so the length is not the body's alone.
    assert_eq!((request.held(), request.expects_continue()), (Some(BodySize::Unknown), false));
    assert_eq!(rest(&mut request).await.unwrap().0, ["ONETWO+"]);
    assert_eq!(calls(), ["a.request_held onetwo", "a.request_data ONETWO"]);

    let mut inner = parts(&["one", "two"]);
    let mut request = FilteredRequest::new(&mut inner);
    request.pass_by(filters, false);
    assert_eq!(poll_fn(|cx| request.poll_hold(cx, 5)).await, Ok(false));
}

#[tokio::test]
async fn a_body_that_is_discarded_is_read_to_its_end_and_there_is_none_after_that() {
    let filters = chain(&[("a", Vec::new)]);
    let mut inner = parts(&["one", "two"]);
    let mut request = FilteredRequest::new(&mut inner);
    request.pass_by(filters, false);
    assert_eq!(poll_fn(|cx| request.poll_discard(cx)).await, Ok(()));
    request.show_held(0, &mut RequestHead::default());
    assert_eq!(request.held(), Some(BodySize::None));
    assert_eq!(calls(), ["a.request_held"]);
    assert!(inner.parts.is_empty());
}

#[tokio::test]
async fn a_response_may_be_held_waited_for_and_replaced() {
    let hold: fn() -> Verdict = || Verdict::Hold { bytes_max: 6 };
    type Case = (fn() -> Script, Result<&'static str, u16>, &'static [&'static str]);
    let cases: [Case; 4] = [
        (
            || vec![("response_head", || Verdict::Hold { bytes_max: 6 })],
            Ok("ONETWO-"),
            &["a.response_head 200", "a.response_held onetwo", "a.response_data ONETWO"],
        ),
        (
            || vec![("response_head", || Verdict::Hold { bytes_max: 5 })],
            Err(500),
            &["a.response_head 200"],
        ),
        (|| vec![("response_head", || wait_then(teapot))], Err(418), &["a.response_head 200"]),
        (
            || {
                let hold = || wait_then(|| Verdict::Hold { bytes_max: 9 });
                vec![("response_head", hold as fn() -> Verdict), ("response_held", teapot)]
            },
            Err(418),
            &["a.response_head 200", "a.response_held onetwo"],
        ),
    ];
    assert!(matches!(hold(), Verdict::Hold { bytes_max: 6 }));
    for (script, expected, called) in cases {
        let filters = chain(&[("a", script)]);
        let mut response = FilteredResponse::new(parts(&["one", "two"]), Some(filters.clone()));
        let mut head = ResponseHead::default();
        match (poll_fn(|cx| response.poll_head(cx, &mut head, |_| false)).await, expected) {
            (Ok(_), Ok(text)) => assert_eq!(rest(&mut response).await.unwrap().0, [text]),
            (Err(Reset::Refused), Err(status)) => {
                assert_eq!(filters.take_reply().map(|reply| reply.status), Some(status));
            }
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
        assert_eq!(calls(), called);
    }
}

#[test]
fn only_declared_hooks_are_called() {
    #[derive(Debug)]
    struct Deaf(Arc<dyn Filter>);
    impl Filter for Deaf {
        fn hooks(&self) -> Hooks {
            Hooks::END
        }
        fn stream(&self, route: Option<&Payload>) -> Box<dyn StreamFilter> {
            self.0.stream(route)
        }
    }
    let told = Arc::new(Told { name: "a", script: Vec::new, calls: note });
    let placed = Placed { name: Arc::from("a"), filter: Arc::new(Deaf(told)), disabled: false };
    let filters = begin(&[placed]);
    filters.request_head(0, &mut RequestHead::default());
    filters.show_reply(&mut ResponseHead::default());
    filters.end(404);
    assert_eq!(calls(), ["a.end 404"]);
}

// The chain is per stream and never leaves its worker.
#[test]
fn a_streams_filters_are_one_pointer() {
    assert_eq!(size_of::<Filters>(), size_of::<Rc<()>>());
}
