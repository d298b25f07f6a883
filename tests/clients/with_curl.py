"""curl: what people type."""

import gzip
import hashlib
import json
import re
import subprocess

import pattern
from checks import check, clipped, expect, expect_that

SECONDS_MAX = "60"


class Ran:
    """What curl did."""

    def __init__(self, done):
        self.code = done.returncode
        self.body = done.stdout
        self.said = done.stderr.decode(errors="replace")

    def json(self):
        return json.loads(self.body)


def curl(*words, stdin=None, code=0):
    """Runs curl, which is to end with this code, or with any if it is none."""
    command = ["curl", "-sS", "--max-time", SECONDS_MAX, *map(str, words)]
    ran = Ran(subprocess.run(command, input=stdin, capture_output=True, check=False))
    said = f"{clipped(' '.join(command), 300)} ends with {code}"
    expect_that(code in (None, ran.code), said, (ran.code, ran.said[-300:]))
    return ran


def of(ran, name):
    """A header's values as the origin saw them."""
    return [value for field, value in ran.json()["headers"] if field.lower() == name]


@check("curl: GET over HTTP/1.1, and the origin sees its host and path")
def get(stage):
    ran = curl("-H", "host: shop.test", stage.url("/headers/a%20b?c=d"))
    expect("target", ran.json()["target"], "/headers/a%20b?c=d")
    expect("host", of(ran, "host"), ["shop.test"])
    expect("x-forwarded-proto", of(ran, "x-forwarded-proto"), ["http"])


@check("curl: HTTP/2 with prior knowledge")
def prior_knowledge(stage):
    ran = curl("--http2-prior-knowledge", "-w", "%{stderr}%{http_version}", stage.url("/headers"))
    expect("version", ran.said, "2")
    expect("method", ran.json()["method"], "GET")


@check("curl: an offer to upgrade to h2c is declined, the request is served")
def upgrade_offer(stage):
    ran = curl("--http2", "-w", "%{stderr}%{http_version}", stage.url("/headers"))
    expect("version", ran.said, "1.1")
    expect("upgrade at the origin", of(ran, "upgrade") + of(ran, "http2-settings"), [])


@check("curl: two requests, one connection")
def keep_alive(stage):
    url = stage.url("/headers")
    ran = curl("-w", "%{stderr}%{num_connects} ", url, url)
    expect("connects", ran.said, "1 0 ")


@check("curl: `connection: close` closes, over both versions of HTTP/1")
def close(stage):
    url = stage.url("/headers")
    ran = curl("-H", "connection: close", "-w", "%{stderr}%{num_connects} ", url, url)
    expect("connects", ran.said, "1 1 ")
    ran = curl("-0", "-o", "/dev/null", "-w", "%{stderr}%{http_code}", url)
    expect("status for HTTP/1.0", ran.said, "426")


@check("curl: HEAD has a length and no body, and the connection goes on")
def head(stage):
    for flags in ([], ["--http2-prior-knowledge"]):
        ran = curl(*flags, "-I", stage.url("/file"))
        length = [line for line in ran.body.lower().splitlines() if b"content-length" in line]
        expect("length", length, [b"content-length: 1048593"])
    show = ["-o", "/dev/null", "-w", "%{stderr}%{http_code} %{num_connects} %{size_download} "]
    ran = curl("-I", *show, stage.url("/file"), "--next", "-sS", *show, stage.url("/file"))
    expect("what both said", ran.said, "200 1 0 200 0 1048593 ")


@check("curl: methods with and without bodies")
def methods(stage):
    for version in (["--http1.1"], ["--http2-prior-knowledge"]):
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            for body in (b"", b"some"):
                url = stage.url("/echo")
                words = ["-X", method] + (["--data-binary", "@-"] if body else [])
                seen = curl(*version, *words, url, stdin=body).json()
                expect(f"{method} of {len(body)}", seen["bytes"], len(body))


