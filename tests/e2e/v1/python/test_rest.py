"""Sections 1.1 to 1.6, 1.8, 1.10, 1.11: routes without sessions."""
import json
import re
import threading
import unittest

from case import CONFIG, Case

RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")


class Create(Case):
    def test_answers_sandbox_info(self):
        status, headers, body = self.daemon.http("POST", "/sandboxes", {"ttl": 60, "labels": {"a": "b"}})
        self.assertEqual(status, 201)
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertTrue(body.endswith(b"}\n"))
        self.assertNotIn(b'": ', body)
        info = json.loads(body)
        self.addCleanup(self.daemon.http, "DELETE", "/sandboxes/" + info["id"])
        self.assertRegex(info["id"], r"^sbx-[0-9a-f]{8}$")
        self.assertEqual((info["state"], info["ttl"], info["profile"], info["labels"]), ("running", 60, "default", {"a": "b"}))
        self.assertIsInstance(info["image"], str)
        self.assertRegex(info["created"], RFC3339)
        self.assertNotIn("template", info)

    def test_without_labels_there_is_no_such_key(self):
        info = self.daemon.json("POST", "/sandboxes", {}, expect=201)
        self.addCleanup(self.daemon.http, "DELETE", "/sandboxes/" + info["id"])
        self.assertNotIn("labels", info)
        self.assertEqual(info["ttl"], 0)

    def test_bodies_that_are_fine(self):
        for body in ('null', '{"TTL":7}', '{"ttl":7} trailing', '{"unknown":[1]}', '{"memory":"bogus"}', '{"memory":"99999g"}',
                     '{"cpu":-1}', '{"cpu":1000}', '{"ttl":-5}', '{"labels":null}', ' {}'):
            info = self.daemon.json("POST", "/sandboxes", body, expect=201)
            self.daemon.http("DELETE", "/sandboxes/" + info["id"])
            self.assertEqual(info["ttl"], 7 if "7" in body else info["ttl"], body)

    def test_bodies_that_are_not(self):
        for body in ("", "[]", "{", '"text"', '{"ttl":"5"}', '{"ttl":1.5}', '{"profile":3}', '{"labels":{"a":1}}', '{"labels":["a"]}',
                     '{"cpu":"1"}', b"\xff\xfe", '{"profile":"' + "x" * (1 << 20) + '"}', "[" * 100000):
            status, _, text = self.daemon.http("POST", "/sandboxes", body)
            self.assertEqual((status, self.daemon_error(text)), (400, "invalid request body"), body[:50])

    def test_label_limits(self):
        labels = {str(i): "" for i in range(65)}
        self.refused("POST", "/sandboxes", 400, "too many labels: 65 exceeds maximum of 64", {"labels": labels})
        self.refused("POST", "/sandboxes", 400, "label key too long: 129 exceeds maximum of 128", {"labels": {"k" * 129: ""}})
        self.refused("POST", "/sandboxes", 400, "label value too long: 257 exceeds maximum of 256", {"labels": {"k": "v" * 257}})
        self.create(labels={"k" * 128: "v" * 256, **{str(i): "" for i in range(63)}})

    def test_unknown_profile_and_template(self):
        for body in ({"profile": "nope"}, {"template": "tpl-00000000"}):
            status, _, _ = self.daemon.http("POST", "/sandboxes", body)
            self.assertEqual(status, 404, body)

    def test_bad_storage(self):
        status, _, _ = self.daemon.http("POST", "/sandboxes", {"storage": "lots"})
        self.assertIn(status, (400, 500))

    def test_ttl_is_clamped(self):
        for headers, expected in (({}, 600), ({"X-Sandbox-Max-TTL": "30"}, 30), ({"X-Sandbox-Max-TTL": "0"}, 600)):
            info = self.daemon.json("POST", "/sandboxes", {"ttl": 100000}, headers, expect=201)
            self.daemon.http("DELETE", "/sandboxes/" + info["id"])
            self.assertEqual(info["ttl"], expected)

    def test_another_profile(self):
        sandbox = self.create(profile="small")
        listed = [one for one in self.daemon.json("GET", "/sandboxes") if one["id"] == sandbox]
        self.assertEqual(listed[0]["profile"], "small")
        stats = self.daemon.json("GET", f"/sandboxes/{sandbox}/stats")
        self.assertEqual(stats["memory_limit_bytes"], 64 << 20)

    def test_memory_of_the_request_holds_even_when_the_pool_is_warm(self):
        sandbox = self.create(memory="100m")
        self.assertEqual(self.daemon.json("GET", f"/sandboxes/{sandbox}/stats")["memory_limit_bytes"], 100 << 20)


