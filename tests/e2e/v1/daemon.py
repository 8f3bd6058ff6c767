"""Starts a sandboxd of our own on a scratch socket, and ends it; what it leaves behind is a failure."""
import http.client
import json
import os
import signal
import shutil
import socket
import subprocess
import tempfile
import time

BIN = os.environ.get("SANDBOX_BIN_DIR", os.path.join(os.getcwd(), "bin"))
SLOW = float(os.environ.get("SANDBOX_TEST_TIME_FACTOR", "1"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def stat_of(pid):
    """(parent, start time) of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[1]), fields[19], fields[0]
    except (OSError, IndexError):
        return None


def family(pid):
    """pid and all it started, as {pid: start time}."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := stat_of(name)):
            parents[int(name)] = stat
    found, queue = {}, [pid]
    while queue:
        one = queue.pop()
        if one in parents:
            found[one] = parents[one][1]
        queue += [child for child, stat in parents.items() if stat[0] == one and child not in found]
    return found


class Daemon:
    """`config` is TOML without server.socket, server.tcp and server.data_dir, which are set here."""

    def __init__(self, config="", tcp=False):
        self.directory = tempfile.mkdtemp(prefix="sandboxd-e2e.")
        self.socket = os.path.join(self.directory, "s")
        self.tcp_port = free_port() if tcp else 0
        self.log_path = os.path.join(self.directory, "log")
        path = os.path.join(self.directory, "config.toml")
        server = f'socket = "{self.socket}"\ndata_dir = "{self.directory}/data"\n'
        if tcp:
            server += f'tcp = "127.0.0.1:{self.tcp_port}"\n'
        os.mkdir(os.path.join(self.directory, "data"))
        text = config.replace("[server]\n", "[server]\n" + server) if "[server]\n" in config else f"[server]\n{server}{config}"
        with open(path, "w") as file:
            file.write(text)
        self.config_path = path
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SANDBOX_")}
        environment["SANDBOX_STATE_DIR"] = os.path.join(self.directory, "state")
        environment["SANDBOX_BIN_DIR"] = BIN
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen([os.path.join(BIN, "sandboxd"), "--config", path], stderr=self.log,
                                        stdin=subprocess.DEVNULL, env=environment)
        self.wait_ready()

    def wait_ready(self):
        """As upstream's scripts do: until the first "ready" in /health is positive."""
        deadline = time.monotonic() + 30 * SLOW
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"sandboxd ended with {self.process.returncode}: {self.logged()[-2000:]}")
            try:
                status, _, body = self.http("GET", "/health")
                if status == 200 and (b'"ready":' not in body or int(body.split(b'"ready":')[1].split(b",")[0].split(b"}")[0]) > 0):
                    return
            except (OSError, http.client.HTTPException):
                pass
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"sandboxd is not ready: {self.logged()[-2000:]}")
            time.sleep(0.02)

    def logged(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def connection(self, tcp=False, timeout=60):
        if tcp:
            return http.client.HTTPConnection("127.0.0.1", self.tcp_port, timeout=timeout * SLOW)
        return UnixConnection(self.socket, timeout * SLOW)

    def http(self, method, path, body=None, headers=None, tcp=False):
        """(status, headers, body); `body`: bytes, text, or what becomes JSON."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection = self.connection(tcp)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, headers=None, tcp=False, expect=200):
        status, _, text = self.http(method, path, body, headers, tcp)
        if status != expect:
            raise AssertionError(f"{method} {path}: {status} {text!r}, expected {expect}")
        return json.loads(text) if text else None

    def raw(self, tcp=False):
        if tcp:
            return socket.create_connection(("127.0.0.1", self.tcp_port), timeout=30 * SLOW)
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(30 * SLOW)
        made.connect(self.socket)
        return made

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """Ends it politely. Raises when it does not end, ends badly, or leaves processes or its socket behind."""
        problems = []
        if self.alive():
            started = family(self.process.pid)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30 * SLOW)
            except subprocess.TimeoutExpired:
                problems.append("does not end within 30 s")
                self.process.kill()
                self.process.wait()
            deadline = time.monotonic() + 5 * SLOW
            while True:
                left = {pid for pid, start in started.items() if (stat := stat_of(pid)) and stat[1] == start and stat[2] != "Z"}
                if not left or time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            if left:
                problems.append(f"leaves processes {sorted(left)}")
        if self.process.returncode != 0:
            problems.append(f"ended with {self.process.returncode}")
        if os.path.exists(self.socket):
            problems.append("leaves its socket")
        self.log.close()
        log = self.logged()
        shutil.rmtree(self.directory, ignore_errors=True)
        if problems:
            raise AssertionError("sandboxd " + ", ".join(problems) + ":\n" + log[-3000:])