@check("curl: `expect: 100-continue` is answered before the body, and does not reach the origin")
def hundred_continue(stage):
    body = stage.file("continue", pattern.whole(300_000))
    words = ["-H", "expect: 100-continue", "--expect100-timeout", "50", "-v"]
    ran = curl(*words, "--data-binary", f"@{body}", stage.url("/echo"))
    expect_that("< HTTP/1.1 100 Continue" in ran.said, "100 Continue", ran.said)
    expect("hash", ran.json()["sha256"], pattern.digest(300_000))
    expect_that("expect" not in ran.json()["headers"], "no expect header", ran.json()["headers"])


@check("curl: a range, the end of a file, and a download that is resumed")
def ranges(stage):
    for flags in ([], ["--http2-prior-knowledge"]):
        whole = pattern.whole(1024 * 1024 + 17)
        show = ["-w", "%{stderr}%{http_code}"]
        ran = curl(*flags, "-r", "1000-1999", *show, stage.url("/file"))
        expect("range", (ran.said, ran.body), ("206", whole[1000:2000]))
        ran = curl(*flags, "-r", "-17", *show, stage.url("/file"))
        expect("end", (ran.said, ran.body), ("206", whole[-17:]))
        part = stage.file("part", whole[:700_001])
        curl(*flags, "-C", "-", "-o", part, stage.url("/file"))
        expect_that(part.read_bytes() == whole, "the resumed file is whole")
        ran = curl(*flags, "-r", "9000000-", "-o", "/dev/null", *show, stage.url("/file"))
        expect("range beyond the end", ran.said, "416")


@check("curl: a file that has not changed is 304, and the connection goes on")
def not_modified(stage):
    tag = next(
        line.partition(b": ")[2].decode()
        for line in curl("-I", stage.url("/file")).body.splitlines()
        if line.lower().startswith(b"etag:")
    )
    url = stage.url("/file")
    show = ["-o", "/dev/null", "-w", "%{stderr}%{http_code} %{num_connects} "]
    words = ["-H", f"if-none-match: {tag}"]
    ran = curl(*words, *show, url, "--next", "-sS", *show, stage.url("/headers"))
    expect("statuses and connects", ran.said, "304 1 200 0 ")


@check("curl: statuses that have no body")
def no_body(stage):
    for status in (204, 304):
        url = stage.url(f"/status/{status}")
        ran = curl("-w", "%{stderr}%{http_code} %{num_connects} ", url, url)
        expect("twice", (ran.said, ran.body), (f"{status} 1 {status} 0 ", b""))
        ran = curl("--http2-prior-knowledge", "-w", "%{stderr}%{http_code}", url)
        expect("over HTTP/2", (ran.said, ran.body), (f"{status}", b""))


@check("curl: a compressed upload arrives as it was sent")
def compressed_upload(stage):
    zipped = gzip.compress(pattern.whole(500_000), mtime=0)
    words = ["-H", "content-encoding: gzip", "--data-binary", "@-"]
    for flags in ([], ["--http2-prior-knowledge"]):
        seen = curl(*flags, *words, stage.url("/echo"), stdin=zipped).json()
        expect("encoding", seen["headers"].get("content-encoding"), "gzip")
        expect("hash", seen["sha256"], hashlib.sha256(zipped).hexdigest())


@check("curl: a compressed download is unpacked by curl, not by us")
def compressed_download(stage):
    for flags in ([], ["--http2-prior-knowledge"]):
        ran = curl(*flags, "--compressed", stage.url("/zipped"))
        expect("unpacked", ran.body, b"a text that was compressed\n" * 1000)
        raw = curl(*flags, "-H", "accept-encoding: gzip", stage.url("/zipped")).body
        expect("as it is sent", gzip.decompress(raw), ran.body)


@check("curl: an upload in chunks, of a length nobody knows")
def chunked_upload(stage):
    body = pattern.whole(3_000_000)
    for flags in (["-H", "transfer-encoding: chunked"], ["--http2-prior-knowledge"]):
        for listener in ("FRONT", "THROUGH"):
            ran = curl(*flags, "-T", "-", stage.url("/echo", listener), stdin=body)
            expect("hash", ran.json()["sha256"], pattern.digest(len(body)))


