import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError, SandboxError } from "../src/index.js";
import { inOneSandbox, rejection } from "./support/environment.js";

/** A server inside that upper-cases a line, in whatever the host's userland has. */
const SERVER = [
  "python3",
  "-c",
  `
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 8080)); s.listen()
print("listening", flush=True)
while True:
    c, _ = s.accept()
    data = b""
    while True:
        piece = c.recv(65536)
        if not piece: break
        data += piece
    c.sendall(data.upper()); c.close()
`,
];

describe("env and net", () =>
  inOneSandbox((box) => {
    it("sets, gets, lists and unsets variables", async () => {
      const { env } = box();
      expect(await env.get("NOT_SET")).toBeUndefined();
      await env.set("GREETING", "grüß dich");
      await env.set("EMPTY", "");
      expect(await env.get("GREETING")).toBe("grüß dich");
      expect(await env.get("EMPTY")).toBe("");
      expect((await env.all()).get("GREETING")).toBe("grüß dich");
      expect([...(await env.all()).keys()]).toEqual([...(await env.all()).keys()].sort());
      expect((await box().exec("echo $GREETING")).stdout).toBe("grüß dich\n");
      await env.unset("GREETING");
      expect(await env.get("GREETING")).toBeUndefined();
      expect(await rejection(env.set("A=B", "x"))).toBeInstanceOf(InvalidArgumentError);
    });

    it("connects to and exposes ports", async () => {
      await using server = await box().spawn(SERVER);
      expect((await server.read({ timeout: 20_000 }))?.bytes.toString()).toBe("listening\n");

      const socket = await box().net.connect(8080);
      socket.end("direct");
      const [answer] = (await once(socket, "data")) as [Buffer];
      expect(answer.toString()).toBe("DIRECT");
      socket.destroy();

      const port = await box().net.expose(8080);
      expect(port).toMatchObject({ port: 8080, url: `http://${port.hostAddress}:${port.hostPort}` });
      expect(await box().net.list()).toEqual([port]);
      await box().net.close(8080);
      expect(await box().net.list()).toEqual([]);
      expect(await rejection(box().net.connect(9, { timeout: 100 }))).toBeInstanceOf(SandboxError);
    });
  }));
