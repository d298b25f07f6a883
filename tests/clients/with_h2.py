"""Python's h2: frames as the client wants them."""

import collections
import hashlib
import json
import socket

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

import pattern
from checks import check, expect, expect_that, wait_for


class Stream:
    """What came for one request."""

    def __init__(self):
        self.headers = {}
        self.body = bytearray()
        self.trailers = None
        self.ended = False
        self.reset = None

    @property
    def status(self):
        return self.headers.get(":status")

    def over(self):
        return self.ended or self.reset is not None

    def json(self):
        return json.loads(bytes(self.body))


class Client:
    """One connection. Windows are opened by hand unless `opens` says otherwise."""

    def __init__(self, stage, listener="FRONT", opens=True, window=None):
        address = ("127.0.0.1", stage.ports[listener])
        self.socket = socket.create_connection(address, 30)
        self.socket.settimeout(30)
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.streams = collections.defaultdict(Stream)
        self.events = []
        self.opens = opens
        self.closed = False
        self.authority = f"127.0.0.1:{stage.ports[listener]}"
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.socket.sendall(data)

    def begin(self, path, method="GET", headers=(), end=True):
        """Sends a head; gives back the stream's number."""
        number = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", self.authority)]
        self.h2.send_headers(number, [*pseudo, (":path", path), *headers], end_stream=end)
        self.flush()
        return number

    def send(self, number, data, end=True):
        """Sends a body as the windows allow."""
        data = memoryview(data)
        while True:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room == 0 and data:
                self.read()
                continue
            piece, data = data[:room], data[room:]
            self.h2.send_data(number, piece.tobytes(), end_stream=end and not data)
            self.flush()
            if not data:
                return

    def read(self):
        """Takes what the socket has next."""
        data = self.socket.recv(256 * 1024)
        if not data:
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            self.take(event)
        self.flush()

    def take(self, event):
        self.events.append(event)
        stream = self.streams[getattr(event, "stream_id", None) or 0]
        match event:
            case h2.events.ResponseReceived():
                stream.headers = dict(event.headers)
            case h2.events.DataReceived():
                stream.body += event.data
                if self.opens and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                stream.trailers = dict(event.headers)
            case h2.events.StreamEnded():
                stream.ended = True
            case h2.events.StreamReset():
                stream.reset = event.error_code

    def until(self, condition):
        """Reads until the condition holds or the connection ends."""
        while not condition():
            expect_that(not self.closed, "the connection stays open")
            self.read()

    def finish(self, *numbers):
        """Reads until these streams are over."""
        self.until(lambda: all(self.streams[number].over() for number in numbers))
        return [self.streams[number] for number in numbers]

    def get(self, path, **more):
        return self.finish(self.begin(path, **more))[0]

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@check("h2: a hundred streams at once, each with its own answer")
def concurrent_streams(stage):
    for listener in ("FRONT", "THROUGH"):
        with Client(stage, listener) as client:
            numbers = [client.begin(f"/headers/{n}") for n in range(100)]
            for n, stream in enumerate(client.finish(*numbers)):
                expect("status", stream.status, "200")
                expect("target", stream.json()["target"], f"/headers/{n}")


@check("h2: bodies of a hundred streams, their frames mixed")
def mixed_bodies(stage):
    with Client(stage) as client:
        numbers = [client.begin("/echo", "POST", end=False) for _ in range(100)]
        bodies = [pattern.whole(1000 + 7 * n) for n in range(100)]
        for start in range(0, 2000, 500):
            for number, body in zip(numbers, bodies):
                client.send(number, body[start:start + 500], end=start == 1500)
        for stream, body in zip(client.finish(*numbers), bodies):
            expect("hash", stream.json()["sha256"], hashlib.sha256(body).hexdigest())


@check("h2: the settings are Envoy's")
def settings(stage):
    with Client(stage) as client:
        client.get("/said")
        remote = client.h2.remote_settings
        expect("streams", remote.max_concurrent_streams, 1024)
        expect("window", remote.initial_window_size, 16 * 1024 * 1024)


@check("h2: a client whose window is shut gets 65,535 bytes, and the rest when it opens it")
def flow_control(stage):
    size = 2_000_000
    with Client(stage, opens=False) as client:
        number = client.begin(f"/bytes/{size}")
        stream = client.streams[number]
        client.until(lambda: len(stream.body) == 65_535)
        # The ping's answer comes behind whatever was sent before it.
        client.h2.ping(b"12345678")
        client.flush()
        client.until(lambda: client.seen(h2.events.PingAckReceived))
        expect("bytes", len(stream.body), 65_535)
        client.opens = True
        client.h2.acknowledge_received_data(65_535, number)
        client.flush()
        client.finish(number)
        expect("hash", hashlib.sha256(stream.body).hexdigest(), pattern.digest(size))


@check("h2: a stream whose window is shut does not hold up the others")
def one_shut_window(stage):
    with Client(stage, window=1000) as client:
        client.opens = False
        shut = client.begin("/bytes/50000")
        client.until(lambda: len(client.streams[shut].body) == 1000)
        for _ in range(20):
            stream = client.get("/bytes/900")
            expect("bytes", len(stream.body), 900)
        expect("bytes of the shut one", len(client.streams[shut].body), 1000)
        client.h2.increment_flow_control_window(1_000_000, shut)
        client.h2.increment_flow_control_window(1_000_000)
        client.flush()
        client.finish(shut)
        body = client.streams[shut].body
        expect("hash", hashlib.sha256(body).hexdigest(), pattern.digest(50_000))


