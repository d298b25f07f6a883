"""Timeouts and retries as clients see them."""

import hashlib

import grpc

import pattern
from checks import check, expect, expect_that, wait_for
from with_grpc import SECONDS, channel, failure, unary
from with_httpx import VERSIONS, client

# Bodies that are kept for another try are no larger than this.
KEPT_BYTES_MAX = 1024 * 1024


@check("patience: what fails twice is tried again, its body with it")
def tried_again(stage):
    for version, options in VERSIONS:
        for way in ("status", "close"):
            for size in (0, 10, 60_000, 500_000):
                name = f"again-{way}-{size}-{version[-1]}"
                body = pattern.whole(size)
                with client(options) as made:
                    answer = made.put(stage.url(f"/flaky/{way}/{name}/2"), content=body)
                expect(f"status of {name}", answer.status_code, 200)
                digest = hashlib.sha256(body).hexdigest()
                expect(f"answer of {name}", answer.json(), {"tries": 3, "sha256": digest})


@check("patience: a stream whose length nobody knows is tried again if it is small")
def stream_again(stage):
    for version, options in VERSIONS:
        with client(options) as made:
            url = stage.url(f"/flaky/status/stream-{version[-1]}/1")
            answer = made.post(url, content=pattern.blocks(300_000))
            expect("tries", answer.json(), {"tries": 2, "sha256": pattern.digest(300_000)})


@check("patience: what fails too often is told, with the last answer")
def given_up(stage):
    for version, options in VERSIONS:
        name = f"often-{version[-1]}"
        with client(options) as made:
            answer = made.get(stage.url(f"/flaky/status/{name}/99"))
        expect("answer", (answer.status_code, answer.text), (503, "not yet"))
        expect("tries", stage.story(name)["tries"], 4)


@check("patience: a body too large to be kept is tried once")
def too_large(stage):
    with client({"http1": True}) as made:
        body = pattern.whole(4 * KEPT_BYTES_MAX)
        answer = made.post(stage.url("/flaky/status/large/1"), content=body)
    expect("status", answer.status_code, 503)
    expect("tries", stage.story("large")["tries"], 1)


@check("patience: a route's timeout is 504, and ends the request at the origin")
def timeout(stage):
    for version, options in VERSIONS:
        name = f"short-{version[-1]}"
        with client(options) as made:
            answer = made.post(stage.url(f"/hold/{name}"), content=b"x")
            seen = (answer.status_code, answer.text)
            expect("answer", seen, (504, "upstream request timeout"))
            wait_for("the origin to be told", lambda name=name: stage.story(name)["over"])
            expect("the next status", made.get(stage.url("/headers")).status_code, 200)


@check("patience: a gRPC call that is UNAVAILABLE twice is tried again")
def grpc_again(stage):
    with channel(stage) as made:
        for number in range(10):
            answer = unary(made, "Flaky")(f"call {number}".encode(), SECONDS)
            expect("tries", answer, b"3")


@check("patience: a route's timeout ends a gRPC call, also one that has begun to answer")
def grpc_timeout(stage):
    with channel(stage) as made:
        wait = made.unary_stream("/clients.Greeter/WaitBriefly")
        seen = failure(lambda: list(wait(b"short", SECONDS)))
        ended = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
        expect_that(seen.code() in ended, f"one of {ended}", seen.code())
        expect("the server was told", unary(made, "WasCancelled")(b"short", SECONDS), b"True")
