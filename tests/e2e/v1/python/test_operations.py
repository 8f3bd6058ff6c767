"""Section 3: files, processes, environment, fetching, as raw clients and with the habits of the three SDKs."""
import base64
import io
import json
import os
import struct
import tarfile
import time
import unittest

from case import Case, SLOW

MIB = 1 << 20


class Operations(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sandbox = cls.daemon.json("POST", "/sandboxes", {"ttl": 300}, expect=201)["id"]

    def setUp(self):
        self.s = self.session(self.sandbox)
        self.s.exec("rm -rf /root/* /tmp/*")


class Files(Operations):
    def test_write_and_read(self):
        self.assertEqual(self.s.write("/root/a/b/f", b"hello"), {"success": True})
        content, result, _ = self.s.read("/root/a/b/f")
        self.assertEqual((content, result), (b"hello", {"chunked": False, "chunks": 1, "size": 5}))
        self.assertEqual(self.s.exec("stat -c %a /root/a/b/f /root/a")["stdout"].split(), ["644", "755"])
        self.s.write("relative", b"x")
        self.assertEqual(self.s.read("/root/relative")[0], b"x")

    def test_large_files_in_pieces(self):
        content = os.urandom(2 * MIB + 5)
        self.assertEqual(self.s.write("/root/big", content), {"success": True})
        got, result, pieces = self.s.read("/root/big")
        self.assertEqual(result, {"chunked": True, "chunks": 3, "size": len(content)})
        self.assertEqual([len(piece) for piece in pieces], [MIB, MIB, 5])
        self.assertTrue(got == content)
        self.s.write("/root/big", content[:MIB])
        _, result, pieces = self.s.read("/root/big")
        self.assertEqual((result["chunked"], len(pieces)), (False, 1))

    def test_empty_files(self):
        # The SDKs send no binary message at all for empty content.
        self.assertEqual(self.s.write("/root/empty", b""), {"success": True})
        content, result, pieces = self.s.read("/root/empty")
        self.assertEqual((content, result["size"], len(pieces)), (b"", 0, 1))
        number = self.s.send("fs.write", {"path": "/root/empty2", "size": 0})
        self.s.send_frame(2, b"")
        self.s.wait(number)
        self.assertEqual(self.s.write("/root/after", b"in step"), {"success": True})
        self.assertEqual(self.s.read("/root/after")[0], b"in step")

    def test_a_write_without_size_takes_one_message(self):
        number = self.s.send("fs.write", {"path": "/root/f"})
        self.s.send_frame(2, b"content")
        self.assertEqual(self.s.wait(number).result, {"success": True})
        self.assertEqual(self.s.read("/root/f")[0], b"content")

    def test_outside_is_denied_and_the_stream_stays_in_step(self):
        for path in ("/etc/shadow", "/root/../../../etc/passwd", "/proc", "/proc/1/environ", "/proc/sysrq-trigger", "/etc/resolv.conf", "/rootx"):
            for method in ("fs.read", "fs.stat", "fs.list", "fs.remove", "fs.mkdir", "fs.download"):
                code, message = self.s.error(method, {"path": path})
                self.assertEqual((code, message), (-32000, f'access denied: path "{path}" is outside allowed directories'))
            number = self.s.send("fs.write", {"path": path, "size": 3})
            self.s.send_frame(2, b"abc")
            with self.assertRaisesRegex(Exception, "access denied"):
                self.s.wait(number)
        self.s.exec("ln -s /etc /root/link; ln -s /etc/passwd /tmp/p")
        for path in ("/root/link/passwd", "/tmp/p", "/root/link"):
            self.assertIn("access denied", self.s.error("fs.read", {"path": path})[1])
        self.assertEqual(self.s.exec("echo in step")["stdout"], "in step\n")
        self.assertEqual(self.s.error("fs.read", {"path": ""})[1], "path is required")

    def test_errors_tell_no_implementation(self):
        for method, params, text in (("fs.read", {"path": "/root/zz"}, "read file: "), ("fs.list", {"path": "/root/zz"}, "read dir: "),
                                     ("fs.stat", {"path": "/root/zz"}, "stat: "), ("fs.download", {"path": "/root/zz"}, "stat: "),
                                     ("fs.rename", {"old": "/root/zz", "new": "/root/y"}, "rename: ")):
            code, message = self.s.error(method, params)
            self.assertEqual(code, -32000)
            self.assertTrue(message.startswith(text) and "no such file or directory" in message, message)
            for leak in ("/go/", "goroutine", ".go:"):
                self.assertNotIn(leak, message)
        self.assertEqual(self.s.binaries, [])

    def test_list_and_stat(self):
        self.assertEqual(self.s.call("fs.list", {"path": "/root"}), [])
        self.s.exec("cd /root && echo -n 12345 > b && chmod 640 b && mkdir a && ln -s b c")
        entries = self.s.call("fs.list", {"path": "/root"})
        self.assertEqual([one["name"] for one in entries], ["a", "b", "c"])
        self.assertEqual((entries[1]["size"], entries[1]["is_dir"], entries[1]["mode"]), (5, False, 0o640))
        self.assertEqual((entries[0]["is_dir"], entries[0]["mode"]), (True, 2147484141))
        self.assertEqual(entries[2]["mode"] & (1 << 27), 1 << 27)
        self.assertRegex(entries[1]["mod_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")
        stat = self.s.call("fs.stat", {"path": "/root/c"})  # follows
        self.assertEqual((stat["size"], stat["mode"]), (5, 0o640))
        self.assertEqual(stat["isDir"], False)  # what the Go SDK reads
        self.assertAlmostEqual(stat["modTime"], time.time(), delta=60)

    def test_remove_rename_mkdir(self):
        self.assertEqual(self.s.call("fs.mkdir", {"path": "/root/d"}), {"success": True})
        self.assertIn("mkdir: ", self.s.error("fs.mkdir", {"path": "/root/d"})[1])
        self.assertEqual(self.s.call("fs.mkdir", {"path": "/root/d", "recursive": True}), {"success": True})
        self.assertIn("mkdir: ", self.s.error("fs.mkdir", {"path": "/root/x/y"})[1])
        self.s.call("fs.mkdir", {"path": "/root/x/y", "recursive": True})
        self.s.write("/root/d/f", b"1")
        self.assertIn("remove: ", self.s.error("fs.remove", {"path": "/root/d"})[1])
        self.assertEqual(self.s.call("fs.rename", {"old": "/root/d/f", "new": "/root/g"}), {"success": True})
        self.assertEqual(self.s.call("fs.rename", {"oldPath": "/root/g", "newPath": "/root/h"}), {"success": True})  # Go's names
        self.assertEqual(self.s.read("/root/h")[0], b"1")
        self.assertEqual(self.s.call("fs.remove", {"path": "/root/x", "recursive": True}), {"success": True})
        self.assertEqual(self.s.call("fs.remove", {"path": "/root/missing", "recursive": True}), {"success": True})
        self.assertIn("remove: ", self.s.error("fs.remove", {"path": "/root/missing"})[1])
        self.s.exec("ln -s h /root/l")
        self.s.call("fs.remove", {"path": "/root/l"})
        self.assertEqual(self.s.exec("ls /root")["stdout"], "d\nh\n")  # the link went, not its target

    @staticmethod
    def tar(entries):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for name, content, *kind in entries:
                info = tarfile.TarInfo(name)
                info.mode = 0o750
                if kind:
                    info.type, info.linkname = kind[0], content.decode()
                    archive.addfile(info)
                else:
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        return data.getvalue()

    def test_upload_and_download(self):
        big = os.urandom(2 * MIB + 77)
        self.assertEqual(self.s.upload("/root/up", self.tar([("a/f", b"hello"), ("big", big)])), {"success": True})
        self.assertEqual(self.s.exec("cat /root/up/a/f; stat -c %a /root/up/a/f")["stdout"], "hello750\n")
        self.s.exec("ln -s /etc/passwd /root/up/leak; ln -s nowhere /root/up/dangling")
        reply = self.s.wait(self.s.send("fs.download", {"path": "/root/up"}))
        data = b"".join(reply.binaries)
        self.assertEqual(reply.result, {"size": len(data)})
        self.assertLessEqual(max(map(len, reply.binaries)), MIB)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            names = [member.name for member in archive]
            self.assertEqual(archive.extractfile([n for n in names if n.endswith("big")][0]).read(), big)
            self.assertNotIn(b"root:", data)
            for member in archive:
                self.assertLess(member.mode, 0o10000)
        self.assertEqual(self.s.upload("/root/again", data if b"leak" not in data else self.without_links(data)), {"success": True})
        self.assertEqual(self.s.read("/root/again/a/f")[0], b"hello")
        reply = self.s.wait(self.s.send("fs.download", {"path": "/root/up/a/f"}))
        with tarfile.open(fileobj=io.BytesIO(b"".join(reply.binaries))) as archive:
            self.assertEqual(archive.getnames(), ["f"])

    @staticmethod
    def without_links(data):
        out = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=out, mode="w") as target:
            for member in source:
                if not member.issym():
                    target.addfile(member, source.extractfile(member) if member.isfile() else None)
        return out.getvalue()

    def test_what_download_makes_upload_takes(self):
        self.s.exec("mkdir -p /root/src/d && echo 1 > /root/src/d/f")
        reply = self.s.wait(self.s.send("fs.download", {"path": "/root/src"}))
        self.assertEqual(self.s.upload("/root/dst", b"".join(reply.binaries)), {"success": True})
        self.assertEqual(self.s.read("/root/dst/d/f")[0], b"1\n")

    def test_hostile_archives(self):
        for entries, text in (([("l", b"/etc/passwd", tarfile.SYMTYPE)], 'tar entry "l": symlinks and hard links are not allowed'),
                              ([("h", b"x", tarfile.LNKTYPE)], 'tar entry "h": symlinks and hard links are not allowed'),
                              ([("../../etc/x", b"1")], "access denied")):
            with self.assertRaises(Exception) as caught:
                self.s.upload("/root/up", self.tar(entries))
            self.assertIn(text, str(caught.exception))
            self.assertEqual(self.s.exec("echo in step")["stdout"], "in step\n")
        with self.assertRaises(Exception):
            self.s.upload("/root/up", b"not a tar at all" * 64)
        self.assertEqual(self.s.exec("ls /etc/x 2>&1; echo in step")["stdout"].splitlines()[-1], "in step")


class Processes(Operations):
    def test_exec(self):
        result = self.s.exec("echo hello")
        self.assertEqual((result["stdout"], result["stderr"], result["exit_code"]), ("hello\n", "", 0))
        self.assertEqual(result["exitCode"], 0)  # what the Go SDK reads
        result = self.s.exec("echo e >&2; exit 7")
        self.assertEqual((result["stderr"], result["exit_code"]), ("e\n", 7))
        self.assertEqual(self.s.exec("kill -9 $$")["exit_code"], -1)
        self.assertEqual(self.s.exec("pwd")["stdout"], "/root\n")
        self.assertEqual(self.s.exec("pwd", cwd="/tmp")["stdout"], "/tmp\n")
        self.assertEqual(self.s.exec("echo $A", env={"A": "$HOME x"})["stdout"], "$HOME x\n")
        self.assertEqual(self.s.exec("printf '\\377a'")["stdout"], "\ufffda")
        self.assertEqual(self.s.exec("cat")["stdout"], "")  # stdin is empty
        self.assertEqual(self.s.error("process.exec", {}), (-32000, "command is required"))
        self.assertEqual(self.s.exec("id -u")["stdout"], "0\n")
        self.assertNotIn("SANDBOX_AUTH_TOKEN", self.s.exec("env")["stdout"])

    def test_timeouts(self):
        start = time.monotonic()
        self.assertEqual(self.s.error("process.exec", {"command": "sleep 30", "timeout": 1}), (-32000, "command timed out after 1s"))
        self.assertLess(time.monotonic() - start, 10 * SLOW)
        # A child that holds the output keeps the reply waiting, but not beyond the timeout.
        self.assertEqual(self.s.error("process.exec", {"command": "sleep 30 & echo started", "timeout": 1})[1], "command timed out after 1s")
        self.assertEqual(self.s.exec("echo hi", timeout=0)["stdout"], "hi\n")
        self.assertEqual(self.s.exec("echo hi", timeout=1.5)["stdout"], "hi\n")

    def test_background_children_with_redirected_output_live_on(self):
        # Answered although the child is there: it ends only when it is told to.
        self.s.exec("(until [ -e /tmp/go ]; do sleep 0.05; done; echo done > /tmp/mark) > /dev/null 2>&1 &", timeout=30)
        self.assertEqual(self.s.exec("cat /tmp/mark 2>/dev/null; touch /tmp/go")["stdout"], "")
        self.eventually(lambda: self.s.exec("cat /tmp/mark 2>/dev/null")["stdout"] == "done\n")

    def test_huge_output_does_not_end_the_session(self):
        result = self.s.exec("head -c 20000000 /dev/zero | tr '\\0' '\\1'")  # each byte takes six in JSON
        self.assertGreater(len(result["stdout"]), 100000)
        self.assertEqual(self.s.exec("echo still here")["stdout"], "still here\n")

    def test_stream(self):
        number = self.s.send("process.stream", {"command": "printf 'ä%.0s' $(seq 10000); echo e >&2; exit 3"})
        result = self.s.wait(number).result
        self.assertEqual(result["exit_code"], 3)
        outputs = [params for method, params in self.s.notifications if method == "process.output"]
        self.assertEqual("".join(one["data"] for one in outputs if one["stream"] == "stdout"), "ä" * 10000)
        self.assertEqual("".join(one["data"] for one in outputs if one["stream"] == "stderr"), "e\n")
        self.assertLessEqual(max(len(one["data"].encode()) for one in outputs), 8192)
        self.assertIn("timed out after 1s", self.s.error("process.stream", {"command": "sleep 9", "timeout": 1})[1])

    def test_spawn(self):
        pid = self.s.call("process.spawn", {"command": "head -c 10000 /dev/zero; echo err >&2; exit 5"})["pid"]
        self.s.until(lambda method, params: method == "process.exit" and params["pid"] == pid)
        mine = [(method, params) for method, params in self.s.notifications if params.get("pid") == pid]
        self.assertEqual(mine[-1], ("process.exit", {"exit_code": 5, "pid": pid}))
        out = [base64.b64decode(params["data"]) for method, params in mine if method == "process.stdout"]
        self.assertEqual(b"".join(out), bytes(10000))
        self.assertLessEqual(max(map(len, out)), 4096)
        self.assertEqual([base64.b64decode(params["data"]) for method, params in mine if method == "process.stderr"], [b"err\n"])

    def test_stdin_and_signals(self):
        pid = self.s.call("process.spawn", {"command": "cat"})["pid"]
        self.assertEqual(self.s.call("process.stdin", {"pid": pid, "data": base64.b64encode(b"ping").decode()}), {"success": True})
        self.s.until(lambda method, params: method == "process.stdout" and params["data"] == "cGluZw==")
        self.assertEqual(self.s.call("process.signal", {"pid": pid, "signal": "SIGTERM"}), {"success": True})
        self.s.until(lambda method, params: method == "process.exit" and params == {"exit_code": -1, "pid": pid})
        # The Go SDK's Kill.
        pid = self.s.call("process.spawn", {"command": "sleep 60"})["pid"]
        self.assertIn("unsupported signal: SIGFOO", self.s.error("process.signal", {"pid": pid, "signal": "SIGFOO"})[1])
        self.s.call("process.exec", {"pid": pid, "signal": "SIGKILL"})
        self.s.until(lambda method, params: method == "process.exit" and params["pid"] == pid)
        self.assertIn(f"no such process: {pid}", self.s.error("process.stdin", {"pid": pid, "data": ""})[1])

    def terminal(self, text, since=0):
        while text not in b"".join(self.s.binaries):
            self.s.pump()

    def test_pty(self):
        pid = self.s.call("process.pty", {"command": "/bin/sh", "cols": 100, "rows": 30})["pid"]
        self.s.send_frame(2, struct.pack(">I", pid) + b"stty size; tty; echo a$((1+1))b\n")
        self.terminal(b"a2b")
        self.assertIn(b"30 100", b"".join(self.s.binaries))
        self.assertIn(b"/dev/pts/", b"".join(self.s.binaries))
        self.assertEqual(self.s.call("process.resize", {"pid": pid, "cols": 50, "rows": 20}), {"success": True})
        # The Go SDK's Write: a notification without an id.
        self.s.send_json({"jsonrpc": "2.0", "method": "process.pty",
                          "params": {"pid": pid, "data": base64.b64encode(b"stty size; exit 4\n").decode()}})
        self.s.until(lambda method, params: method == "process.exit" and params == {"exit_code": 4, "pid": pid})
        self.assertIn(b"20 50", b"".join(self.s.binaries))
        self.assertEqual(self.s.error("process.resize", {"pid": pid, "cols": 50, "rows": 20})[1], f"no such pty process: {pid}")
        self.assertEqual(self.s.error("process.resize", {"pid": pid, "cols": 0, "rows": 20})[1], "cols and rows are required")

    def test_stray_binary_messages_are_ignored(self):
        for payload in (b"", b"abc", b"\0\0\0\0x", b"\xff\xff\xff\xffxx", os.urandom(1000)):
            self.s.send_frame(2, payload)
        self.assertEqual(self.s.exec("echo in step")["stdout"], "in step\n")


class Others(Operations):
    @staticmethod
    def value(result):
        return result["value"] if isinstance(result, dict) else result

    def test_environment_store(self):
        listed = self.s.call("env.list")
        self.assertNotIn("SANDBOX_AUTH_TOKEN", json.dumps(listed))
        self.s.call("env.set", {"key": "K", "value": "v w"})
        self.assertEqual(self.value(self.s.call("env.get", {"key": "K"})), "v w")
        self.assertIn("v w", json.dumps(self.s.call("env.list")))
        self.assertEqual(self.s.exec("echo \"[$K]\"")["stdout"], "[]\n")  # it does not reach processes
        self.s.call("env.delete", {"key": "K"})
        self.s.call("env.delete", {"key": "K"})
        self.assertIsNone(self.value(self.s.call("env.get", {"key": "K"})))
        for method in ("env.get", "env.set", "env.delete"):
            self.assertEqual(self.s.error(method, {"key": ""})[1], "key is required")

    def test_fetch_refusals(self):
        self.assertEqual(self.s.error("net.fetch", {})[1], "url is required")
        self.assertEqual(self.s.error("net.fetch", {"url": "ftp://x/"})[1], 'unsupported scheme "ftp": only http and https are allowed')
        for host in ("10.1.2.3", "172.16.0.1", "192.168.0.1", "127.0.0.1", "169.254.1.1", "[::1]", "[fd00::1]", "[fe80::1]", "[::ffff:127.0.0.1]"):
            self.assertEqual(self.s.error("net.fetch", {"url": f"http://{host}/"})[1], "requests to private/internal addresses are not allowed", host)


if __name__ == "__main__":
    unittest.main()
