"""Whatever comes over the wire: the connection ends or an error is answered, and the daemon lives."""
import os
import random
import socket
import struct
import unittest

from case import Case, Closed


class Http(Case):
    tcp = True

    def answer(self, data, tcp=False):
        """The status of the answer, or None when the connection just ends."""
        with self.daemon.raw(tcp) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                got = b""
                while data := sock.recv(4096):
                    got += data
            except (ConnectionError, BrokenPipeError):
                return None
            return int(got.split()[1]) if got.startswith(b"HTTP/1.") else None

    def test_broken_requests(self):
        for data in (b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
                     b"GET /health HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                     b"POST /sandboxes HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                     b"POST /sandboxes HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                     b"POST /sandboxes HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
                     b"POST /sandboxes HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     b"POST /sandboxes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"POST /sandboxes HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{}",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
                     b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
                     b"GET /sandboxes/%00 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /sandboxes/%zz HTTP/1.1\r\nHost: a\r\n\r\n"):
            for tcp in (False, True):
                status = self.answer(data, tcp)
                self.assertTrue(status is None or 400 <= status < 600, (data[:60], status))
        self.assertEqual(self.daemon.http("GET", "/health")[0], 200)

    def test_noise(self):
        generator = random.Random(7)
        for _ in range(200):
            self.answer(generator.randbytes(generator.randrange(1, 400)))
        self.assertEqual(self.daemon.http("GET", "/health")[0], 200)

    def test_odd_names(self):
        for path in ("/sandboxes/" + "x" * 5000, "/sandboxes/sbx-%2e%2e%2f/stats", "/templates/%F0%9F%98%80", "/sandboxes/'%20OR%201=1/stats",
                     "/pools/%2e%2e"):
            self.assertIn(self.daemon.http("GET", path)[0], (301, 404, 405, 414, 431), path)


class Frames(Case):
    def closes(self, send, codes):
        session = self.session(ttl=60)
        try:
            send(session)
            while True:
                session.receive()
        except Closed as closed:
            self.assertIn(closed.code, codes)
        except ConnectionError:
            self.assertIn(1006, codes)

    def test_protocol_errors_close(self):
        protocol_error = (1002, 1006)
        self.closes(lambda s: s.send_frame(1, b"{}", masked=False), protocol_error)
        self.closes(lambda s: s.send_frame(3, b"reserved opcode"), protocol_error)
        self.closes(lambda s: s.sock.sendall(b"\xf1\x80\0\0\0\0"), protocol_error)
        self.closes(lambda s: s.send_frame(0, b"nothing to continue"), protocol_error)
        self.closes(lambda s: (s.send_frame(1, b"a", fin=False), s.send_frame(1, b"b")), protocol_error)
        self.closes(lambda s: s.send_frame(9, b"x" * 126), protocol_error)
        self.closes(lambda s: s.send_frame(9, b"", fin=False), protocol_error)
        self.closes(lambda s: s.send_frame(8, b"x"), protocol_error)
        self.closes(lambda s: s.send_frame(8, struct.pack(">H", 999)), protocol_error)
        self.closes(lambda s: s.send_frame(1, b"\xff\xfe"), (1007, 1002, 1006))

    def test_too_large(self):
        self.closes(lambda s: s.sock.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 40) + b"\0\0\0\0"), (1009,))
        self.closes(lambda s: s.sock.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 63) + b"\0\0\0\0"), (1002, 1006, 1009))

        def in_pieces(session):
            for i in range(5):
                session.send_frame(2 if i == 0 else 0, b"x" * (1 << 19), fin=False)
        self.closes(in_pieces, (1009,))

    def test_noise(self):
        generator = random.Random(11)
        for _ in range(20):
            session = self.session(ttl=60)
            session.sock.sendall(generator.randbytes(generator.randrange(2, 2000)))
            session.cut()
        self.assertEqual(self.session().exec("echo fine")["stdout"], "fine\n")

    def test_json_noise(self):
        session = self.session(ttl=60)
        generator = random.Random(13)
        base = b'{"jsonrpc":"2.0","id":1,"method":"fs.write","params":{"path":"/root/f","size":3,"chunks":1}}'
        for _ in range(300):
            damaged = bytearray(base)
            for _ in range(generator.randrange(1, 4)):
                damaged[generator.randrange(len(damaged))] = generator.randrange(32, 127)
            session.send_frame(1, bytes(damaged))
        for hostile in (b"[" * 100000, b'{"a":' * 50000, b'{"jsonrpc":"2.0","id":1e400,"method":"env.list"}',
                        b'{"jsonrpc":"2.0","id":5,"method":"fs.write","params":{"path":"/root/f","size":-1}}',
                        b'{"jsonrpc":"2.0","id":6,"method":"fs.write","params":{"path":"/root/f","size":9e18,"chunked":true,"chunks":4000000000}}'):
            session.send_frame(1, hostile)
        session.cut()
        self.assertEqual(self.session().exec("echo fine")["stdout"], "fine\n")

    def test_a_client_that_reads_nothing(self):
        sandbox = self.create(ttl=60)
        session = self.session(sandbox)
        for i in range(50):
            session.send("process.exec", {"command": "head -c 1000000 /dev/zero | tr '\\0' a"})
        # Nobody reads those 50 MB; others are served meanwhile.
        other = self.session()
        self.assertEqual(other.exec("echo served")["stdout"], "served\n")
        self.assertEqual(self.daemon.http("GET", "/health")[0], 200)
        for number in range(1, 51):
            self.assertEqual(len(session.wait(number).result["stdout"]), 1000000)

    def test_many_sandboxes_by_many_clients(self):
        import threading
        failed = []

        def one(index):
            try:
                session = self.session(ttl=0)
                for i in range(3):
                    if session.exec(f"echo {index}.{i}")["stdout"] != f"{index}.{i}\n":
                        failed.append(index)
                session.close()
            except Exception as error:  # noqa: BLE001: whatever it is, it is told
                failed.append((index, error))
        threads = [threading.Thread(target=one, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])


if __name__ == "__main__":
    unittest.main()
