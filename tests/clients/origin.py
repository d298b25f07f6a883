"""The HTTP/1 origin, a process of its own: says what it saw, and sends and takes what is asked, as fast or as
slowly as it is told."""

import asyncio
import collections
import gzip
import hashlib
import pathlib
import sys
import tempfile

from aiohttp import WSMsgType, web

import pattern

FILE = pattern.whole(1024 * 1024 + 17)

ROUTES = web.RouteTableDef()


class Story:
    """How far one exchange is, by the name that the client gave it."""

    def __init__(self):
        self.go = asyncio.Event()
        self.tries = 0
        self.taken = 0
        self.sent = 0
        self.over = False
        self.ended_well = False


STORIES = collections.defaultdict(Story)


@ROUTES.route("*", "/headers")
@ROUTES.route("*", "/headers/{rest:.*}")
async def headers(request):
    """What a request looked like here."""
    fields = [[name, value] for name, value in request.headers.items()]
    return web.json_response(
        {"method": request.method, "target": request.raw_path, "headers": fields},
        headers={"x-method": request.method},
    )


@ROUTES.route("*", "/echo")
async def echo(request):
    """Length and hash of a body, however it comes."""
    sha, count = hashlib.sha256(), 0
    async for part in request.content.iter_any():
        sha.update(part)
        count += len(part)
    fields = {name.lower(): value for name, value in request.headers.items()}
    return web.json_response({"bytes": count, "sha256": sha.hexdigest(), "headers": fields})


@ROUTES.get("/bytes/{count}")
async def send(request):
    """So many bytes; in chunks unless a length is asked for."""
    count = int(request.match_info["count"])
    response = web.StreamResponse()
    if "length" in request.query:
        response.content_length = count
    await response.prepare(request)
    for block in pattern.blocks(count):
        await response.write(block)
    await response.write_eof()
    return response


@ROUTES.post("/both/{count}")
async def both(request):
    """Sends so many bytes while it takes the request's, then the hash of what it took."""
    count = int(request.match_info["count"])
    response = web.StreamResponse()
    await response.prepare(request)
    sha = hashlib.sha256()

    async def take():
        async for part in request.content.iter_any():
            sha.update(part)

    taking = asyncio.ensure_future(take())
    for block in pattern.blocks(count):
        await response.write(block)
    await taking
    await response.write(sha.hexdigest().encode())
    await response.write_eof()
    return response


@ROUTES.get("/file")
async def file(_request):
    """A file, whole or in part, with what a file server says of one."""
    return web.FileResponse(pathlib.Path(STORE.name) / "file")


@ROUTES.get("/zipped")
async def zipped(_request):
    body = gzip.compress(b"a text that was compressed\n" * 1000, mtime=0)
    return web.Response(body=body, headers={"content-encoding": "gzip", "etag": '"z"'})


@ROUTES.route("*", "/status/{status}")
async def status(request):
    return web.Response(status=int(request.match_info["status"]))


@ROUTES.get("/two/{name}")
async def two(request):
    """A piece at once, and another when it is told to."""
    story = STORIES[request.match_info["name"]]
    try:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        await story.go.wait()
        await response.write(b"two\n")
        await response.write_eof()
        story.ended_well = True
        return response
    finally:
        story.over = True


@ROUTES.get("/flood/{name}/{count}")
async def flood(request):
    """So many bytes, and how many of them have gone out."""
    story = STORIES[request.match_info["name"]]
    try:
        response = web.StreamResponse()
        await response.prepare(request)
        for block in pattern.blocks(int(request.match_info["count"])):
            await response.write(block)
            story.sent += len(block)
        await response.write_eof()
        story.ended_well = True
        return response
    finally:
        story.over = True


@ROUTES.post("/hold/{name}")
async def hold(request):
    """Takes nothing of a body until it is told to."""
    story = STORIES[request.match_info["name"]]
    sha = hashlib.sha256()
    try:
        await story.go.wait()
        async for part in request.content.iter_any():
            sha.update(part)
            story.taken += len(part)
        story.ended_well = True
        return web.json_response({"bytes": story.taken, "sha256": sha.hexdigest()})
    finally:
        story.over = True


@ROUTES.get("/socket/{name}")
async def socket(request):
    """A websocket that says each message again, until it is closed; `count N` brings so many bytes."""
    story = STORIES[request.match_info["name"]]
    made = web.WebSocketResponse(protocols=("chat", "other"), max_msg_size=64 * 1024 * 1024)
    try:
        await made.prepare(request)
        async for message in made:
            if message.type == WSMsgType.TEXT and message.data.startswith("count "):
                for block in pattern.blocks(int(message.data.removeprefix("count "))):
                    await made.send_bytes(block)
                    story.sent += len(block)
            elif message.type == WSMsgType.TEXT and message.data == "leave":
                await made.close(code=4001, message=b"as you wish")
            elif message.type == WSMsgType.TEXT:
                await made.send_str(message.data)
            else:
                await made.send_bytes(message.data)
        return made
    finally:
        story.over = True


@ROUTES.route("*", "/flaky/{way}/{name}/{times}")
async def flaky(request):
    """Fails so many times, by a status or by closing the connection, and then says what it took."""
    story, sha = STORIES[request.match_info["name"]], hashlib.sha256()
    async for part in request.content.iter_any():
        sha.update(part)
        story.taken += len(part)
    story.tries += 1
    if story.tries > int(request.match_info["times"]):
        return web.json_response({"tries": story.tries, "sha256": sha.hexdigest()})
    if request.match_info["way"] == "status":
        return web.Response(status=503, text="not yet")
    request.transport.abort()
    return web.Response()


@ROUTES.get("/cut/{count}")
async def cut(request):
    """Twice as many bytes are promised as come."""
    count = int(request.match_info["count"])
    response = web.StreamResponse()
    if "length" in request.query:
        response.content_length = 2 * count
    await response.prepare(request)
    for block in pattern.blocks(count):
        await response.write(block)
    # What was written is sent before the end is: an abort would take it back.
    request.transport.close()
    return response


@ROUTES.get("/story/{name}")
async def tell(request):
    story = STORIES[request.match_info["name"]]
    return web.json_response({
        "tries": story.tries,
        "taken": story.taken,
        "sent": story.sent,
        "over": story.over,
        "ended_well": story.ended_well,
    })


@ROUTES.post("/go/{name}")
async def go(request):
    STORIES[request.match_info["name"]].go.set()
    return web.Response()


def main():
    (pathlib.Path(STORE.name) / "file").write_bytes(FILE)
    app = web.Application()
    app.add_routes(ROUTES)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        print=None,
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        shutdown_timeout=1,
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        STORE = collections.namedtuple("Store", "name")(folder)
        main()
