"""Many connections, and many requests in one breath."""

import http.client
import json
import socket

from checks import check, expect, expect_that, wait_for

IDLE = 1000

# In a build without optimisation; a release build needs less.
IDLE_KIB_MAX_EACH = 8


def read_answer(client, method="GET"):
    """One answer from a socket; buffers nothing beyond it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        expect_that(byte, "an answer, not the end of the connection")
        head += byte
    lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    length = 0 if method == "HEAD" else int(fields.get("content-length", 0))
    body = b""
    while len(body) < length:
        body += client.recv(length - len(body))
    return int(lines[0].split()[1]), fields, body


@check("many: a thousand idle connections are kept, cost little, and are served again")
def idle(stage):
    before = stage.resident_kib()
    clients = [socket.create_connection(stage.front, 30) for _ in range(IDLE)]
    ask = b"GET /said HTTP/1.1\r\nhost: a\r\n\r\n"
    for client in clients:
        client.sendall(ask)
        expect("status", read_answer(client)[0], 200)
    active = lambda: stage.stat("http.front.downstream_cx_active")
    wait_for("all to be counted", lambda: active() >= IDLE)
    grown = stage.resident_kib() - before
    expect_that(grown <= IDLE * IDLE_KIB_MAX_EACH, "they cost little", f"{grown} KiB")
    for client in clients:
        client.sendall(ask)
    for client in clients:
        expect("status the second time", read_answer(client)[0], 200)
        client.close()
    wait_for("all to be gone", lambda: active() < IDLE // 10)
    return f"{grown} KiB for {IDLE}"


@check("many: 500 pipelined requests are answered in their order")
def pipelining(stage):
    asked = b"".join(b"GET /headers/%d HTTP/1.1\r\nhost: a\r\n\r\n" % n for n in range(500))
    with socket.create_connection(stage.front, 30) as client:
        client.sendall(asked)
        for number in range(500):
            _, _, body = read_answer(client)
            expect("target", json.loads(body)["target"], f"/headers/{number}")


@check("many: pipelined requests with bodies, without, and HEAD among them")
def mixed_pipeline(stage):
    wire, expected = b"", []
    for number in range(100):
        body = b"b" * (number * 31)
        wire += b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        wire += b"HEAD /headers HTTP/1.1\r\nhost: a\r\n\r\n"
        chunks = b"3\r\nabc\r\n0\r\n\r\n"
        wire += b"PUT /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
        expected += [("POST", len(body)), ("HEAD", None), ("PUT", 3)]
    with socket.create_connection(stage.front, 30) as client:
        # In pieces that cut heads and bodies anywhere.
        for start in range(0, len(wire), 1009):
            client.sendall(wire[start:start + 1009])
        for method, size in expected:
            status, _, body = read_answer(client, method)
            expect("status", status, 200)
            if size is not None:
                expect("size", json.loads(body)["bytes"], size)


@check("many: a pipeline ends with the request that says so")
def pipeline_that_closes(stage):
    one = b"GET /said HTTP/1.1\r\nhost: a\r\n\r\n"
    last = b"GET /said HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    with socket.create_connection(stage.front, 30) as client:
        client.sendall(one + last + one)
        expect("first", read_answer(client)[0], 200)
        status, fields, _ = read_answer(client)
        expect("second", (status, fields.get("connection")), (200, "close"))
        expect("after it", client.recv(1024), b"")


@check("many: a connection that comes byte by byte is served")
def byte_by_byte(stage):
    with socket.create_connection(stage.front, 30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        for byte in wire + b"5\r\nhello\r\n0\r\n\r\n":
            client.sendall(bytes([byte]))
        answer = http.client.HTTPResponse(client)
        answer.begin()
        expect("bytes", json.loads(answer.read())["bytes"], 5)


@check("many: a thousand connections that come and go")
def come_and_go(stage):
    for number in range(1000):
        with socket.create_connection(stage.front, 30) as client:
            if number % 2:
                client.sendall(b"GET /said HTTP/1.1\r\nhost: a\r\n\r\n")
                expect("status", read_answer(client)[0], 200)
    expect("a last status", stage.ask("FRONT", "/said"), "said by the proxy\n")


@check("many: a body that breaks off is not taken for a whole one")
def broken_upload(stage):
    for listener in (stage.front, stage.through):
        for kind, head, body in (
            ("length", b"content-length: 1000\r\n", b"b" * 500),
            ("chunk", b"transfer-encoding: chunked\r\n", b"1f4\r\n" + b"b" * 400),
            ("last", b"transfer-encoding: chunked\r\n", b"1f4\r\n" + b"b" * 500 + b"\r\n"),
            ("end", b"transfer-encoding: chunked\r\n", b"1f4\r\n" + b"b" * 500 + b"\r\n0\r\n"),
        ):
            name = f"broken-{kind}-{listener[1]}"
            stage.go(name)
            with socket.create_connection(listener, 30) as client:
                client.sendall(b"POST /hold/%s HTTP/1.1\r\nhost: a\r\n" % name.encode())
                client.sendall(head + b"\r\n" + body)
                begun = lambda name=name: stage.story(name)["taken"] >= 400
                wait_for(f"the first bytes of {kind}", begun)
            wait_for("the origin to be told", lambda name=name: stage.story(name)["over"])
            expect(f"{kind} ended well", stage.story(name)["ended_well"], False)
