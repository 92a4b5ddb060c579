// A client of jayson, from npm, which knows nothing of ours: over HTTP.
// node http.mjs PORT: prints what it saw, as JSON.
import { createRequire } from "node:module";
import { promisify } from "node:util";

const require = createRequire(process.env.NODE_PATH + "/");
const jayson = require("jayson");

const client = jayson.client.http({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  path: "/api/rpc",
  headers: { Authorization: "Bearer ada" },
});
const send = promisify(client.request.bind(client));

const seen = {};
seen.by_name = (await send("clock.now", { zone: "CET" })).result;
seen.by_place = (await send("clock.now", ["EST"])).result;
seen.list = (await send("clock.ticks", [5])).result.length;
seen.who = (await send("who.am_i", {})).result;
await send("clock.now", ["UTC"], null); // a notification
const batch = await send([
  client.request("clock.now", ["A"], "a", undefined, false),
  client.request("clock.fail", ["refuse"], "b", undefined, false),
]);
seen.batch = [batch[0].result.zone, batch[1].error.code];
const { error } = await send("clock.now", [5]);
seen.wrong = [error.code, error.message];
console.log(JSON.stringify(seen));