class Others(Case):
    def test_list_filters_by_labels(self):
        one = self.create(labels={"a": "1", "b": "x:y", "t": "list"})
        two = self.create(labels={"a": "1", "t": "list"})

        def ids(query):
            return {info["id"] for info in self.daemon.json("GET", "/sandboxes" + query)}
        self.assertEqual(ids("?label=t:list"), {one, two})
        self.assertEqual(ids("?label=a:1&label=b:x:y"), {one})
        self.assertEqual(ids("?label=a%3A1&label=t:list&status=running&label=nonsense"), {one, two})
        self.assertEqual(ids("?label=a:2"), set())
        self.assertEqual(self.daemon.http("GET", "/sandboxes?label=a:2")[2], b"[]\n")

    def test_delete(self):
        sandbox = self.create()
        status, _, body = self.daemon.http("DELETE", "/sandboxes/" + sandbox)
        self.assertEqual((status, body), (204, b""))
        self.refused("DELETE", "/sandboxes/" + sandbox, 404, "sandbox not found")
        self.refused("GET", f"/sandboxes/{sandbox}/stats", 404, "sandbox not found")
        self.refused("GET", f"/sandboxes/{sandbox}/ports", 404, "sandbox not found")

    def test_stats(self):
        stats = self.daemon.json("GET", f"/sandboxes/{self.create()}/stats")
        for key in ("cpu_percent", "memory_usage_bytes", "memory_limit_bytes", "memory_percent", "network_rx_bytes", "network_tx_bytes",
                    "pids", "uptime_seconds"):
            self.assertIsInstance(stats[key], (int, float), key)
        self.assertGreaterEqual(stats["pids"], 1)
        self.assertEqual(stats["memory_limit_bytes"], 256 << 20)

    def test_stats_are_current(self):
        sandbox = self.create(ttl=60)
        session = self.session(sandbox)
        self.daemon.json("GET", f"/sandboxes/{sandbox}/stats")
        session.exec("head -c 20000000 /dev/zero > /tmp/f; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
        stats = self.daemon.json("GET", f"/sandboxes/{sandbox}/stats")
        self.assertGreater(stats["memory_usage_bytes"], 19 << 20)
        self.assertGreater(stats["cpu_percent"], 1)

    def test_unknown_paths_and_methods(self):
        status, headers, body = self.daemon.http("GET", "/nope")
        self.assertEqual((status, body), (404, b"404 page not found\n"))
        self.assertTrue(headers["Content-Type"].startswith("text/plain"))
        self.assertEqual(self.daemon.http("GET", "/sandboxes/")[0], 404)
        for method in ("POST", "OPTIONS"):
            status, headers, body = self.daemon.http(method, "/health")
            self.assertEqual((status, body), (405, b"Method Not Allowed\n"))
            self.assertEqual({m.strip() for m in headers["Allow"].split(",")}, {"GET", "HEAD"})
        _, headers, _ = self.daemon.http("PATCH", "/sandboxes")
        self.assertEqual({m.strip() for m in headers["Allow"].split(",")}, {"GET", "HEAD", "POST"})
        for path in ("//sandboxes", "/a/../sandboxes", "/./sandboxes"):
            status, headers, _ = self.daemon.http("GET", path)
            self.assertEqual((status, headers["Location"]), (301, "/sandboxes"), path)
        status, headers, body = self.daemon.http("HEAD", "/health")
        self.assertEqual((status, body), (200, b""))
        self.assertNotIn("Access-Control-Allow-Origin", self.daemon.http("GET", "/health", None, {"Origin": "http://x"})[1])

    def test_health(self):
        _, _, body = self.daemon.http("GET", "/health")
        health = json.loads(body)
        self.assertEqual(health["status"], "ok")
        self.assertIsInstance(health["sandboxes"], int)
        self.assertRegex(body, rb'"ready":\d+')
        self.assertIn("v1", health["protocols"])
        self.assertRegex(health["version"], r"^\d+\.\d+")

    def test_profiles(self):
        profiles = self.daemon.json("GET", "/profiles")
        self.assertEqual([one["name"] for one in profiles], ["default", "small"])
        self.assertEqual((profiles[1]["memory"], profiles[1]["cpu"], profiles[1]["storage"]), ("64m", 0.5, "16m"))

    def test_pools(self):
        pools = {one["profile"]: one for one in self.daemon.json("GET", "/pools")}
        self.assertEqual(set(pools), {"default", "small"})
        for pool in pools.values():
            for key in ("image", "ready", "memory", "cpu", "hits", "misses", "target", "refill_ms"):
                self.assertIn(key, pool)
        self.assertEqual(self.daemon.json("PUT", "/pools/small", {"count": 3}), {"status": "ok"})
        self.assertGreaterEqual({one["profile"]: one for one in self.daemon.json("GET", "/pools")}["small"]["ready"], 3)
        self.assertEqual(self.daemon.json("POST", "/pools/small/flush"), {"status": "ok"})
        self.assertEqual(self.daemon.json("PUT", "/pools/small", {"count": 0}), {"status": "ok"})
        self.refused("PUT", "/pools/small", 400, "count must be non-negative", {"count": -1})
        self.refused("PUT", "/pools/small", 400, "invalid request body", "")
        self.assertIn(self.daemon.http("PUT", "/pools/nope", {"count": 1})[0], (404, 500))
        self.assertIn(self.daemon.http("POST", "/pools/nope/flush")[0], (404, 500))

    def test_a_warm_pool_serves_and_refills(self):
        self.eventually(lambda: self.pool("default")["ready"] > 0)
        before = self.pool("default")["hits"]
        self.create()
        self.assertEqual(self.pool("default")["hits"], before + 1)
        self.eventually(lambda: self.pool("default")["ready"] > 0)

    def pool(self, name):
        return {one["profile"]: one for one in self.daemon.json("GET", "/pools")}[name]

    def test_metrics(self):
        sandbox = self.create()
        self.daemon.http("GET", f"/sandboxes/{sandbox}/stats")
        self.daemon.http("GET", "/some/random/path")
        _, headers, body = self.daemon.http("GET", "/metrics")
        self.assertEqual(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        text = body.decode()
        for line in (r"sandboxd_sandboxes_active \d+", r'sandboxd_pool_ready\{profile="default"\} \d+',
                     r'sandboxd_sandbox_creates_total\{method="warm"\} \d+', r'sandboxd_sandbox_creates_total\{method="cold"\} \d+',
                     r"sandboxd_sandbox_destroys_total \d+", r'sandboxd_requests_total\{method="GET",path="/sandboxes/:id/stats",status="200"\} \d+',
                     r'sandboxd_request_duration_seconds_bucket\{method="POST",path="/sandboxes",le="0.001"\} \d+',
                     r'sandboxd_request_duration_seconds_bucket\{method="POST",path="/sandboxes",le="\+Inf"\} \d+'):
            self.assertRegex(text, "(?m)^" + line + "$")
        self.assertNotIn("random", text)
        self.assertNotIn('path="/metrics"', text)
        buckets = [int(n) for n in re.findall(r'_bucket\{method="POST",path="/sandboxes",le="[^"]*"\} (\d+)', text)]
        self.assertEqual(buckets, sorted(buckets))
        count = re.search(r'duration_seconds_count\{method="POST",path="/sandboxes"\} (\d+)', text)
        self.assertEqual(buckets[-1], int(count[1]))


class AdminOverTcp(Case):
    tcp = True

    def test_is_refused(self):
        text = "admin routes are only accessible via Unix socket"
        self.refused("GET", "/pools", 403, text, tcp=True)
        self.refused("PUT", "/pools/default", 403, text, {"count": 1}, tcp=True)
        self.refused("POST", "/pools/default/flush", 403, text, tcp=True)
        self.assertEqual(self.daemon.json("GET", "/health", tcp=True)["status"], "ok")


class Limits(Case):
    config = CONFIG.replace("max_sandboxes = 50", "max_sandboxes = 3")

    def test_capacity_is_never_overshot(self):
        ids, refusals = [], []

        def one():
            status, headers, body = self.daemon.http("POST", "/sandboxes", {})
            if status == 201:
                ids.append(json.loads(body)["id"])
            else:
                refusals.append((status, headers["Retry-After"], self.daemon_error(body)))
        threads = [threading.Thread(target=one) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(ids), 3)
        self.assertEqual(set(refusals), {(503, "2", "at capacity")})
        self.daemon.http("DELETE", "/sandboxes/" + ids.pop())
        ids.append(self.daemon.json("POST", "/sandboxes", {}, expect=201)["id"])
        for sandbox in ids:
            self.daemon.http("DELETE", "/sandboxes/" + sandbox)

    def test_identity_quota(self):
        mine = {"X-Sandbox-Identity": "acme", "X-Sandbox-Max-Concurrent": "1"}
        self.create(mine)
        headers = self.refused("POST", "/sandboxes", 429, "identity sandbox quota exceeded", {}, mine)
        self.assertEqual(headers["Retry-After"], "2")
        self.create({"X-Sandbox-Identity": "other", "X-Sandbox-Max-Concurrent": "1"})


class Memory(Case):
    config = CONFIG.replace('max_memory = "64g"', 'max_memory = "600m"')

    def test_the_sum_is_bounded(self):
        self.create(memory="256m")
        self.create(memory="256m")
        self.refused("POST", "/sandboxes", 503, "at capacity", {"memory": "256m"})
        self.create(profile="small")


class Rate(Case):
    config = CONFIG.replace("create_rate_limit = 0", "create_rate_limit = 3")

    def test_creations_per_minute(self):
        for body in ("", {}, {}):  # what is counted is the attempt
            self.daemon.http("POST", "/sandboxes", body)
        headers = self.refused("POST", "/sandboxes", 429, "sandbox creation rate limit exceeded", {})
        self.assertEqual(headers["Retry-After"], "60")
        self.assertEqual(self.daemon.http("POST", "/sandboxes", {}, {"X-Sandbox-Identity": "other"})[0], 201)


class Events(Case):
    def test_history(self):
        before = self.daemon.json("GET", "/events/history")["seq"]
        sandbox = self.create(labels={"a": "b"})
        self.daemon.http("DELETE", "/sandboxes/" + sandbox)
        history = self.daemon.json("GET", f"/events/history?after={before}abc")
        self.assertTrue(history["complete"])
        events = [one for one in history["events"] if one["sandbox_id"] == sandbox]
        self.assertEqual([one["type"] for one in events], ["sandbox.created", "sandbox.destroyed"])
        self.assertEqual(events[0]["data"]["labels"], {"a": "b"})
        self.assertEqual(events[0]["data"]["profile"], "default")
        self.assertIn(events[0]["data"]["method"], ("warm", "cold"))
        self.assertIsInstance(events[0]["data"]["image"], str)
        self.assertRegex(events[0]["timestamp"], RFC3339)
        self.assertNotIn("data", events[1])
        self.assertEqual(history["seq"], events[1]["id"])
        self.assertEqual(len(self.daemon.json("GET", f"/events/history?after={before}&limit=1")["events"]), 1)

    def test_history_parameters(self):
        self.refused("GET", "/events/history?after=x", 400, "invalid 'after' parameter — must be a numeric event ID")
        self.refused("GET", "/events/history?limit=0", 400, "invalid 'limit' parameter")
        self.assertEqual(self.daemon.json("GET", "/events/history?identity=nobody")["events"], [])

    def stream(self, headers=None, query=""):
        connection = self.daemon.connection(timeout=20)
        self.addCleanup(connection.close)
        connection.request("GET", "/events" + query, headers=headers or {})
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        self.assertEqual(response.headers["Content-Type"], "text/event-stream")
        self.assertEqual(response.headers["Cache-Control"], "no-cache")
        return response

    @staticmethod
    def next(response):
        """The lines of the next event; comments are heartbeats."""
        lines = []
        while True:
            line = response.readline().decode().rstrip("\n")
            if line == "" and lines:
                return lines
            if line and not line.startswith(":"):
                lines.append(line)

    def test_live(self):
        response = self.stream()
        sandbox = self.create()
        number, data = self.next(response)
        event = json.loads(data.removeprefix("data: "))
        self.assertEqual((event["type"], event["sandbox_id"], number), ("sandbox.created", sandbox, f"id: {event['id']}"))

    def test_last_event_id_replays_what_came_after(self):
        before = self.daemon.json("GET", "/events/history")["seq"]
        one, two = self.create(), self.create()
        response = self.stream({"Last-Event-ID": str(before + 1)} if before else {"Last-Event-ID": "1"})
        self.assertEqual(json.loads(self.next(response)[1][6:])["sandbox_id"], two)
        three = self.create()
        self.assertEqual(json.loads(self.next(response)[1][6:])["sandbox_id"], three)
        self.assertNotEqual(one, two)

    def test_identity_filter(self):
        response = self.stream(query="?identity=acme")
        self.create()
        mine = self.create({"X-Sandbox-Identity": "acme"})
        event = json.loads(self.next(response)[1][6:])
        self.assertEqual((event["sandbox_id"], event["identity"]), (mine, "acme"))


if __name__ == "__main__":
    unittest.main()
