"""Owns what stands behind and before the clients: the proxy, its origins, and where they listen."""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

from checks import wait_for

HERE = pathlib.Path(__file__).parent


def free_ports(count):
    """Ports that nobody has; they are bound together so that none comes twice."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(port):
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Stage:
    """Everything that runs beside the clients; ended with its block."""

    def __init__(self):
        names = ("ADMIN", "FRONT", "THROUGH", "FEW", "OLD", "ORIGIN", "GREETER", "NOBODY")
        self.ports = dict(zip(names, free_ports(len(names))))
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="understudy-clients-"))
        self.children = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        for program, name in (("origin.py", "ORIGIN"), ("greeter.py", "GREETER")):
            self.spawn([sys.executable, HERE / program, str(self.ports[name])], program)
        config = (HERE / "front.yaml").read_text()
        for name, port in self.ports.items():
            config = config.replace(f"port_value: {name}}}", f"port_value: {port}}}")
        (self.folder / "front.yaml").write_text(config)
        binary = os.environ["UNDERSTUDY"]
        command = [binary, "-c", self.folder / "front.yaml", "--concurrency", "2"]
        self.proxy = self.spawn(command, "proxy")
        for name in [name for name in self.ports if name != "NOBODY"]:
            wait_for(f"{name} to listen", lambda name=name: self.fell() or answers(self.ports[name]))
        if self.fell():
            raise RuntimeError("the proxy does not run:\n" + self.log())

    def spawn(self, command, name):
        log = open(self.folder / f"{name}.log", "wb")
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.children.append(child)
        return child

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.terminate()
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()

    def fell(self):
        return self.proxy.poll() is not None

    def log(self):
        return (self.folder / "proxy.log").read_text(errors="replace")

    @property
    def front(self):
        return ("127.0.0.1", self.ports["FRONT"])

    @property
    def through(self):
        return ("127.0.0.1", self.ports["THROUGH"])

    def url(self, path, listener="FRONT"):
        return f"http://127.0.0.1:{self.ports[listener]}{path}"

    def ask(self, port, path, method="GET"):
        """A request that goes around the proxy's data plane."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path)
            return connection.getresponse().read().decode()

    def stat(self, name):
        """The value of one of the proxy's counters or gauges."""
        for line in self.ask("ADMIN", f"/stats?filter=%5E{name}%24").splitlines():
            return int(line.partition(": ")[2])
        return 0

    def story(self, name):
        """How far the origin is with an exchange."""
        return json.loads(self.ask("ORIGIN", f"/story/{name}"))

    def go(self, name):
        """Lets an exchange go on that waits for it."""
        self.ask("ORIGIN", f"/go/{name}", "POST")

    def resident_kib(self):
        """The proxy's memory."""
        status = pathlib.Path(f"/proc/{self.proxy.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1])

    def file(self, name, content):
        """A file for a client to send."""
        path = self.folder / name
        path.write_bytes(content)
        return path
