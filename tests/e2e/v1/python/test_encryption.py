"""Section 4: the legacy encryption, live and by its vectors."""
import base64
import json
import os
import unittest

from case import Case, RpcError
from v1client import AesGcm, Sodium

MIB = 1 << 20


class Vectors(unittest.TestCase):
    def test_client_side(self):
        """What this client computes is what the specification says: else the live tests prove little."""
        client, agent = bytes(range(1, 33)), bytes(range(0x21, 0x41))
        public = Sodium.x25519_base(agent)
        self.assertEqual(base64.b64encode(public), b"WGmv9FBUlzLLqu1eXfmzCm2jHLDldCutWtShp2jxpns=")
        self.assertEqual(base64.b64encode(Sodium.x25519_base(client)), b"B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=")
        key = Sodium.x25519(client, public)
        self.assertEqual(key.hex(), "a84dc7c3c8f058b1b2dc4cd1e9b5dc0a7987f88b6a9564cde3391fc421159e77")
        cipher, nonce = AesGcm(key), bytes(range(12))
        self.assertEqual(base64.b64encode(cipher.seal(b'{"command":"echo hi"}', nonce)),
                         b"AAECAwQFBgcICQoLzI+HZd7+oE2QoS//UIOeKiA7Il4VS+iSTeFn61sePqleHQ0BLg==")
        self.assertEqual(cipher.seal(b"", nonce).hex(), "000102030405060708090a0ba325bdeac9e744f337f89f1795a7b1c0")


@unittest.skipUnless(Sodium.has_aes(), "libsodium has no AES on this processor")
class Live(Case):
    def setUp(self):
        self.sandbox = self.create(ttl=60)
        self.s = self.session(self.sandbox)
        self.s.negotiate()

    def raw(self, number):
        while number not in self.s.replies:
            self.s.pump()
        return self.s.replies.pop(number)[0]

    def test_params_and_results(self):
        result = self.s.exec("echo hi")
        self.assertEqual((result["stdout"], result["exit_code"]), ("hi\n", 0))
        message = self.raw(self.s.send("process.exec", {"command": "echo secret"}))
        self.assertEqual(list(message["result"]), ["_encrypted"])
        self.assertEqual(list(self.raw(self.s.send("env.set", {"key": "a", "value": "b"}))["result"]), ["_encrypted"])
        self.assertIn("b", json.dumps(self.s.call("env.list")))  # an envelope of nothing

    def test_go_sends_null_for_no_params(self):
        self.s.send_json({"jsonrpc": "2.0", "id": 50, "method": "env.list",
                          "params": {"_encrypted": base64.b64encode(self.s.cipher.seal(b"null")).decode()}})
        self.s.wait(50)

    def test_params_in_the_clear_are_taken(self):
        self.s.send_json({"jsonrpc": "2.0", "id": 51, "method": "process.exec", "params": {"command": "echo clear"}})
        self.assertEqual(self.s.wait(51).result["stdout"], "clear\n")

    def test_damage_is_noticed(self):
        blob = bytearray(self.s.cipher.seal(b'{"command":"true"}'))
        blob[20] ^= 1
        for bad in (base64.b64encode(bytes(blob)).decode(), "AAAA", "not base64!"):
            self.s.send_json({"jsonrpc": "2.0", "id": 52, "method": "process.exec", "params": {"_encrypted": bad}})
            with self.assertRaises(RpcError) as caught:
                self.s.wait(52)
            self.assertEqual(caught.exception.code, -32600)
            self.assertTrue(caught.exception.message.startswith("e2e decrypt: "), caught.exception.message)

    def test_files(self):
        for size in (0, 1, MIB - 28, MIB, 2 * MIB + 3):
            content = os.urandom(size)
            self.assertEqual(self.s.write("/root/f", content), {"success": True}, size)
            got, result, blobs = self.s.read("/root/f")
            self.assertTrue(got == content, size)
            self.assertEqual(result["size"], size)
            self.assertTrue(all(len(blob) <= MIB + 28 for blob in blobs))
            # A byte or two stand in any ciphertext by chance.
            self.assertTrue(size < 16 or all(content[:16] not in blob for blob in blobs))
        self.assertEqual(self.s.exec("wc -c < /root/f")["stdout"].strip(), str(2 * MIB + 3))

    def test_directories(self):
        import io
        import tarfile
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            info = tarfile.TarInfo("f")
            info.size = 2 * MIB
            archive.addfile(info, io.BytesIO(os.urandom(2 * MIB)))
        self.assertEqual(self.s.upload("/root/d", data.getvalue()), {"success": True})
        reply = self.s.wait(self.s.send("fs.download", {"path": "/root/d"}))
        tar = b"".join(self.s.cipher.open(blob) for blob in reply.binaries)
        self.assertEqual(reply.result["size"], len(tar))
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            self.assertEqual([member.size for member in archive if member.isfile()], [2 * MIB])

    def test_clear_content_is_refused_and_the_stream_stays_in_step(self):
        # The Python SDK encrypts params and forgets the content.
        number = self.s.send("fs.write", {"path": "/root/x", "size": 5})
        self.s.send_frame(2, b"hello")
        with self.assertRaises(RpcError) as caught:
            self.s.wait(number)
        self.assertIn("decrypt binary frame", caught.exception.message)
        self.assertEqual(self.s.exec("echo in step")["stdout"], "in step\n")

    def test_notifications(self):
        number = self.s.send("process.stream", {"command": "echo one; echo two"})
        self.s.wait(number)
        self.assertEqual("".join(p["data"] for m, p in self.s.notifications if m == "process.output"), "one\ntwo\n")

    def test_renegotiation_replaces_the_key(self):
        old = self.s.cipher
        self.s.negotiate()
        self.assertNotEqual(old.key, self.s.cipher.key)
        self.assertEqual(self.s.exec("echo new")["stdout"], "new\n")

    def test_the_key_is_of_one_connection(self):
        plain = self.session(self.sandbox)
        self.assertEqual(plain.exec("echo plain")["stdout"], "plain\n")

    def test_bad_public_keys(self):
        plain = self.session(ttl=60)
        self.assertIn("decode client public key: ", plain.error("session.negotiate_e2e", {"public_key": "!"})[1])
        self.assertIn("parse client public key: ", plain.error("session.negotiate_e2e", {"public_key": "AAAA"})[1])
        self.assertEqual(plain.error("session.negotiate_e2e", {"public_key": base64.b64encode(bytes(32)).decode()})[0], -32000)
        self.assertEqual(plain.exec("echo plain")["stdout"], "plain\n")

    def test_template_save_works_under_encryption(self):
        result = self.s.call("template.save", {"label": "hidden"})
        self.assertRegex(result["id"], r"^tpl-[0-9a-f]{8}$")
        self.daemon.http("DELETE", "/templates/" + result["id"])


if __name__ == "__main__":
    unittest.main()
