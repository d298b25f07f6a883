#!/usr/bin/env python3
"""What a thousand admin calls at a time cost the traffic: latencies at a fixed rate, with and without them.

    cargo build --release && benches/admin_under_load.py

Five pairs of runs, interleaved, of h2load (nghttp2-client) against a proxy with one worker; then the ratio of their
p99. The origin is a second proxy that answers by itself. Callers ask every kind of admin call, and each asks again
when it is answered; they stand for other machines, so they run at the lowest priority. Standard library only.
"""
import argparse
import os
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

CALLS = [
    "GET /", "GET /actors", "GET /certs", "GET /clusters", "GET /clusters?format=json", "GET /config_dump",
    "GET /config_dump?include_eds", "GET /help", "GET /hot_restart_version", "GET /init_dump", "GET /listeners",
    "GET /memory", "GET /nosuch", "GET /ready", "GET /runtime", "GET /server_info", "GET /stats",
    "GET /stats?filter=*bad", "GET /stats?format=html", "GET /stats?format=json", "GET /stats?usedonly",
    "GET /stats/prometheus", "GET /stats/prometheus?usedonly", "POST /healthcheck/ok", "POST /logging",
    "POST /logging?upstream=info", "POST /reopen_logs", "POST /reset_counters", "POST /runtime_modify?a.key=NUMBER",
]

MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def config(port, admin, routes, clusters):
    return f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
layered_runtime: {{layers: [{{name: admin, admin_layer: {{}}}}]}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": {MANAGER}
          stat_prefix: ingress_http
          route_config:
            name: local_route
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{routes}]}}
          http_filters:
          - {{name: router, typed_config: {{"@type": {ROUTER}}}}}
  clusters: [{clusters}]
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start(binary, folder, name, admin, text):
    path = os.path.join(folder, name + ".yaml")
    with open(path, "w") as file:
        file.write(text)
    log = open(os.path.join(folder, name + ".log"), "w")
    proxy = subprocess.Popen([binary, "-c", path, "--concurrency", "1"], stdout=log, stderr=log)
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready", timeout=5).read()
            return proxy
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{name} does not get ready; see {log.name}")


def call(admin, count, seconds):
    """Keeps `count` calls open; prints how many were answered, and how many were not."""
    os.nice(19)
    selector = selectors.DefaultSelector()
    number, answered, failed = 0, 0, 0

    def ask():
        nonlocal number
        number += 1
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", admin))
        request = CALLS[number % len(CALLS)].replace("NUMBER", str(number))
        request += " HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        selector.register(sock, selectors.EVENT_WRITE, [request.encode(), b""])

    end = time.time() + seconds
    for _ in range(count):
        ask()
    while time.time() < end:
        for key, _ in selector.select(0.1):
            sock, state = key.fileobj, key.data
            try:
                if state[0]:
                    sock.send(state[0])
                    state[0] = b""
                    selector.modify(sock, selectors.EVENT_READ, state)
                    continue
                data = sock.recv(1 << 18)
                state[1] = state[1] or data[:12]
                if data:
                    continue
                good = state[1].startswith(b"HTTP/1.1 ") and state[1][9:10] in b"24"
            except BlockingIOError:
                continue
            except OSError:
                good = False
            answered, failed = answered + good, failed + (not good)
            selector.unregister(sock)
            sock.close()
            ask()
    print(answered, failed)


def run(port, rate, clients, seconds, folder):
    """Percentiles of one run in microseconds."""
    log = os.path.join(folder, "h2load.log")
    if os.path.exists(log):
        os.remove(log)
    command = ["h2load", "--h1", "-t1", f"-c{clients}", f"--rps={rate // clients}", f"-D{seconds}"]
    command += ["--log-file=" + log, f"http://127.0.0.1:{port}/"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(log) as file:
        rows = [line.split("\t") for line in file]
    bad = sum(1 for row in rows if row[1] != "200")
    times = sorted(int(row[2]) for row in rows)
    if bad or len(times) < rate * seconds * 0.9:
        print(f"   note: {len(times)} of {rate * seconds} requests, {bad} not 200")
    return times[len(times) // 2], times[len(times) * 99 // 100]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/understudy")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rate", type=int, default=2000, help="requests per second in all")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--callers", type=int, default=1000)
    parser.add_argument("--clusters", type=int, default=2, help="clusters of the proxy: more make larger answers")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        return call(int(args.call), args.callers, args.seconds)
    if not shutil.which("h2load"):
        sys.exit("h2load is wanted on the PATH: apt-get install nghttp2-client")
    with tempfile.TemporaryDirectory() as folder:
        measure(args, folder)


def measure(args, folder):
    origin_port, port, admin, origin_admin = (free_port() for _ in range(4))
    body = 'direct_response: {status: 200, body: {inline_string: "hello"}}'
    host = f"{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {origin_port}}}}}}}}}"
    clusters = ", ".join(
        f"{{name: c{number}, load_assignment: {{cluster_name: c{number}, endpoints: [{{lb_endpoints: [{host}]}}]}}}}"
        for number in range(args.clusters)
    )
    started = []
    try:
        text = config(origin_port, origin_admin, f"{{match: {{prefix: /}}, {body}}}", "")
        started.append(start(args.binary, folder, "origin", origin_admin, text))
        text = config(port, admin, "{match: {prefix: /}, route: {cluster: c0}}", clusters)
        started.append(start(args.binary, folder, "proxy", admin, text))
        run(port, args.rate, args.clients, 1, folder)
        ratios = []
        for pair in range(1, args.pairs + 1):
            without = run(port, args.rate, args.clients, args.seconds, folder)
            own = [sys.executable, os.path.abspath(__file__), "--call", str(admin)]
            own += ["--callers", str(args.callers), "--seconds", str(args.seconds + 2)]
            callers = subprocess.Popen(own, stdout=subprocess.PIPE, text=True)
            time.sleep(1)
            with_calls = run(port, args.rate, args.clients, args.seconds, folder)
            answered, failed = callers.communicate()[0].split()
            ratios.append(with_calls[1] / without[1])
            print(
                f"{pair}: p50 {without[0]} us, p99 {without[1]} us; with {answered} admin calls ({failed} failed) "
                f"p50 {with_calls[0]} us, p99 {with_calls[1]} us: {ratios[-1]:.2f} times",
                flush=True,
            )
        print(f"p99 with admin calls is {statistics.median(ratios):.2f} times that without (median of {args.pairs})")
    finally:
        for proxy in started:
            proxy.kill()


if __name__ == "__main__":
    main()
