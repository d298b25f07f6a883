"""httpx over HTTP/1 and HTTP/2: what Python services call with."""

import asyncio
import hashlib

import httpx

import pattern
from checks import check, expect, expect_that, wait_for

# How each version is asked for; the second is HTTP/2 with prior knowledge.
VERSIONS = (("HTTP/1.1", {"http1": True}), ("HTTP/2", {"http1": False, "http2": True}))


def client(options, **more):
    return httpx.Client(timeout=30, trust_env=False, **options, **more)


@check("httpx: GET and POST, the version that was asked for")
def simple(stage):
    for version, options in VERSIONS:
        with client(options) as made:
            answer = made.get(stage.url("/headers"), params={"a": "b c"})
            expect("version", answer.http_version, version)
            expect("target", answer.json()["target"], "/headers?a=b+c")
            seen = made.post(stage.url("/echo"), json={"a": [1, 2, 3]}).json()
            expect("type", seen["headers"]["content-type"], "application/json")


@check("httpx: redirects are followed, cookies kept, gzip unpacked")
def conveniences(stage):
    for _, options in VERSIONS:
        with client(options, follow_redirects=True, cookies={"a": "1"}) as made:
            answer = made.get(stage.url("/old"))
            expect("history", [before.status_code for before in answer.history], [301])
            fields = {name.lower(): value for name, value in answer.json()["headers"]}
            expect("cookie", fields.get("cookie"), "a=1")
            expect("text", made.get(stage.url("/zipped")).text[:27], "a text that was compressed\n")


@check("httpx: a stream down piece by piece, as it is made")
def pieces(stage):
    for version, options in VERSIONS:
        name = f"httpx-{version[-1]}"
        with client(options) as made, made.stream("GET", stage.url(f"/two/{name}")) as answer:
            parts = answer.iter_bytes()
            expect("first piece", next(parts), b"one\n")
            stage.go(name)
            expect("second piece", b"".join(parts), b"two\n")


@check("httpx: a stream up from a generator, a stream down by its hash")
def streams(stage):
    size = 20_000_000
    for _, options in VERSIONS:
        for listener in ("FRONT", "THROUGH"):
            with client(options) as made:
                body = pattern.blocks(size)
                seen = made.post(stage.url("/echo", listener), content=body).json()
                expect("hash up", seen["sha256"], pattern.digest(size))
                sha = hashlib.sha256()
                with made.stream("GET", stage.url(f"/bytes/{size}", listener)) as answer:
                    for part in answer.iter_bytes():
                        sha.update(part)
                expect("hash down", sha.hexdigest(), pattern.digest(size))


@check("httpx: a client that loses patience takes its request back, and is served again")
def impatient(stage):
    # Over HTTP/2 httpx says nothing when it loses patience.
    with client({"http1": True}) as made:
        try:
            made.post(stage.url("/hold/httpx-impatient"), content=b"x", timeout=0.3)
            expect_that(False, "a timeout")
        except httpx.ReadTimeout:
            pass
        wait_for("the origin to be told", lambda: stage.story("httpx-impatient")["over"])
        expect("next status", made.get(stage.url("/headers")).status_code, 200)


@check("httpx: five hundred requests at once")
async def at_once(stage):
    for _, options in VERSIONS:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(
            timeout=60, trust_env=False, limits=limits, **options
        ) as made:
            asked = [made.get(stage.url(f"/headers/{n}")) for n in range(500)]
            answers = await asyncio.gather(*asked)
            targets = [answer.json()["target"] for answer in answers]
            expect("targets", targets, [f"/headers/{n}" for n in range(500)])


@check("httpx: a form with files")
def form(stage):
    content = pattern.whole(200_000)
    for _, options in VERSIONS:
        with client(options) as made:
            files = {"file": ("name.bin", content)}
            answer = made.post(stage.url("/echo"), files=files, data={"a": "b"})
            sent = hashlib.sha256(answer.request.read()).hexdigest()
            expect("hash", answer.json()["sha256"], sent)


@check("httpx: connections that end after seven requests cost none of them")
def few_requests(stage):
    # Over HTTP/2 httpx does not get over a GOAWAY; grpcio does.
    with client({"http1": True}) as made:
        for number in range(100):
            answer = made.get(stage.url(f"/headers/{number}", "FEW"))
            expect("target", answer.json()["target"], f"/headers/{number}")
