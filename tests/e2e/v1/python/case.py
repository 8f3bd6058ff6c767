"""What the suites share: one daemon per class, fresh sandboxes per test."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from daemon import Daemon, SLOW  # noqa: E402
from v1client import Session, HandshakeFailed, Closed, RpcError  # noqa: E402,F401

CONFIG = """
[limits]
create_rate_limit = 0
max_sandboxes = 50
max_memory = "64g"
max_cpu = 64.0
max_ttl = 600
[pool]
total_warm = 2
min_base = 1
[pool.base.default]
memory = "256m"
storage = "64m"
[pool.base.small]
memory = "64m"
cpu = 0.5
storage = "16m"
network = "none"
[log]
level = "warning"
"""


class Case(unittest.TestCase):
    config = CONFIG
    tcp = False

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(cls.config, cls.tcp)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def tearDown(self):
        self.assertTrue(self.daemon.alive(), self.daemon.logged()[-2000:])

    def create(self, headers=None, **body):
        """The id of a new sandbox, destroyed after the test."""
        made = self.daemon.json("POST", "/sandboxes", body, headers, expect=201)
        self.addCleanup(self.daemon.http, "DELETE", "/sandboxes/" + made["id"], None, headers)
        return made["id"]

    def session(self, sandbox_id=None, headers=None, tcp=False, **body):
        made = Session(self.daemon, sandbox_id or self.create(**body), headers, tcp)
        self.addCleanup(made.cut)
        return made

    def refused(self, method, path, status, text, body=None, headers=None, tcp=False):
        got, reply_headers, reply = self.daemon.http(method, path, body, headers, tcp)
        self.assertEqual((got, self.daemon_error(reply)), (status, text))
        self.assertEqual(reply_headers["Content-Type"], "application/json")
        return reply_headers

    @staticmethod
    def daemon_error(body):
        import json
        return json.loads(body)["error"]

    def eventually(self, check, seconds=10):
        import time
        deadline = time.monotonic() + seconds * SLOW
        while not check():
            self.assertLess(time.monotonic(), deadline, "never came true")
            time.sleep(0.01)