@check("curl: a form with a file")
def form(stage):
    path = stage.file("form", pattern.whole(100_000))
    seen = curl("-F", "name=value", "-F", f"file=@{path}", stage.url("/echo")).json()
    expect_that(seen["bytes"] > 100_000, "the form's size", seen["bytes"])
    kind = seen["headers"].get("content-type", "")
    expect_that(kind.startswith("multipart/form-data; boundary="), "its type", kind)


@check("curl: a redirect of ours is followed")
def redirect(stage):
    ran = curl("-L", "-w", "%{stderr}%{num_redirects}", stage.url("/old?a=b"))
    expect("redirects", ran.said, "1")
    expect("target", ran.json()["target"], "/headers?a=b")


@check("curl: 200 downloads in parallel")
def parallel(stage):
    # Some versions of curl cannot use an HTTP/2 connection twice: Python's h2 does that here.
    urls = [word for n in range(200) for word in ("-o", "/dev/null", stage.url(f"/bytes/{n}"))]
    show = ["-w", "%{stderr}<%{http_code}/%{size_download}>"]
    ran = curl("-Z", "--parallel-max", "50", "--http1.1", *show, *urls)
    seen = sorted(re.findall("<(.*?)>", ran.said))
    expect("sizes", seen, sorted(f"200/{n}" for n in range(200)))


@check("curl: an answer that breaks off is an error, not a short answer")
def broken_off(stage):
    # A partial file, a receive error, a stream that was reset.
    codes = {"--http1.1": (18, 56), "--http2-prior-knowledge": (92, 18)}
    for flag, ends in codes.items():
        for listener in ("FRONT", "THROUGH"):
            for count in (100, 100_000, 3_000_000):
                for query in ("", "?length"):
                    url = stage.url(f"/cut/{count}{query}", listener)
                    ran = curl(flag, url, code=None)
                    expect_that(ran.code in ends, f"{url} ends with one of {ends}", ran.code)
                    expect_that(pattern.whole(count).startswith(ran.body), "what came is right")


@check("curl: HTTP/1.0 where it is accepted")
def http_10(stage):
    url = stage.url("/file", "OLD")
    show = ["-o", "/dev/null", "-w", "%{stderr}%{http_code} %{http_version} %{size_download} "]
    ran = curl("-0", *show, url, url)
    expect("twice", ran.said, "200 1 1048593 200 1 1048593 ")
    seen = curl("-0", "--data-binary", "some", stage.url("/echo", "OLD")).json()
    expect("upload", seen["bytes"], 4)


@check("curl: cookies and a path that is kept as it is")
def cookies(stage):
    for flags in ([], ["--http2-prior-knowledge"]):
        url = stage.url("/headers/a/../b//c")
        ran = curl(*flags, "--path-as-is", "-b", "a=1; b=2", url)
        expect("target", ran.json()["target"], "/headers/a/../b//c")
        expect("cookie", of(ran, "cookie"), ["a=1; b=2"])


@check("curl: heads of 50 KiB pass, of 70 KiB are refused")
def large_heads(stage):
    words = ["-o", "/dev/null", "-w", "%{stderr}%{http_code}", stage.url("/said")]
    expect("50 KiB", curl(*words, "-H", "x: " + "v" * 50_000).said, "200")
    expect("70 KiB", curl(*words, "-H", "x: " + "v" * 70_000).said, "431")
    words = ["--http2-prior-knowledge", *words]
    expect("50 KiB over HTTP/2", curl(*words, "-H", "x: " + "v" * 50_000).said, "200")


@check("curl: an answer of ours is whole")
def said(stage):
    for flags in (["--http1.1"], ["--http2-prior-knowledge"]):
        ran = curl(*flags, stage.url("/said"))
        expect("body", ran.body, b"said by the proxy\n")
