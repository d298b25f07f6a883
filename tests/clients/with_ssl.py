"""Python's ssl with certificates of clients: who is let in, what the others hear, sessions that go on."""

import functools
import http.client
import os
import socket
import ssl

import pattern
from certificates import Authority
from checks import check, expect, expect_that, wait_for
from stage import HERE, answers, free_ports

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Secure:
    """A proxy of its own, and who wants to be let in."""

    def __init__(self, stage):
        folder = stage.folder
        self.port, admin = free_ports(2)
        self.authority = Authority(folder, "ca")
        self.authority.issue("server", "secure.test")
        self.friend = self.authority.issue("friend", "friend.test")
        self.expired = self.authority.issue("expired", "friend.test", days=-1)
        self.stranger = Authority(folder, "others").issue("stranger", "friend.test")
        config = (HERE / "secure.yaml").read_text().replace("FOLDER", str(folder))
        for name, port in (
            ("SECURE_ADMIN", admin),
            ("SECURE", self.port),
            ("ORIGIN", stage.ports["ORIGIN"]),
        ):
            config = config.replace(f"port_value: {name}}}", f"port_value: {port}}}")
        path = folder / "secure.yaml"
        path.write_text(config)
        # Two proxies of Envoy share no number.
        words = ("--use-dynamic-base-id",) if "envoy" in os.environ["UNDERSTUDY"] else ()
        proxy = stage.spawn([os.environ["UNDERSTUDY"], "-c", path, *words], "secure")
        wait_for("the proxy", lambda: proxy.poll() is not None or answers(self.port))
        said = (folder / "secure.log").read_text(errors="replace")
        expect_that(proxy.poll() is None, "the proxy runs", said)

    def context(self, version, shows=None, alpn=("http/1.1",)):
        context = ssl.create_default_context(cafile=str(self.authority.pem))
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(list(alpn))
        if shows:
            context.load_cert_chain(*map(str, shows))
        return context

    def connect(self, context, session=None):
        plain = socket.create_connection(("127.0.0.1", self.port), 20)
        return context.wrap_socket(plain, server_hostname="secure.test", session=session)


@functools.cache
def secure(stage):
    return Secure(stage)


def ask(connected, path="/headers", body=None):
    """Asks on a connection that is there already."""
    client = http.client.HTTPConnection("secure.test")
    client.sock = connected
    client.request("POST" if body else "GET", path, body)
    answer = client.getresponse()
    return answer.status, answer.read()


@check("ssl: who shows a certificate of the authority's is let in, and named to the origin")
def friends(stage):
    here = secure(stage)
    for version in VERSIONS:
        with here.connect(here.context(version, here.friend)) as connected:
            expect("protocol", connected.selected_alpn_protocol(), "http/1.1")
            status, body = ask(connected)
            expect("status", status, 200)
            for part in (b'Subject=\\"CN=friend\\"', b"DNS=friend.test"):
                expect_that(part in body, f"the origin hears {part}", body)


@check("ssl: who shows none, a stranger's or one that has ended hears why")
def others(stage):
    here = secure(stage)
    for shows, version, reasons in (
        # rustls says in TLS 1.2 what 1.3 has a word for.
        (None, VERSIONS[0], ("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED")),
        (None, VERSIONS[1], ("TLSV13_ALERT_CERTIFICATE_REQUIRED",)),
        (here.stranger, VERSIONS[0], ("TLSV1_ALERT_UNKNOWN_CA",)),
        (here.stranger, VERSIONS[1], ("TLSV1_ALERT_UNKNOWN_CA",)),
        (here.expired, VERSIONS[0], ("SSLV3_ALERT_CERTIFICATE_EXPIRED",)),
        (here.expired, VERSIONS[1], ("SSLV3_ALERT_CERTIFICATE_EXPIRED",)),
    ):
        try:
            # In TLS 1.3 a client hears it when it reads.
            with here.connect(here.context(version, shows)) as connected:
                connected.recv(1)
            expect_that(False, f"{reasons[0]} over {version.name}")
        except ssl.SSLError as error:
            told = error.reason or ""
            expect_that(told in reasons, f"{reasons[0]} over {version.name}", str(error))


@check("ssl: a session goes on, and who showed a certificate is still known")
def sessions(stage):
    here = secure(stage)
    for version in VERSIONS:
        context, session = here.context(version, here.friend), None
        for reused in (False, True):
            with here.connect(context, session) as connected:
                expect(f"reused over {version.name}", connected.session_reused, reused)
                _, body = ask(connected)
                expect_that(b"friend.test" in body, "the origin hears who it is", body)
                session = connected.session


@check("ssl: a goodbye is answered")
def goodbye(stage):
    here = secure(stage)
    for version in VERSIONS:
        connected = here.connect(here.context(version, here.friend))
        ask(connected)
        # Raises where the proxy just goes.
        connected.unwrap().close()


@check("ssl: protocols that nobody knows are not agreed on, and nobody minds")
def protocols(stage):
    here = secure(stage)
    for version in VERSIONS:
        with here.connect(here.context(version, here.friend, ["spdy/3"])) as connected:
            expect("protocol", connected.selected_alpn_protocol(), None)
            expect("status", ask(connected)[0], 200)


@check("ssl: ten megabytes up and down are what they were")
def large(stage):
    here, size = secure(stage), 10_000_000
    for version in VERSIONS:
        context = here.context(version, here.friend)
        with here.connect(context) as connected:
            _, seen = ask(connected, "/echo", pattern.whole(size))
            expect_that(pattern.digest(size).encode() in seen, "hash up", seen[:200])
        with here.connect(context) as connected:
            expect_that(ask(connected, f"/bytes/{size}")[1] == pattern.whole(size), "same down")
