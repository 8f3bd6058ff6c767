"""Sections 1.5 and 1.7: tunnels, the path proxy, templates."""
import http.client
import json
import os
import socket
import time
import unittest

from case import CONFIG, Case, SLOW
from v1client import WebSocket

#: One connection, one answer, then gone: `nc -l -p PORT` as upstream's tests run it.
ONE_SHOT = """python3 -c '
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", {port})); s.listen(1)
c, _ = s.accept(); s.close()
c.recv(65536); c.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello"); c.close()
' > /dev/null 2>&1 &"""

ECHO_HEADERS = """cat > /tmp/server.py <<'X'
import http.server, json
class H(http.server.BaseHTTPRequestHandler):
    def answer(self):
        size = int(self.headers.get("Content-Length", 0))
        body = json.dumps({"method": self.command, "path": self.path, "headers": list(self.headers.items()),
                           "body": self.rfile.read(size).decode()}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)
    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), H).serve_forever()
X
python3 /tmp/server.py > /tmp/log 2>&1 &"""

WEBSOCKET_ECHO = r"""cat > /tmp/ws.py <<'X'
import socket, hashlib, base64
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", 8001)); s.listen(5)
while True:
    c, _ = s.accept()
    head = b""
    while b"\r\n\r\n" not in head: head += c.recv(4096)
    lines = head.decode().split("\r\n")
    key = [l.split(": ")[1] for l in lines if l.lower().startswith("sec-websocket-key")][0]
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    c.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept).encode())
    path = lines[0].split()[1].encode()
    c.sendall(bytes([0x81, len(path)]) + path)
    while True:
        data = c.recv(4096)
        if not data: break
        size = data[1] & 127
        mask, text = data[2:6], data[6:6 + size]
        c.sendall(bytes([0x81, size]) + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
X
python3 /tmp/ws.py > /tmp/log 2>&1 &"""


