"""aiohttp: pools, streams both ways, clients that go away."""

import asyncio
import hashlib

import aiohttp

import pattern
from checks import check, expect, expect_that, wait_for_async

TIMEOUT = aiohttp.ClientTimeout(total=60)


def session(**more):
    return aiohttp.ClientSession(timeout=TIMEOUT, **more)


@check("aiohttp: a pool of 100 connections serves 3,000 requests, and is kept")
async def pool(stage):
    before = stage.stat("http.front.downstream_cx_total")
    async with session(connector=aiohttp.TCPConnector(limit=100)) as made:

        async def ask(number):
            async with made.get(stage.url(f"/headers/{number}")) as answer:
                return (await answer.json())["target"]

        targets = await asyncio.gather(*map(ask, range(3000)))
        expect("targets", targets, [f"/headers/{n}" for n in range(3000)])
    opened = stage.stat("http.front.downstream_cx_total") - before
    expect_that(opened <= 100, "no more than 100 connections", opened)
    kept = stage.stat("cluster.origin.upstream_cx_total")
    expect_that(kept <= 1000, "the origin's connections are kept too", kept)


@check("aiohttp: an upload in chunks from a generator")
async def chunked(stage):
    size = 20_000_000

    async def blocks():
        for block in pattern.blocks(size):
            yield block

    async with session() as made:
        for listener in ("FRONT", "THROUGH"):
            async with made.post(stage.url("/echo", listener), data=blocks()) as answer:
                seen = await answer.json()
            expect("hash", seen["sha256"], pattern.digest(size))
            expect("length", seen["headers"].get("content-length"), None)


@check("aiohttp: twenty downloads at once, by their hashes")
async def downloads(stage):
    size = 5_000_000
    async with session() as made:

        async def ask(_):
            sha = hashlib.sha256()
            async with made.get(stage.url(f"/bytes/{size}?length")) as answer:
                expect("length", answer.content_length, size)
                async for part in answer.content.iter_any():
                    sha.update(part)
            return sha.hexdigest()

        expect("hashes", set(await asyncio.gather(*map(ask, range(20)))), {pattern.digest(size)})


@check("aiohttp: body and answer flow at the same time in one exchange")
async def both_ways(stage):
    size = 30_000_000

    async def blocks():
        for block in pattern.blocks(size):
            yield block

    async with session() as made:
        for listener in ("FRONT", "THROUGH"):
            url = stage.url(f"/both/{size}", listener)
            sha, last = hashlib.sha256(), b""
            async with made.post(url, data=blocks()) as answer:
                async for part in answer.content.iter_any():
                    last += part
                    sha.update(last[:-64])
                    last = last[-64:]
            expect("hash down", sha.hexdigest(), pattern.digest(size))
            expect("hash up", last.decode(), pattern.digest(size))


@check("aiohttp: a client that goes away midway is not served on")
async def goes_away(stage):
    async with session() as made:
        for listener in ("FRONT", "THROUGH"):
            name = f"aiohttp-gone-{listener}"
            async with made.get(stage.url(f"/flood/{name}/1000000000", listener)) as answer:
                await answer.content.readexactly(100_000)
                answer.close()
            await is_told(stage, name)


async def is_told(stage, name):
    """The origin is told that nobody waits for it any more."""

    async def over():
        return stage.story(name)["over"]

    await wait_for_async("the origin to be told", over)
    expect("it ended well", stage.story(name)["ended_well"], False)


@check("aiohttp: a client that goes away while nothing comes is not waited for")
async def goes_away_in_a_pause(stage):
    async with session() as made:
        for listener in ("FRONT", "THROUGH"):
            name = f"aiohttp-pause-{listener}"
            async with made.get(stage.url(f"/two/{name}", listener)) as answer:
                expect("first piece", await answer.content.readline(), b"one\n")
                answer.close()
            await is_told(stage, name)


@check("aiohttp: pieces come as they are made")
async def pieces(stage):
    async with session() as made, made.get(stage.url("/two/aiohttp")) as answer:
        expect("first piece", await answer.content.readline(), b"one\n")
        stage.go("aiohttp")
        expect("second piece", await answer.content.read(), b"two\n")


@check("aiohttp: an answer that comes before the body is there")
async def early_answer(stage):
    async with session() as made:

        async def endless():
            for block in pattern.blocks(200_000_000):
                yield block

        try:
            async with made.post(stage.url("/said"), data=endless()) as answer:
                expect("status", answer.status, 200)
        except aiohttp.ClientConnectionError:
            # The connection may be closed while the client still sends.
            pass
        async with made.get(stage.url("/headers")) as answer:
            expect("next status", answer.status, 200)


@check("aiohttp: connections that end after seven requests cost none of a thousand")
async def few_requests(stage):
    async with session(connector=aiohttp.TCPConnector(limit=20)) as made:

        async def ask(number):
            async with made.get(stage.url(f"/headers/{number}", "FEW")) as answer:
                return (await answer.json())["target"]

        targets = await asyncio.gather(*map(ask, range(1000)))
        expect("targets", targets, [f"/headers/{n}" for n in range(1000)])
