"""Section 2: handshake, one session at a time, reconnecting, ttl."""
import json
import time
import unittest

from case import Case, Closed, HandshakeFailed, SLOW
from v1client import Session


class Handshake(Case):
    tcp = True

    def fails(self, path="/sandboxes/{}/ws", request=None, **headers):
        sandbox = self.create(ttl=60)
        with self.daemon.raw(tcp=True) as sock:
            lines = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                     "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
            for name, value in headers.items():
                name = name.replace("_", "-")
                if value is None:
                    lines.pop(name, None)
                else:
                    lines[name] = value
            text = f"GET {path.format(sandbox)} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
            sock.sendall(text.encode())
            answer = sock.recv(4096).decode("latin-1")
            return int(answer.split()[1]), answer

    def test_needs_an_upgrade(self):
        status, answer = self.fails(Upgrade=None, Connection=None)
        self.assertEqual(status, 426)
        self.assertRegex(answer, "(?i)\r\nUpgrade: websocket\r\n")
        self.assertRegex(answer, "(?i)\r\nConnection: upgrade\r\n")

    def test_needs_version_and_key(self):
        self.assertEqual(self.fails(Sec_WebSocket_Version="8")[0], 400)
        self.assertEqual(self.fails(Sec_WebSocket_Key=None)[0], 400)

    def test_unknown_sandbox(self):
        with self.assertRaises(HandshakeFailed) as caught:
            Session(self.daemon, "sbx-00000000")
        self.assertEqual(caught.exception.status, 404)
        self.assertEqual(json.loads(caught.exception.body)["error"], "sandbox not found")

    def test_origin_over_tcp(self):
        self.assertEqual(self.fails(Origin="http://evil.example")[0], 403)
        self.assertEqual(self.fails(Origin="http://LOCALHOST")[0], 101)
        self.assertEqual(self.fails()[0], 101)

    def test_origin_over_unix_is_ignored(self):
        self.session(headers={"Origin": "http://evil.example"})

    def test_subprotocols_and_extensions_are_declined(self):
        session = self.session(headers={"Sec-WebSocket-Protocol": "Authorization:Bearer%20x, y",
                                        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"})
        self.assertNotIn("sec-websocket-protocol", session.headers)
        self.assertEqual(session.exec("echo hi")["stdout"], "hi\n")


class Life(Case):
    def exists(self, sandbox):
        return any(one["id"] == sandbox for one in self.daemon.json("GET", "/sandboxes"))

    def state(self, sandbox):
        return next((one["state"] for one in self.daemon.json("GET", "/sandboxes") if one["id"] == sandbox), None)

    def test_without_ttl_the_end_of_the_session_is_the_end(self):
        sandbox = self.create()
        self.session(sandbox).close()
        self.eventually(lambda: not self.exists(sandbox))
        with self.assertRaises(HandshakeFailed):
            Session(self.daemon, sandbox)

    def test_a_cut_session_counts_as_ended(self):
        sandbox = self.create()
        self.session(sandbox).cut()
        self.eventually(lambda: not self.exists(sandbox))

    def test_with_ttl_it_waits_then_goes(self):
        sandbox = self.create(ttl=2)
        self.session(sandbox).close()
        self.eventually(lambda: self.state(sandbox) == "disconnected")
        start = time.monotonic()
        self.eventually(lambda: not self.exists(sandbox), 20)
        self.assertGreater(time.monotonic() - start, 1)

    def test_never_connected_is_never_reaped(self):
        sandbox = self.create(ttl=1)
        time.sleep(2.5)
        self.assertEqual(self.state(sandbox), "running")

    def test_closing_is_answered(self):
        session = self.session(ttl=60)
        session.send_frame(8, b"\x03\xe8bye")
        with self.assertRaises(Closed) as caught:
            session.receive()
        self.assertEqual(caught.exception.code, 1000)

    def test_destroying_ends_the_session(self):
        sandbox = self.create(ttl=60)
        session = self.session(sandbox)
        self.daemon.http("DELETE", "/sandboxes/" + sandbox)
        with self.assertRaises(Closed):
            session.receive()

    def test_takeover(self):
        for ttl in (0, 60):
            sandbox = self.create(ttl=ttl)
            old = self.session(sandbox)
            old.call("env.set", {"key": "a", "value": "1"})
            new = self.session(sandbox)
            method, params = old.until(lambda method, _: method == "session.replaced")
            self.assertEqual(params, {"reason": "new session connected", "sandbox": sandbox})
            with self.assertRaises(Closed) as caught:
                old.receive()
            self.assertEqual((caught.exception.code, caught.exception.reason), (1000, "session closed"))
            time.sleep(0.3)  # the old end must not arm anything
            self.assertEqual(new.exec("echo alive")["stdout"], "alive\n")
            self.assertIn("1", json.dumps(new.call("env.get", {"key": "a"})))
            self.assertEqual(self.state(sandbox), "running")
            new.close()

    def test_resumed_with_what_happened_meanwhile(self):
        sandbox = self.create(ttl=60)
        session = self.session(sandbox)
        pid = session.call("process.spawn", {"command": "while [ ! -e /tmp/go ]; do sleep 0.05; done; echo later; exit 3"})["pid"]
        session.call("process.spawn", {"command": "sleep 0.5; touch /tmp/go"})
        session.cut()
        self.eventually(lambda: self.state(sandbox) == "disconnected")
        time.sleep(1.5 * SLOW)
        again = self.session(sandbox)
        _, resumed = again.until(lambda method, _: method == "session.resumed")
        self.assertEqual(again.notifications[0][0], "session.resumed")
        self.assertEqual(resumed["sandbox"], sandbox)
        self.assertGreaterEqual(resumed["buffered"], 3)  # output, two exits
        self.assertEqual(resumed["truncated"], 0)
        for key in ("disconnected_at", "reconnected_at"):
            self.assertRegex(resumed[key], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        again.until(lambda method, params: method == "process.stdout" and params["pid"] == pid and params["data"] == "bGF0ZXIK")
        again.until(lambda method, params: method == "process.exit" and params == {"pid": pid, "exit_code": 3})
        self.assertEqual(self.state(sandbox), "running")
        events = [one for one in self.daemon.json("GET", "/events/history")["events"] if one["sandbox_id"] == sandbox]
        self.assertEqual([one["type"] for one in events], ["sandbox.created", "sandbox.disconnected", "sandbox.reconnected"])
        self.assertEqual(events[1]["data"], {"ttl": 60})
        self.assertRegex(events[2]["data"]["disconnected_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_a_first_session_is_not_resumed(self):
        session = self.session(ttl=60)
        session.call("env.list")
        self.assertEqual(session.notifications, [])

    def test_reconnecting_calls_off_the_reaper(self):
        sandbox = self.create(ttl=1)
        self.session(sandbox).close()
        again = self.session(sandbox)
        time.sleep(2)
        self.assertEqual(again.exec("echo here")["stdout"], "here\n")


class Messages(Case):
    def setUp(self):
        self.s = self.session(ttl=60)

    def answer(self, message):
        """The answer to a message sent as is; a ping of ours after it shows when there is none."""
        self.s.send_frame(1, message if isinstance(message, bytes) else json.dumps(message).encode())
        number = self.s.send("env.list")
        found = []
        while True:
            opcode, payload = self.s.receive()
            got = json.loads(payload)
            if got.get("id") == number:
                return found
            found.append(got)

    def test_ids_are_echoed(self):
        for number in (7, 0, 2 ** 53, "text"):
            self.assertEqual([one["id"] for one in self.answer({"jsonrpc": "2.0", "id": number, "method": "env.get", "params": {"key": "x"}})], [number])

    def test_what_is_no_request_is_dropped_or_refused(self):
        for message in (b"not json", [], [{"jsonrpc": "2.0", "id": 1, "method": "env.list"}], {"id": 1, "method": "env.list"},
                        {"jsonrpc": "1.0", "id": 1, "method": "env.list"}, 5, None, "x"):
            for one in self.answer(message):
                self.assertIn(one["error"]["code"], (-32600, -32700), message)

    def test_notifications_are_carried_out_without_an_answer(self):
        answers = self.answer({"jsonrpc": "2.0", "method": "env.set", "params": {"key": "n", "value": "v"}})
        self.assertIn([one.get("id") for one in answers], ([], [0]))
        self.assertIn("v", json.dumps(self.s.call("env.get", {"key": "n"})))

    def test_unknown_methods(self):
        for method in ("no.such", "auth.token", ""):
            code, message = self.s.error(method, {})
            self.assertEqual((code, message), (-32601, f"method not found: {method}"))

    def test_params_of_the_wrong_type(self):
        code, message = self.s.error("fs.read", {"path": 5})
        self.assertEqual(code, -32000)
        self.assertIn("invalid params", message)
        code, message = self.s.error("fs.read", ["x"])
        self.assertIn("invalid params", message)

    def test_unknown_params_are_ignored_and_absent_ones_fine(self):
        # Python's SDK adds sandbox_id everywhere; TypeScript's env.list has no params at all.
        self.assertEqual(self.s.exec("echo hi", sandbox_id="sbx-1", more=[1])["stdout"], "hi\n")
        self.s.call("env.list")
        self.assertEqual(self.s.error("fs.read"), (-32000, "path is required"))

    def test_fragments_and_pings_from_clients(self):
        text = json.dumps({"jsonrpc": "2.0", "id": 99, "method": "process.exec", "params": {"command": "echo fragments"}}).encode()
        self.s.send_frame(1, text[:10], fin=False)
        self.s.send_frame(9, b"between")
        self.s.send_frame(0, text[10:20], fin=False)
        self.s.send_frame(0, text[20:])
        self.assertEqual(self.s.wait(99).result["stdout"], "fragments\n")
        self.assertEqual(self.s.pong, b"between")

    def test_two_mebibytes_are_the_limit(self):
        size = 2 << 20
        head = '{"jsonrpc":"2.0","id":98,"method":"env.get","params":{"key":"'
        text = head + "k" * (size - len(head) - 3) + '"}}'
        self.assertEqual(len(text), size)
        self.s.send_frame(1, text.encode())
        self.s.wait(98)
        self.s.send_frame(1, (text + " ").encode())
        with self.assertRaises(Closed) as caught:
            while True:
                self.s.receive()
        self.assertEqual((caught.exception.code, caught.exception.reason), (1009, "read limited at 2097153 bytes"))

    def test_parallel_calls_are_all_answered(self):
        numbers = [self.s.send("process.exec", {"command": f"sleep 0.{i % 3}; echo {i}"}) for i in range(20)]
        for i, number in enumerate(numbers):
            self.assertEqual(self.s.wait(number).result["stdout"], f"{i}\n")

    def test_template_save_is_intercepted(self):
        result = self.s.call("template.save", {"label": "from-session"})
        self.assertRegex(result["id"], r"^tpl-[0-9a-f]{8}$")
        self.addCleanup(self.daemon.http, "DELETE", "/templates/" + result["id"])
        self.assertEqual(self.daemon.json("GET", "/templates/" + result["id"])["label"], "from-session")


if __name__ == "__main__":
    unittest.main()