class Tunnels(Case):
    config = CONFIG.replace("[limits]\n", "[limits]\nmax_tunnels = 2\nmax_connections_per_tunnel = 2\n")
    tcp = True

    def setUp(self):
        self.sandbox = self.create(ttl=60)
        self.s = self.session(self.sandbox)

    def expose(self, port, body=None, expect=200):
        return self.daemon.json("POST", f"/sandboxes/{self.sandbox}/ports/{port}/expose", body, expect=expect)

    def test_a_one_shot_server_is_not_eaten(self):
        for port in (8080, 8081):
            self.s.exec(ONE_SHOT.format(port=port))
            info = self.expose(port, {"timeout": 10})
            self.assertEqual((info["port"], info["url"]), (port, f"http://localhost:{info['host_port']}"))
            connection = http.client.HTTPConnection("127.0.0.1", info["host_port"], timeout=10)
            connection.request("GET", "/")
            self.assertEqual(connection.getresponse().read(), b"hello")
            connection.close()

    @staticmethod
    def listens(host_port):
        try:
            socket.create_connection(("127.0.0.1", host_port), timeout=2).close()
            return True
        except OSError:
            return False

    def test_waits_for_the_port(self):
        start = time.monotonic()
        self.s.exec("(sleep 1; " + ONE_SHOT.format(port=8080) + " wait) > /dev/null 2>&1 &")
        self.expose(8080, {"timeout": 15})
        self.assertGreater(time.monotonic() - start, 1)

    def test_errors(self):
        for port in ("0", "99999", "-1", "65536", "abc", "80x"):
            self.refused("POST", f"/sandboxes/{self.sandbox}/ports/{port}/expose", 400, "invalid port number")
        self.refused("POST", "/sandboxes/sbx-00000000/ports/80/expose", 404, "sandbox not found")
        self.refused("DELETE", f"/sandboxes/{self.sandbox}/ports/80/expose", 404, "port not exposed")
        start = time.monotonic()
        self.refused("POST", f"/sandboxes/{self.sandbox}/ports/81/expose", 502, "port expose failed", {"timeout": 1})
        self.assertLess(time.monotonic() - start, 6 * SLOW)
        self.assertEqual(self.daemon.http("GET", f"/sandboxes/{self.sandbox}/ports")[2], b"[]\n")

    def test_list_close_limit(self):
        self.s.exec(ECHO_HEADERS)
        self.s.exec(WEBSOCKET_ECHO)
        one, two = self.expose(8000), self.expose(8001)
        self.refused("POST", f"/sandboxes/{self.sandbox}/ports/8000/expose", 409, "port already exposed")
        self.refused("POST", f"/sandboxes/{self.sandbox}/ports/8002/expose", 429, "tunnel limit reached (2)")
        listed = self.daemon.json("GET", f"/sandboxes/{self.sandbox}/ports")
        self.assertEqual(sorted((t["port"], t["host_port"]) for t in listed), sorted((t["port"], t["host_port"]) for t in (one, two)))
        status, _, body = self.daemon.http("DELETE", f"/sandboxes/{self.sandbox}/ports/8001/expose")
        self.assertEqual((status, body), (204, b""))
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", two["host_port"]), timeout=2)
        self.daemon.http("DELETE", f"/sandboxes/{self.sandbox}")
        self.eventually(lambda: not self.listens(one["host_port"]))

    def test_too_many_connections(self):
        self.s.exec(ECHO_HEADERS)
        port = self.expose(8000)["host_port"]
        held = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(2)]
        extra = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.assertEqual(extra.recv(1), b"")
        for one in held:
            one.close()
        extra.close()

    def test_the_end_of_the_session_closes_them(self):
        self.s.exec(ECHO_HEADERS)
        port = self.expose(8000)["host_port"]
        self.s.close()
        self.eventually(lambda: not self.listens(port))
        self.refused("POST", f"/sandboxes/{self.sandbox}/ports/8000/expose", 409, "sandbox is not running")

    def test_path_proxy(self):
        base = f"/sandboxes/{self.sandbox}/ports/8000"
        self.refused("GET", base + "/x", 403, "port not exposed")
        self.s.exec(ECHO_HEADERS)
        self.expose(8000)
        secrets = {"Authorization": "Bearer hush", "X-Sandbox-Identity": "", "X-Sandbox-Signature": "hush", "X-Sandbox-Timestamp": "1",
                   "X-Sandbox-Nonce": "hush", "X-Sandbox-Max-TTL": "5", "X-Mine": "kept"}
        seen = self.daemon.json("POST", base + "/a%20b/c?x=1&y", "body", secrets, tcp=True)
        self.assertEqual((seen["method"], seen["path"], seen["body"]), ("POST", "/a%20b/c?x=1&y", "body"))
        headers = {}
        for name, value in seen["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        for gone in ("authorization", "x-sandbox-identity", "x-sandbox-signature", "x-sandbox-timestamp", "x-sandbox-nonce", "x-sandbox-max-ttl"):
            self.assertNotIn(gone, headers)
        self.assertEqual(headers["x-mine"], ["kept"])
        self.assertEqual(headers["x-sandbox-id"], [self.sandbox])
        self.assertEqual(headers["x-forwarded-proto"], ["http"])
        self.assertIn("127.0.0.1", headers["x-forwarded-for"][0])
        self.assertEqual(headers["host"], [f"127.0.0.1:{self.daemon.tcp_port}"])
        self.assertEqual(headers["x-forwarded-host"], headers["host"])
        self.assertEqual(self.daemon.json("GET", base)["path"], "/")
        self.assertEqual(self.daemon.json("GET", base + "/expose")["path"], "/expose")
        self.assertEqual(self.daemon.json("PUT", base + "/z", "x" * 3000000)["method"], "PUT")
        self.s.exec("kill $(pgrep -f /tmp/server.py)")
        self.refused("GET", base + "/", 502, "proxy error")

    def test_websocket_through_the_proxy(self):
        self.s.exec(WEBSOCKET_ECHO)
        self.expose(8001)
        socket_ = WebSocket(self.daemon.raw(), f"/sandboxes/{self.sandbox}/ports/8001/chat?a=b")
        self.assertEqual(socket_.receive(), (1, b"/chat?a=b"))
        socket_.send_frame(1, b"echo me")
        self.assertEqual(socket_.receive(), (1, b"echo me"))
        socket_.cut()


class Templates(Case):
    def setUp(self):
        self.sandbox = self.create(ttl=60, memory="100m")
        self.s = self.session(self.sandbox)
        self.s.write("/root/kept", b"state")

    def save(self, headers=None, expect=201, **body):
        made = self.daemon.json("POST", "/templates", {"sandbox_id": self.sandbox, **body}, headers, expect=expect)
        if expect == 201:
            self.addCleanup(self.daemon.http, "DELETE", "/templates/" + made["id"])
        return made

    def test_what_was_written_comes_back(self):
        saved = self.save(label="mine")
        self.assertRegex(saved["id"], r"^tpl-[0-9a-f]{8}$")
        self.assertEqual((saved["label"], saved["last_used"]), ("mine", "0001-01-01T00:00:00Z"))
        for key in ("image", "backend", "created_at"):
            self.assertIsInstance(saved[key], str)
        self.assertIsInstance(saved["size"], int)
        self.assertNotIn("identity", saved)
        self.assertEqual(self.daemon.json("GET", "/templates/" + saved["id"]), saved)
        self.assertIn(saved, self.daemon.json("GET", "/templates"))
        info = self.daemon.json("POST", "/sandboxes", {"template": saved["id"], "ttl": 60}, expect=201)
        self.addCleanup(self.daemon.http, "DELETE", "/sandboxes/" + info["id"])
        self.assertEqual(info["template"], saved["id"])
        self.assertNotIn("profile", info)
        self.assertEqual(self.session(info["id"]).read("/root/kept")[0], b"state")
        limit = self.daemon.json("GET", f"/sandboxes/{info['id']}/stats")["memory_limit_bytes"]
        self.assertEqual(limit, 100 << 20, "the limits recorded with the template")
        self.assertNotEqual(self.daemon.json("GET", "/templates/" + saved["id"])["last_used"], "0001-01-01T00:00:00Z")
        self.assertEqual(self.daemon.http("DELETE", "/templates/" + saved["id"])[0], 204)
        self.refused("DELETE", "/templates/" + saved["id"], 404, "template not found")
        self.refused("GET", "/templates/" + saved["id"], 404, "template not found")

    def test_the_label_defaults_to_the_id(self):
        saved = self.save()
        self.assertEqual(saved["label"], saved["id"])

    def test_errors(self):
        self.refused("POST", "/templates", 400, "sandbox_id is required", {})
        self.refused("POST", "/templates", 400, "invalid request body", "")
        self.refused("POST", "/templates", 404, "sandbox not found", {"sandbox_id": "sbx-00000000"})
        mine = {"X-Sandbox-Identity": "acme", "X-Sandbox-Max-Templates": "1"}
        sandbox = self.create(mine)
        first = self.daemon.json("POST", "/templates", {"sandbox_id": sandbox}, mine, expect=201)
        self.addCleanup(self.daemon.http, "DELETE", "/templates/" + first["id"], None, mine)
        headers = self.refused("POST", "/templates", 429, "identity template quota exceeded", {"sandbox_id": sandbox}, mine)
        self.assertEqual(headers["Retry-After"], "2")


class FewTemplates(Case):
    config = CONFIG.replace("[limits]\n", '[limits]\nmax_templates = 1\nmax_template_size = "1m"\n')

    def test_limits(self):
        sandbox = self.create(ttl=60)
        session = self.session(sandbox)
        session.write("/root/big", os.urandom(3 << 20))
        status, _, body = self.daemon.http("POST", "/templates", {"sandbox_id": sandbox})
        self.assertEqual(status, 400)
        self.assertRegex(json.loads(body)["error"], r"^template size \d+ exceeds limit$")
        self.assertEqual(self.daemon.http("GET", "/templates")[2], b"[]\n")
        session.call("fs.remove", {"path": "/root/big"})
        saved = self.daemon.json("POST", "/templates", {"sandbox_id": sandbox}, expect=201)
        self.refused("POST", "/templates", 503, "template limit reached", {"sandbox_id": sandbox})
        self.daemon.http("DELETE", "/templates/" + saved["id"])


if __name__ == "__main__":
    unittest.main()
