"""Large bodies both ways at once, and readers that are slow: content by its hash, memory by its bound."""

import concurrent.futures
import hashlib
import http.client
import json
import socket
import time

import pattern
from checks import check, expect, expect_that, wait_for
from with_h2 import Client

MIB = 1024 * 1024

LARGE = 500 * 1000 * 1000

# What the proxy may hold for an exchange that does not move: HTTP/2 to a host has a window of 16 MiB. And what is in
# sockets besides.
HELD_KIB_MAX = {"FRONT": 6 * 1024, "THROUGH": 24 * 1024}
ON_THE_WAY_MAX = 64 * MIB


def download(stage, size):
    connection = http.client.HTTPConnection(*stage.front, timeout=60)
    connection.request("GET", f"/bytes/{size}")
    answer, sha = connection.getresponse(), hashlib.sha256()
    room = memoryview(bytearray(MIB))
    while count := answer.readinto(room):
        sha.update(room[:count])
    connection.close()
    return sha.hexdigest()


def upload(stage, size):
    connection = http.client.HTTPConnection(*stage.front, timeout=60)
    length = {"content-length": str(size)}
    connection.request("POST", "/echo", body=pattern.blocks(size), headers=length)
    seen = json.loads(connection.getresponse().read())
    connection.close()
    return seen["sha256"]


@check("bulk: 500 MB up and 500 MB down at the same time")
def both_ways(stage):
    before = stage.resident_kib()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        down, up = pool.submit(download, stage, LARGE), pool.submit(upload, stage, LARGE)
        expect("hash down", down.result(), pattern.digest(LARGE))
        expect("hash up", up.result(), pattern.digest(LARGE))
    grown = stage.resident_kib() - before
    expect_that(grown <= HELD_KIB_MAX["FRONT"], "memory stays flat", f"{grown} KiB more")
    return f"{grown} KiB more"


def trickle(read, seconds=3):
    """Reads 1 KiB each second: the pace is what is checked, not a wait for something."""
    start = time.monotonic()
    for second in range(1, seconds + 1):
        read(1024)
        time.sleep(max(0, start + second - time.monotonic()))


def held(stage, listener, name, before):
    """How much of a flood is held by the proxy; fails where that is too much."""
    grown, sent = stage.resident_kib() - before, stage.story(name)["sent"]
    expect_that(grown <= HELD_KIB_MAX[listener], "memory stays flat", f"{grown} KiB more")
    expect_that(sent <= ON_THE_WAY_MAX, "the origin is held back", f"{sent} bytes are sent")
    return f"{grown} KiB more, {sent // 1024} KiB on the way"


@check("bulk: a reader of 1 KB/s behind 1 GB, over HTTP/1")
def slow_reader(stage):
    seen = []
    for listener in ("FRONT", "THROUGH"):
        before, name = stage.resident_kib(), f"slow-{listener}"
        with socket.create_connection(("127.0.0.1", stage.ports[listener]), 30) as client:
            path = f"/flood/{name}/1000000000"
            client.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            trickle(client.recv)
            seen.append(held(stage, listener, name, before))
        wait_for("the origin to be told", lambda name=name: stage.story(name)["over"])
    return "; ".join(seen)


@check("bulk: a reader of 1 KB/s behind 1 GB, over HTTP/2")
def slow_reader_http2(stage):
    seen = []
    for listener in ("FRONT", "THROUGH"):
        before, name = stage.resident_kib(), f"slow2-{listener}"
        with Client(stage, listener, opens=False) as client:
            number = client.begin(f"/flood/{name}/1000000000")

            def read(count, client=client, number=number):
                client.h2.increment_flow_control_window(count)
                client.h2.increment_flow_control_window(count, number)
                client.flush()
                client.read()

            trickle(read)
            seen.append(held(stage, listener, name, before))
        wait_for("the origin to be told", lambda name=name: stage.story(name)["over"])
    return "; ".join(seen)


@check("bulk: a hundred readers that do not read")
def no_readers(stage):
    before = stage.resident_kib()
    clients = [socket.create_connection(stage.front, 30) for _ in range(100)]
    for number, client in enumerate(clients):
        path = f"/flood/none-{number}/1000000000"
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        client.recv(1024)
    sent = [0] * len(clients)

    def stands_still():
        """Nothing has moved since the last look."""
        last = list(sent)
        sent[:] = [stage.story(f"none-{number}")["sent"] for number in range(len(clients))]
        return last == sent and all(sent)

    wait_for("all to stand still", stands_still, 60)
    grown = stage.resident_kib() - before
    for client in clients:
        client.close()
    expect_that(grown <= 100 * 256, "at most 256 KiB for each", f"{grown} KiB more")
    wait_for("the origin to be told", lambda: stage.story("none-99")["over"])
    return f"{grown} KiB more"


@check("bulk: an origin that takes nothing holds its client back, and gets all of it in the end")
def slow_origin(stage):
    before, size = stage.resident_kib(), 100_000_000
    with socket.create_connection(stage.front, 30) as client:
        head = f"POST /hold/upload HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n"
        client.sendall(head.encode())
        client.settimeout(1)
        body, sent = pattern.whole(size), 0
        try:
            while sent < size:
                sent += client.send(body[sent:sent + MIB])
        except TimeoutError:
            pass
        grown = stage.resident_kib() - before
        expect_that(sent < ON_THE_WAY_MAX, "the client is held back", f"{sent} bytes are sent")
        expect_that(grown <= HELD_KIB_MAX["FRONT"], "memory stays flat", f"{grown} KiB more")
        stage.go("upload")
        client.settimeout(60)
        client.sendall(body[sent:])
        answer = http.client.HTTPResponse(client)
        answer.begin()
        expect("hash", json.loads(answer.read())["sha256"], pattern.digest(size))
    return f"{grown} KiB more, {sent // 1024} KiB on the way"
