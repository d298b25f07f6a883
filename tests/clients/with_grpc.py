"""grpcio: calls of all four kinds, their deadlines, and their ends."""

import concurrent.futures
import contextlib
import queue
import time

import grpc

import pattern
from checks import check, expect, expect_that
from greeter import OPTIONS

SECONDS = 30


@contextlib.contextmanager
def channel(stage, listener="FRONT", options=()):
    target = f"127.0.0.1:{stage.ports[listener]}"
    # A channel of its own for each check: gRPC would share a connection between equal ones.
    own = [("grpc.use_local_subchannel_pool", 1), *OPTIONS, *options]
    with grpc.insecure_channel(target, own) as made:
        yield made


def unary(made, method, service="Greeter"):
    return made.unary_unary(f"/clients.{service}/{method}")


def failure(call):
    """The error that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call did not fail")


BOTH = ("FRONT", "THROUGH")


@check("grpc: a unary call, its metadata there and back, binary ones too")
def unary_call(stage):
    for listener in BOTH:
        with channel(stage, listener) as made:
            sent = [("x-text", "a b"), ("x-raw-bin", bytes(range(256)))]
            answer, call = unary(made, "Echo").with_call(b"hello", SECONDS, metadata=sent)
            expect("answer", answer, b"hello")
            initial = dict(call.initial_metadata())
            expect("initial", [initial.get(key) for key, _ in sent], [v for _, v in sent])
            trailing = dict(call.trailing_metadata())
            expect("trailing", [trailing.get("t" + key) for key, _ in sent], [v for _, v in sent])


@check("grpc: an error has its status, its message and its trailers")
def error(stage):
    for listener in BOTH:
        with channel(stage, listener) as made:
            text = "no: 100 % \u00e9\u4e16\n!"
            seen = failure(lambda: unary(made, "Refuse")(text.encode(), SECONDS))
            expect("status", seen.code(), grpc.StatusCode.FAILED_PRECONDITION)
            expect("message", seen.details(), text)
            expect("trailer", dict(seen.trailing_metadata()).get("x-why"), "because")


@check("grpc: a thousand messages down")
def server_stream(stage):
    for listener in BOTH:
        with channel(stage, listener) as made:
            messages = list(made.unary_stream("/clients.Greeter/Count")(b"1000", SECONDS))
            expect("messages", messages, [str(n).encode() for n in range(1000)])


@check("grpc: a thousand messages up")
def client_stream(stage):
    for listener in BOTH:
        with channel(stage, listener) as made:
            messages = (b"m" * (n % 100) for n in range(1000))
            answer = made.stream_unary("/clients.Greeter/Add")(messages, SECONDS)
            expect("answer", answer, b"1000 49500")


@check("grpc: two hundred messages, each sent when the one before has come back")
def ping_pong(stage):
    for listener in BOTH:
        with channel(stage, listener) as made:
            outbox = queue.SimpleQueue()
            call = made.stream_stream("/clients.Greeter/Chat")(iter(outbox.get, None), SECONDS)
            for number in range(200):
                outbox.put(str(number).encode())
                expect("answer", next(call), str(number).encode())
            outbox.put(None)
            expect("what is left", list(call), [])
            expect("status", call.code(), grpc.StatusCode.OK)


@check("grpc: a deadline reaches the server, and ends the call when it has passed")
def deadline(stage):
    for listener in BOTH:
        with channel(stage, listener) as made:
            remaining = float(unary(made, "Remaining")(b"", 20))
            # gRPC's own client rounds up: it says 20.1 s, also to a server without a proxy between.
            expect_that(15 < remaining <= 20.1, "the server knows the deadline", remaining)
            name = f"deadline-{listener}".encode()
            call = made.unary_stream("/clients.Greeter/Wait")(name, 0.3)
            seen = failure(lambda: list(call))
            expect("status", seen.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            expect("the server was told", unary(made, "WasCancelled")(name, SECONDS), b"True")


@check("grpc: a call that is cancelled ends at the server")
def cancel(stage):
    for listener in BOTH:
        with channel(stage, listener) as made:
            name = f"cancel-{listener}".encode()
            call = made.unary_stream("/clients.Greeter/Wait")(name, SECONDS)
            expect("first message", next(call), b"begun")
            call.cancel()
            expect("the server was told", unary(made, "WasCancelled")(name, SECONDS), b"True")


@check("grpc: messages of 16 MiB, both ways")
def large(stage):
    message = pattern.whole(16 * 1024 * 1024)
    for listener in BOTH:
        with channel(stage, listener) as made:
            expect_that(unary(made, "Echo")(message, SECONDS) == message, "the message comes back")


@check("grpc: compressed messages")
def compressed(stage):
    with channel(stage) as made:
        message = b"again " * 100_000
        echo = unary(made, "Echo")
        answer = echo(message, SECONDS, compression=grpc.Compression.Gzip)
        expect_that(answer == message, "the message comes back")


@check("grpc: five hundred calls at once on one channel")
def many(stage):
    with channel(stage) as made, concurrent.futures.ThreadPoolExecutor(100) as pool:
        echo = unary(made, "Echo")
        messages = [str(n).encode() for n in range(500)]
        answers = list(pool.map(lambda message: echo(message, SECONDS), messages))
        expect("answers", answers, messages)


@check("grpc: connections that end after seven calls cost none of 200")
def few_calls(stage):
    with channel(stage, "FEW") as made:
        echo = unary(made, "Echo")
        for number in range(200):
            message = str(number).encode()
            expect("answer", echo(message, SECONDS), message)


@check("grpc: a method that nobody has is UNIMPLEMENTED")
def unknown_method(stage):
    with channel(stage) as made:
        seen = failure(lambda: unary(made, "Missing")(b"", SECONDS))
        expect("status", seen.code(), grpc.StatusCode.UNIMPLEMENTED)


@check("grpc: a host that is not there is UNAVAILABLE, with our words")
def unavailable(stage):
    with channel(stage) as made:
        seen = failure(lambda: unary(made, "Echo", "Nobody")(b"", SECONDS))
        expect("status", seen.code(), grpc.StatusCode.UNAVAILABLE)
        expect_that("upstream connect error" in seen.details(), "our words", seen.details())


@check("grpc: keepalive pings are answered")
def keepalive(stage):
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 2000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with channel(stage, options=options) as made:
        outbox = queue.SimpleQueue()
        call = made.stream_stream("/clients.Greeter/Chat")(iter(outbox.get, None), SECONDS)
        outbox.put(b"one")
        expect("answer", next(call), b"one")
        # Longer than it takes for a ping that is not answered to end the channel.
        time.sleep(4)
        outbox.put(b"two")
        expect("answer after the pings", next(call), b"two")
        outbox.put(None)
        expect("what is left", list(call), [])
