"""Section 1.9: signed requests, and what tenants see of each other."""
import base64
import time
import unittest

from case import CONFIG, Case, HandshakeFailed
from v1client import Session, Sodium, signed

SEED, OLD = bytes(range(32)), bytes(range(32, 64))


def keys(*seeds):
    return ", ".join('"' + base64.b64encode(Sodium.public_of(seed)).decode() + '"' for seed in seeds)


class Tenants(Case):
    config = CONFIG + f"[multi_tenant]\nenabled = true\npublic_keys = [{keys(SEED, OLD)}]\n"
    tcp = True

    def ask(self, method, path, identity="acme", body=None, seed=SEED, tcp=False, **more):
        return self.daemon.http(method, path, body, signed(seed, method, path.split("?")[0], identity, **more), tcp)

    def make(self, identity="acme", **more):
        import json
        status, _, body = self.ask("POST", "/sandboxes", identity, {"ttl": 60}, **more)
        self.assertEqual(status, 201, body)
        sandbox = json.loads(body)["id"]
        self.addCleanup(self.ask, "DELETE", "/sandboxes/" + sandbox, identity)
        return sandbox

    def test_each_sees_only_its_own(self):
        mine = self.make("acme")
        for method, path in (("DELETE", ""), ("GET", "/stats"), ("GET", "/ports"), ("POST", "/ports/80/expose")):
            status, _, body = self.ask(method, f"/sandboxes/{mine}{path}", "other")
            self.assertEqual((status, self.daemon_error(body)), (404, "sandbox not found"), path)
        self.assertEqual(self.ask("GET", "/sandboxes", "other")[2], b"[]\n")
        self.assertIn(mine.encode(), self.ask("GET", "/sandboxes", "acme")[2])
        self.assertNotIn(mine.encode(), self.ask("GET", "/events/history?identity=acme", "other")[2])
        self.assertIn(mine.encode(), self.ask("GET", "/events/history", "acme")[2])
        path = f"/sandboxes/{mine}/ws"
        with self.assertRaises(HandshakeFailed) as caught:
            Session(self.daemon, mine, signed(SEED, "GET", path, "other"))
        self.assertEqual(caught.exception.status, 404)
        session = Session(self.daemon, mine, signed(SEED, "GET", path, "acme"))
        self.assertEqual(session.exec("echo hi")["stdout"], "hi\n")
        session.close()

    def test_templates_are_scoped(self):
        import json
        mine = self.make("acme")
        status, _, body = self.ask("POST", "/templates", "acme", {"sandbox_id": mine, "label": "x"})
        self.assertEqual(status, 201, body)
        saved = json.loads(body)
        self.addCleanup(self.ask, "DELETE", "/templates/" + saved["id"], "acme")
        self.assertEqual(saved["identity"], "acme")
        self.assertEqual(self.ask("POST", "/templates", "other", {"sandbox_id": mine})[0], 404)
        self.assertEqual(self.ask("GET", "/templates/" + saved["id"], "other")[0], 404)
        self.assertEqual(self.ask("GET", "/templates", "other")[2], b"[]\n")
        self.assertEqual(self.ask("POST", "/sandboxes", "other", {"template": saved["id"]})[0], 404)
        self.assertEqual(self.ask("DELETE", "/templates/" + saved["id"], "other")[0], 404)

    def test_unsigned_and_badly_signed(self):
        # Over TCP: ten failures block an address, and the unix socket is one for everybody.
        good = signed(SEED, "GET", "/sandboxes", "acme")
        bad = [{}, signed(bytes(32), "GET", "/sandboxes", "acme"), signed(SEED, "POST", "/sandboxes", "acme"),
               signed(SEED, "GET", "/sandboxes", "acme", at=int(time.time()) - 60), {**good, "X-Sandbox-Identity": "other"},
               {**good, "X-Sandbox-Max-Concurrent": "99"}, {**good, "X-Sandbox-Timestamp": "soon"}, {**good, "X-Sandbox-Signature": "!"}]
        for headers in bad:
            self.refused("GET", "/sandboxes", 401, "authentication failed", headers=headers, tcp=True)
        self.refused("GET", "/sandboxes", 401, "X-Sandbox-Identity header required", headers=signed(SEED, "GET", "/sandboxes", ""), tcp=True)
        self.refused("GET", "/sandboxes", 401, "authentication failed", tcp=True)
        headers = self.refused("GET", "/sandboxes", 429, "too many authentication failures", headers=good, tcp=True)
        self.assertEqual(headers["Retry-After"], "60")
        self.assertEqual(self.daemon.http("GET", "/sandboxes", None, good)[0], 200, "the unix socket is another peer")

    def test_keys_rotate_and_limits_are_taken(self):
        self.assertEqual(self.ask("GET", "/sandboxes", seed=OLD)[0], 200)
        self.make("limited", concurrent="1")
        status, headers, body = self.ask("POST", "/sandboxes", "limited", {}, concurrent="1")
        self.assertEqual((status, self.daemon_error(body), headers["Retry-After"]), (429, "identity sandbox quota exceeded", "2"))

    def test_a_nonce_counts_once(self):
        headers = signed(SEED, "GET", "/sandboxes", "acme", nonce="n-1")
        self.assertEqual(self.daemon.http("GET", "/sandboxes", None, headers)[0], 200)
        self.assertEqual(self.daemon.http("GET", "/sandboxes", None, headers)[0], 401)
        plain = signed(SEED, "GET", "/sandboxes", "acme")
        for _ in range(2):  # old clients send none
            self.assertEqual(self.daemon.http("GET", "/sandboxes", None, plain)[0], 200)

    def test_pools_and_health_need_no_signature(self):
        self.assertEqual(self.daemon.http("GET", "/pools")[0], 200)
        self.assertEqual(self.daemon.http("GET", "/health", tcp=True)[0], 200)


class Tokens(Case):
    config = CONFIG + "[server]\ntokens = [\"0123456789abcdef\"]\n"
    tcp = True

    def test_tcp_asks_for_one(self):
        self.refused("GET", "/sandboxes", 401, "authentication failed", tcp=True)
        good = {"Authorization": "Bearer 0123456789abcdef"}
        self.assertEqual(self.daemon.http("GET", "/sandboxes", None, good, tcp=True)[0], 200)
        self.assertEqual(self.daemon.http("GET", "/sandboxes")[0], 200, "not on the unix socket")
        sandbox = self.create()
        with self.assertRaises(HandshakeFailed):
            Session(self.daemon, sandbox, tcp=True)
        session = Session(self.daemon, sandbox, good, tcp=True)
        self.assertEqual(session.exec("echo hi")["stdout"], "hi\n")
        session.close()


if __name__ == "__main__":
    unittest.main()
