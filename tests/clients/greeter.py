"""The gRPC origin, a process of its own. Messages are plain bytes: what they mean is not ours to check."""

import collections
import concurrent.futures
import sys
import threading

import grpc

MESSAGE_BYTES_MAX = 64 * 1024 * 1024

OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
]

CANCELLED = {}

TRIES = collections.Counter()


def echo(request, context):
    """The message again; metadata that begin with `x-` come back as initial and as trailing ones."""
    own = [(key, value) for key, value in context.invocation_metadata() if key.startswith("x-")]
    context.send_initial_metadata(own)
    context.set_trailing_metadata([("t" + key, value) for key, value in own])
    return request


def refuse(request, context):
    """A status with a message that must be escaped, and trailers."""
    context.set_trailing_metadata([("x-why", "because")])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())


def flaky(request, context):
    """Is UNAVAILABLE twice for each request, then answers how often it was asked."""
    TRIES[request] += 1
    if TRIES[request] <= 2:
        context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
    return str(TRIES[request]).encode()


def count(request, _context):
    """So many messages."""
    for number in range(int(request)):
        yield str(number).encode()


def add(requests, _context):
    """How many messages there were, and their bytes."""
    sizes = [len(request) for request in requests]
    return f"{len(sizes)} {sum(sizes)}".encode()


def chat(requests, _context):
    """Each message again, as it comes."""
    yield from requests


def remaining(_request, context):
    """How long the client is willing to wait."""
    return str(context.time_remaining()).encode()


def wait(request, context):
    """Waits until the client has gone."""
    gone = CANCELLED.setdefault(request, threading.Event())
    context.add_callback(gone.set)
    yield b"begun"
    gone.wait(60)


def was_cancelled(request, _context):
    """Whether the client of a `wait` has gone."""
    return str(CANCELLED.setdefault(request, threading.Event()).wait(20)).encode()


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Flaky": grpc.unary_unary_rpc_method_handler(flaky),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Add": grpc.stream_unary_rpc_method_handler(add),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
    "WaitBriefly": grpc.unary_stream_rpc_method_handler(wait),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
    "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
}


def main():
    pool = concurrent.futures.ThreadPoolExecutor(128)
    server = grpc.server(pool, options=OPTIONS)
    handler = grpc.method_handlers_generic_handler("clients.Greeter", HANDLERS)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
