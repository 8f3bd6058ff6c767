"""A v1 client as an outsider would write it from the specification: RFC 6455 by hand, JSON-RPC, the legacy encryption."""
import base64
import ctypes
import ctypes.util
import hashlib
import json
import os
import struct
import time

CHUNK = 1 << 20


class Closed(Exception):
    def __init__(self, code, reason):
        super().__init__(f"closed: {code} {reason!r}")
        self.code, self.reason = code, reason


class HandshakeFailed(Exception):
    def __init__(self, status, headers, body):
        super().__init__(f"{status} {body!r}")
        self.status, self.headers, self.body = status, headers, body


class WebSocket:
    """The client end. Every message of the daemon must be one unfragmented, unmasked, uncompressed frame."""

    def __init__(self, sock, path, headers=None, host="localhost"):
        self.sock, self.buffer = sock, b""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        found = {}
        for line in head[1:]:
            if ":" in line:
                name, value = line.split(":", 1)
                found[name.strip().lower()] = value.strip()
        if status != 101:
            body = self._exactly(int(found.get("content-length", 0)))
            raise HandshakeFailed(status, found, body)
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        assert found.get("sec-websocket-accept") == accept, found
        assert "sec-websocket-extensions" not in found, found
        self.headers = found

    def _more(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise Closed(1006, "connection ended")
        self.buffer += data

    def _until(self, mark):
        while mark not in self.buffer:
            self._more()
        at = self.buffer.index(mark) + len(mark)
        head, self.buffer = self.buffer[:at - len(mark)], self.buffer[at:]
        return head

    def _exactly(self, count):
        parts, have = [self.buffer], len(self.buffer)
        while have < count:
            data = self.sock.recv(1 << 18)
            if not data:
                raise Closed(1006, "connection ended")
            parts.append(data)
            have += len(data)
        data = b"".join(parts)
        self.buffer = data[count:]
        return data[:count]

    def send_frame(self, opcode, payload, fin=True, masked=True):
        mask = os.urandom(4)
        size = len(payload)
        head = bytes([(0x80 if fin else 0) | opcode])
        flag = 0x80 if masked else 0
        if size < 126:
            head += bytes([flag | size])
        elif size < 65536:
            head += bytes([flag | 126]) + struct.pack(">H", size)
        else:
            head += bytes([flag | 127]) + struct.pack(">Q", size)
        if masked:
            number = int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
            payload = mask + number.to_bytes(size, "big")
        self.sock.sendall(head + payload)

    def receive(self):
        """(opcode, payload) of the next data message; answers pings; Closed when it is closed."""
        while True:
            first, second = self._exactly(2)
            size = second & 0x7F
            assert not second & 0x80, "a server must not mask"
            if size == 126:
                size = struct.unpack(">H", self._exactly(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self._exactly(8))[0]
            assert size <= 10 << 20, f"a message of {size} bytes"
            payload = self._exactly(size)
            opcode = first & 0x0F
            assert first & 0xF0 == 0x80, f"fragmented or compressed: {first:#x}"
            if opcode == 8:
                code = struct.unpack(">H", payload[:2])[0] if payload else 1005
                try:
                    self.send_frame(8, payload[:2])
                except OSError:
                    pass
                raise Closed(code, payload[2:].decode())
            if opcode == 9:
                self.send_frame(10, payload)
                continue
            if opcode == 10:
                self.pong = payload
                continue
            assert opcode in (1, 2), f"opcode {opcode}"
            return opcode, payload

    def close(self, code=1000):
        try:
            self.send_frame(8, struct.pack(">H", code))
            while True:
                self.receive()
        except (Closed, OSError, AssertionError):
            pass
        self.sock.close()

    def cut(self):
        """Goes away without a word."""
        self.sock.close()


class RpcError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Reply:
    def __init__(self, result, binaries):
        self.result, self.binaries = result, binaries


class Session(WebSocket):
    """JSON-RPC over a WebSocket. Whatever arrives while a reply is awaited is kept: `notifications`, `binaries`."""

    def __init__(self, daemon, sandbox_id, headers=None, tcp=False):
        super().__init__(daemon.raw(tcp), f"/sandboxes/{sandbox_id}/ws", headers)
        self.next_id, self.notifications, self.binaries, self.replies, self.cipher = 1, [], [], {}, None

    # -- one message each way ------------------------------------------------------------------------------------------

    def send_json(self, message):
        self.send_frame(1, json.dumps(message).encode())

    def send(self, method, params=None, **extra):
        message = {"jsonrpc": "2.0", "id": self.next_id, "method": method, **extra}
        if self.cipher and method != "session.negotiate_e2e":
            # TypeScript sends an envelope of nothing for absent params, Go the text null; the others the params.
            text = b"" if params is None else json.dumps(params).encode()
            params = {"_encrypted": base64.b64encode(self.cipher.seal(text)).decode()}
        if params is not None:
            message["params"] = params
        self.send_json(message)
        self.next_id += 1
        return self.next_id - 1

    def pump(self):
        opcode, payload = self.receive()
        if opcode == 2:
            self.binaries.append(payload)
            return
        message = json.loads(payload)
        assert message["jsonrpc"] == "2.0" and isinstance(message, dict), message
        if "method" in message:
            params = message.get("params")
            if self.cipher and isinstance(params, dict) and "_encrypted" in params:
                params = json.loads(self.cipher.open(base64.b64decode(params["_encrypted"])))
            self.notifications.append((message["method"], params))
        else:
            assert "result" in message or "error" in message, message
            self.replies[message["id"]] = (message, self.binaries)
            self.binaries = []

    def wait(self, number):
        while number not in self.replies:
            self.pump()
        message, binaries = self.replies.pop(number)
        if "error" in message:
            assert set(message["error"]) <= {"code", "message"}, message
            raise RpcError(message["error"]["code"], message["error"]["message"])
        result = message["result"]
        if self.cipher and isinstance(result, dict) and "_encrypted" in result:
            result = json.loads(self.cipher.open(base64.b64decode(result["_encrypted"])))
        return Reply(result, binaries)

    # -- operations ------------------------------------------------------------------------------------------------------

    def call(self, method, params=None):
        return self.wait(self.send(method, params)).result

    def error(self, method, params=None):
        """The error it must answer with, as (code, message)."""
        try:
            result = self.call(method, params)
        except RpcError as error:
            return error.code, error.message
        raise AssertionError(f"{method} succeeded: {result!r}")

    def read(self, path):
        reply = self.wait(self.send("fs.read", {"path": path}))
        blobs = [self.cipher.open(b) if self.cipher and b else b for b in reply.binaries]
        return b"".join(blobs), reply.result, reply.binaries

    def write(self, path, content, method="fs.write"):
        if self.cipher:
            piece = CHUNK - 28
            blobs = [self.cipher.seal(content[i:i + piece]) for i in range(0, max(len(content), 1), piece)]
        else:
            blobs = [content[i:i + CHUNK] for i in range(0, len(content), CHUNK)]  # nothing at all for empty content
        params = {"path": path, "size": len(content)}
        if len(blobs) > 1:
            params.update(chunked=True, chunks=len(blobs))
        number = self.send(method, params)
        for blob in blobs:
            self.send_frame(2, blob)
        return self.wait(number).result

    def upload(self, path, tar):
        """As all SDKs do: `size`, 1 MiB pieces, no chunk keys."""
        if self.cipher:
            return self.write(path, tar, "fs.upload")
        number = self.send("fs.upload", {"path": path, "size": len(tar)})
        for i in range(0, len(tar), CHUNK):
            self.send_frame(2, tar[i:i + CHUNK])
        return self.wait(number).result

    def exec(self, command, **params):
        return self.call("process.exec", {"command": command, **params})

    def negotiate(self):
        secret = os.urandom(32)
        answer = self.call("session.negotiate_e2e", {"public_key": base64.b64encode(Sodium.x25519_base(secret)).decode()})
        self.cipher = AesGcm(Sodium.x25519(secret, base64.b64decode(answer["public_key"])))

    def until(self, match, seconds=20):
        """Reads on until a notification matches; returns it."""
        deadline = time.monotonic() + seconds
        seen = 0
        while True:
            for one in self.notifications[seen:]:
                if match(*one):
                    return one
            seen = len(self.notifications)
            assert time.monotonic() < deadline, f"nothing among {self.notifications!r}"
            self.pump()


class Sodium:
    """libsodium through ctypes: what Python has no standard library for."""
    lib = ctypes.CDLL(ctypes.util.find_library("sodium"))
    lib.sodium_init()

    @classmethod
    def _call(cls, function, size, *arguments):
        out = ctypes.create_string_buffer(size)
        if getattr(cls.lib, function)(out, *arguments) != 0:
            raise ValueError(function)
        return out.raw

    @classmethod
    def x25519_base(cls, secret):
        return cls._call("crypto_scalarmult_base", 32, secret)

    @classmethod
    def x25519(cls, secret, public):
        return cls._call("crypto_scalarmult", 32, secret, public)

    @classmethod
    def has_aes(cls):
        return bool(cls.lib.crypto_aead_aes256gcm_is_available())

    @classmethod
    def sign(cls, seed, text):
        public, secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(64)
        cls.lib.crypto_sign_seed_keypair(public, secret, seed)
        return cls._call("crypto_sign_detached", 64, None, text, ctypes.c_ulonglong(len(text)), secret)

    @classmethod
    def public_of(cls, seed):
        public, secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(64)
        cls.lib.crypto_sign_seed_keypair(public, secret, seed)
        return public.raw


class AesGcm:
    """nonce ‖ ciphertext ‖ tag, no associated data."""

    def __init__(self, key):
        self.key = key

    def seal(self, plain, nonce=None):
        nonce = nonce or os.urandom(12)
        return nonce + Sodium._call("crypto_aead_aes256gcm_encrypt", len(plain) + 16, None, plain,
                                    ctypes.c_ulonglong(len(plain)), None, ctypes.c_ulonglong(0), None, nonce, self.key)

    def open(self, blob):
        nonce, sealed = blob[:12], blob[12:]
        out = ctypes.create_string_buffer(max(len(sealed) - 16, 1))
        if Sodium.lib.crypto_aead_aes256gcm_decrypt(out, None, None, sealed, ctypes.c_ulonglong(len(sealed)), None,
                                                    ctypes.c_ulonglong(0), nonce, self.key) != 0:
            raise ValueError("decrypt")
        return out.raw[:len(sealed) - 16]


def signed(seed, method, path, identity, concurrent="", ttl="", templates="", at=None, nonce=None):
    """The headers of section 1.9."""
    at = str(int(time.time()) if at is None else at)
    lines = [method, path, identity, concurrent, ttl, templates, at] + ([nonce] if nonce else [])
    headers = {"X-Sandbox-Identity": identity, "X-Sandbox-Timestamp": at,
               "X-Sandbox-Signature": base64.b64encode(Sodium.sign(seed, "\n".join(lines).encode())).decode()}
    for name, value in (("Max-Concurrent", concurrent), ("Max-TTL", ttl), ("Max-Templates", templates), ("Nonce", nonce)):
        if value:
            headers["X-Sandbox-" + name] = value
    return headers
