// A server in a sandbox without any network, reached from here.
import { once } from "node:events";
import { Runtime } from "@sandbox/runtime";

await using runtime = await Runtime.open();
await using box = await runtime.create();

await box.fs.write("/root/www/index.html", "served from inside\n", { makeParents: true });
await using server = await box.spawn(["python3", "-m", "http.server", "8000"], { workdir: "/root/www" });

// A port of this host's loopback that leads inside; expose() waits until something listens there.
const port = await box.net.expose(8000);
const response = await fetch(port.url);
console.log(`GET /: ${response.status}, ${(await response.text()).trim()}`);

// Or one connection, without a port of this host.
const socket = await box.net.connect(8000);
socket.end("HEAD / HTTP/1.0\r\n\r\n");
const [head] = (await once(socket, "data")) as [Buffer];
console.log(`HEAD /: ${head.toString().split("\r\n")[0]}`);
socket.destroy();

server.kill();
