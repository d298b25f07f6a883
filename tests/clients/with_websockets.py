"""websockets and aiohttp: tunnels of frames, over HTTP/1 and over HTTP/2."""

import asyncio
import contextlib
import hashlib
import socket

import aiohttp
import h2.events
import h2.settings
import websockets
import websockets.sync.client

import pattern
from bulk import HELD_KIB_MAX
from checks import check, expect, expect_that, wait_for, wait_for_async
from with_h2 import Client

BOTH = ("FRONT", "THROUGH")


KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def url(stage, name, listener="FRONT"):
    return f"ws://127.0.0.1:{stage.ports[listener]}/socket/{name}"


def opened(stage, name, listener="FRONT", **more):
    options = {"max_size": None, "open_timeout": 20, "proxy": None, **more}
    return websockets.sync.client.connect(url(stage, name, listener), **options)


def opened_async(stage, name, listener="FRONT", **more):
    options = {"max_size": None, "open_timeout": 20, "proxy": None, **more}
    return websockets.connect(url(stage, name, listener), **options)


@check("websocket: texts and bytes come back, pings are answered, the close has its code")
def echo(stage):
    for listener in BOTH:
        with opened(stage, "echo", listener) as made:
            for message in ("hello", b"\0\xff", "", "\u00e9" * 70_000):
                made.send(message)
                expect_that(made.recv(20) == message, "the message comes back")
            expect("pong", made.ping(b"are you there").wait(20), True)
            made.send("leave")
            try:
                made.recv(20)
                expect_that(False, "the end")
            except websockets.ConnectionClosed as closed:
                seen = (closed.rcvd.code, closed.rcvd.reason)
                expect("close", seen, (4001, "as you wish"))


@check("websocket: a subprotocol and compression are the origin's to choose")
def negotiated(stage):
    for listener in BOTH:
        with opened(stage, "chosen", listener, subprotocols=["none", "chat"]) as made:
            expect("subprotocol", made.subprotocol, "chat")
            extensions = made.response.headers.get("sec-websocket-extensions", "")
            expect_that("permessage-deflate" in extensions, "compression", extensions)
            text = "again and " * 10_000
            made.send(text)
            expect_that(made.recv(20) == text, "the text comes back")


@check("websocket: messages of 16 MiB, whole and in fragments")
def large(stage):
    message = pattern.whole(16 * 1024 * 1024)
    for listener in BOTH:
        with opened(stage, "large", listener, compression=None) as made:
            made.send(message)
            expect_that(made.recv(60) == message, "the message comes back")
            made.send(pattern.blocks(2_000_000))
            expect_that(made.recv(60) == pattern.whole(2_000_000), "the fragments come back")


@check("websocket: 200 tunnels at once")
async def many(stage):
    for listener in BOTH:
        before = stage.stat("http.front.downstream_cx_upgrades_active")

        async def talk(number):
            async with opened_async(stage, f"many-{number}", listener) as made:
                for turn in range(20):
                    await made.send(f"{number} {turn}")
                    expect("message", await made.recv(), f"{number} {turn}")

        await asyncio.gather(*map(talk, range(200)))

        async def none_left():
            return stage.stat("http.front.downstream_cx_upgrades_active") <= before

        await wait_for_async("the tunnels to be gone", none_left)


@check("websocket: a client that goes away without a word ends its tunnel")
def gone(stage):
    for listener in BOTH:
        name = f"gone-{listener}"
        made = opened(stage, name, listener)
        made.send("hello")
        expect("message", made.recv(20), "hello")
        made.socket.shutdown(socket.SHUT_RDWR)
        wait_for("the origin to be told", lambda: stage.story(name)["over"])
        with contextlib.suppress(websockets.ConnectionClosed, OSError):
            made.close()


@check("websocket: a client that does not read holds the origin back")
def slow_reader(stage):
    for listener in BOTH:
        before, name = stage.resident_kib(), f"slow-{listener}"
        with socket.create_connection(("127.0.0.1", stage.ports[listener]), 30) as client:
            client.sendall(
                f"GET /socket/{name} HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n"
                "upgrade: websocket\r\nsec-websocket-version: 13\r\n"
                f"sec-websocket-key: {KEY}\r\n\r\n".encode()
            )
            head = client.recv(12)
            expect("answer", head, b"HTTP/1.1 101")
            client.sendall(frame("count 1000000000"))
            last = [-1]

            def stands_still():
                """Nothing has moved since the last look."""
                now = stage.story(name)["sent"]
                same = now == last[0] and now > 0
                last[0] = now
                return same

            wait_for("the origin to stand still", stands_still)
            grown = stage.resident_kib() - before
            expect_that(grown <= HELD_KIB_MAX[listener], "memory stays flat", f"{grown} KiB more")
            expect_that(last[0] < 64_000_000, "the origin is held back", last[0])
        wait_for("the origin to be told", lambda: stage.story(name)["over"])


@check("websocket: an upgrade that nobody has enabled is 403, one that the origin declines is its answer")
def declined(stage):
    with socket.create_connection(stage.front, 30) as client:
        client.sendall(
            b"GET /said HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: foo\r\n\r\n"
        )
        expect("not enabled", client.recv(12), b"HTTP/1.1 403")
    with socket.create_connection(stage.front, 30) as client:
        client.sendall(
            b"GET /status/404 HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n"
            b"upgrade: websocket\r\n\r\n"
        )
        expect("declined", client.recv(12), b"HTTP/1.1 404")


@check("websocket: aiohttp's client, 20 MB down a tunnel")
async def with_aiohttp(stage):
    size = 20_000_000
    async with aiohttp.ClientSession() as session:
        for listener in BOTH:
            async with session.ws_connect(url(stage, "aiohttp", listener)) as made:
                await made.send_str(f"count {size}")
                sha, count = hashlib.sha256(), 0
                while count < size:
                    part = await made.receive_bytes(timeout=20)
                    sha.update(part)
                    count += len(part)
                expect("hash", sha.hexdigest(), pattern.digest(size))


def frame(text):
    """A client's frame with a mask of zeros."""
    data = text.encode()
    return bytes([0x81, 0x80 | len(data)]) + b"\0\0\0\0" + data


@check("websocket: over HTTP/2 by extended CONNECT (RFC 8441)")
def over_http2(stage):
    for listener in BOTH:
        name = f"http2-{listener}"
        with Client(stage, listener) as client:
            code = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
            client.until(lambda: client.seen(h2.events.RemoteSettingsChanged))
            expect("the setting", client.h2.remote_settings.get(code), 1)
            # The last one is none of HTTP/2's, but an HTTP/1 origin wants it and nobody else makes it.
            fields = [
                (":protocol", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", KEY),
            ]
            number = client.begin(f"/socket/{name}", "CONNECT", fields, end=False)
            stream = client.streams[number]
            client.until(lambda: stream.status or stream.over())
            expect("status", stream.status, "200")
            for turn in range(10):
                client.send(number, frame(f"turn {turn}"), end=False)
                answer = bytes([0x81, 6]) + f"turn {turn}".encode()
                client.until(lambda: len(stream.body) >= 8 * (turn + 1))
                expect("answer", bytes(stream.body[8 * turn:]), answer)
            expect("another's status", client.get("/headers").status, "200")
            client.h2.reset_stream(number)
            client.flush()
            wait_for("the origin to be told", lambda: stage.story(name)["over"])
