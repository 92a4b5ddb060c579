// A client of json-rpc-2.0 and ws, from npm, which know nothing of ours: over a WebSocket, both ways.
// node websocket.mjs PORT: prints what it saw, as JSON.
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_PATH + "/");
const { JSONRPCClient, JSONRPCServer, JSONRPCServerAndClient } = require("json-rpc-2.0");
const WebSocket = require("ws");

const socket = new WebSocket(`ws://127.0.0.1:${process.argv[2]}/rpc`);
const server = new JSONRPCServer();
server.addMethod("clock.now", ({ zone }) => ({ zone, seconds: 2.5 }));
const both = new JSONRPCServerAndClient(
  server,
  new JSONRPCClient((message) => socket.send(JSON.stringify(message))),
);
socket.on("message", (data) => both.receiveAndSend(JSON.parse(data.toString())));
await new Promise((resolve) => socket.once("open", resolve));

const seen = {};
seen.by_name = await both.request("clock.now", { zone: "CET" });
seen.by_place = await both.request("clock.now", ["EST"]);
seen.list = (await both.request("clock.ticks", [5])).length;
seen.two_way = await both.request("back.ask", [20]);
both.notify("clock.now", ["UTC"]);
const batch = await both.client.requestAdvanced([
  { jsonrpc: "2.0", id: "a", method: "clock.now", params: ["A"] },
  { jsonrpc: "2.0", id: "b", method: "clock.fail", params: ["refuse"] },
]);
seen.batch = [batch[0].result.zone, batch[1].error.code];
try {
  await both.request("clock.now", [5]);
} catch (error) {
  seen.wrong = [error.code, error.message];
}
socket.close();
console.log(JSON.stringify(seen));