@check("h2: a large body up, as the proxy opens its windows")
def upload(stage):
    size = 40_000_000
    for listener in ("FRONT", "THROUGH"):
        with Client(stage, listener) as client:
            number = client.begin("/echo", "POST", end=False)
            for block in pattern.blocks(size):
                client.send(number, block, end=False)
            client.send(number, b"")
            [stream] = client.finish(number)
            expect("hash", stream.json()["sha256"], pattern.digest(size))


@check("h2: a stream that is reset ends at the origin too, and the others go on")
def client_resets(stage):
    for listener in ("FRONT", "THROUGH"):
        name = f"h2-reset-{listener}"
        with Client(stage, listener) as client:
            flood = client.begin(f"/flood/{name}/1000000000")
            client.until(lambda: len(client.streams[flood].body) > 100_000)
            client.h2.reset_stream(flood, h2.errors.ErrorCodes.CANCEL)
            client.flush()
            stream = client.get("/headers")
            expect("another's status", stream.status, "200")
            wait_for("the origin to be told", lambda: stage.story(name)["over"])
            expect("it ended well", stage.story(name)["ended_well"], False)


@check("h2: a stream that is reset in a pause of its answer ends at the origin too")
def client_resets_in_a_pause(stage):
    for listener in ("FRONT", "THROUGH"):
        name = f"h2-pause-{listener}"
        with Client(stage, listener) as client:
            number = client.begin(f"/two/{name}")
            client.until(lambda: client.streams[number].body == b"one\n")
            client.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
            client.flush()
            wait_for("the origin to be told", lambda: stage.story(name)["over"])
            expect("it ended well", stage.story(name)["ended_well"], False)
            expect("the next status", client.get("/said").status, "200")


@check("h2: an upload that is reset midway ends at the origin too")
def client_resets_upload(stage):
    for listener in ("FRONT", "THROUGH"):
        name = f"h2-reset-upload-{listener}"
        with Client(stage, listener) as client:
            number = client.begin(f"/hold/{name}", "POST", end=False)
            client.send(number, b"begun", end=False)
            stage.go(name)
            wait_for("the first bytes", lambda: stage.story(name)["taken"] == 5)
            client.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
            client.flush()
            wait_for("the origin to be told", lambda: stage.story(name)["over"])
            expect("it ended well", stage.story(name)["ended_well"], False)
            expect("the next status", client.get("/said").status, "200")


@check("h2: trailers of a request arrive, and those of an answer come back")
def trailers(stage):
    for listener in ("FRONT", "THROUGH"):
        with Client(stage, listener) as client:
            kind = [("content-type", "application/grpc"), ("te", "trailers")]
            number = client.begin("/clients.Greeter/Echo", "POST", kind, end=False)
            message = b"\0" + (5).to_bytes(4, "big") + b"hello"
            client.send(number, message, end=False)
            client.h2.send_headers(number, [("x-sum", "1")], end_stream=True)
            client.flush()
            [stream] = client.finish(number)
            expect("status", stream.status, "200")
            expect("body", bytes(stream.body), message)
            expect("trailers", (stream.trailers or {}).get("grpc-status"), "0")


@check("h2: HEAD, 204 and 304 end with their heads")
def no_bodies(stage):
    with Client(stage) as client:
        for method, path, status in (
            ("HEAD", "/file", "200"),
            ("GET", "/status/204", "204"),
            ("GET", "/status/304", "304"),
        ):
            stream = client.get(path, method=method)
            expect(path, (stream.status, bytes(stream.body)), (status, b""))


@check("h2: a head over many CONTINUATION frames arrives whole")
def continuation(stage):
    with Client(stage) as client:
        fields = [(f"x-{n:02}", f"{n}" * 300) for n in range(60)]
        stream = client.get("/headers", headers=fields)
        seen = {name.lower(): value for name, value in stream.json()["headers"]}
        expect("fields", [(n, seen.get(n)) for n, _ in fields], fields)


@check("h2: what breaks the protocol resets its stream alone, or is answered")
def malformed(stage):
    broken = (
        [("connection", "close")],
        [("transfer-encoding", "chunked")],
        [("te", "gzip")],
    )
    with Client(stage) as client:
        client.h2.config.validate_outbound_headers = False
        client.h2.config.normalize_outbound_headers = False
        for fields in broken:
            stream = client.get("/headers", headers=fields)
            expect(f"{fields}", stream.reset, h2.errors.ErrorCodes.PROTOCOL_ERROR)
        expect("the next status", client.get("/said").status, "200")


@check("h2: a body that is longer or shorter than its length resets the stream")
def wrong_length(stage):
    with Client(stage) as client:
        for body in (b"toolong", b"a"):
            fields = [("content-length", "3")]
            number = client.begin("/echo", "POST", fields, end=False)
            client.send(number, body)
            [stream] = client.finish(number)
            answered = stream.status not in (None, "400", "502", "503")
            expect_that(not answered, "it is not served", (stream.status, stream.reset))
        expect("the next status", client.get("/said").status, "200")


@check("h2: frames of a kind that nobody knows are passed over")
def unknown_frames(stage):
    with Client(stage) as client:
        client.socket.sendall((4).to_bytes(3, "big") + b"\xfa\x05\0\0\0\0rest")
        client.h2.prioritize(1, weight=10) if hasattr(client.h2, "prioritize") else None
        client.flush()
        expect("status", client.get("/said").status, "200")


@check("h2: ten thousand streams one after the other on one connection")
def many_streams(stage):
    with Client(stage) as client:
        for start in range(0, 10_000, 200):
            numbers = [client.begin("/said") for _ in range(200)]
            statuses = {stream.status for stream in client.finish(*numbers)}
            expect(f"statuses from {start}", statuses, {"200"})
