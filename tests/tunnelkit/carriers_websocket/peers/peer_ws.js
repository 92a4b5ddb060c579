// A WebSocket program made with `ws` on Node; plan.py says what it does.
// It offers permessage-deflate, as a server and as a client.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const WebSocket = require('ws');

const [role, scenario, file, url] = process.argv.slice(2);
const LEAVE_BYTES = 3000000, READ_BYTES = 1000000;
const SIZES = [0, 1, 125, 126, 1000, 65535, 65536, 300000, 1000000];
const HIGH_WATER = 4 << 20;
const data = fs.readFileSync(file);
const digest = crypto.createHash('sha256');
const found = { received: 0, sent: 0, pings: 0, pongs: 0, code: null, extensions: 0 };
let state = 7;

function random() {  // the same at each run
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return state / 4294967296;
}

function cuts(start, stop) {
  const list = [];
  while (start < stop) {
    const end = Math.min(stop, start + SIZES[Math.floor(random() * SIZES.length)]);
    list.push([start, end]);
    start = end;
  }
  return list;
}

function room(peer) {
  return new Promise((resolve) => {
    const look = () =>
      peer.bufferedAmount < HIGH_WATER || peer.readyState !== WebSocket.OPEN
        ? resolve() : setTimeout(look, 1);
    setImmediate(look);  // at least one turn of the loop, in which it reads
  });
}

async function send(peer) {
  const size = scenario === 'bulk' || scenario === 'flood' ? data.length : LEAVE_BYTES;
  do {
    for (const [start, stop] of cuts(0, size)) {
      const parts = cuts(start, stop);
      if (!parts.length) parts.push([start, stop]);
      for (let n = 0; n < parts.length; n++) {
        if (peer.readyState !== WebSocket.OPEN) return;
        peer.send(data.subarray(...parts[n]), { binary: true, fin: n === parts.length - 1 });
        if (random() < 0.2) { peer.ping('between'); found.pings++; }
      }
      found.sent += stop - start;
      await room(peer);
    }
  } while (scenario === 'flood');
}

async function talk(peer) {
  const wanted = { bulk: data.length, leave: READ_BYTES, inside: READ_BYTES }[scenario] || Infinity;
  let enough;
  const hasAll = new Promise((resolve) => { enough = resolve; });
  peer.on('message', (message) => {
    digest.update(message);
    found.received += message.length;
    if (found.received >= wanted) enough();
  });
  peer.on('pong', () => { found.pongs++; });
  peer.on('error', () => {});
  peer.on('close', (code) => {
    found.code = code;
    found.extensions = peer.extensions ? 1 : 0;
    found.sha256 = digest.digest('hex');
    console.log(JSON.stringify(found));
    process.exit(0);
  });
  await send(peer);
  await hasAll;
  if (scenario === 'inside') peer.send('half of it', { binary: true, fin: false });
  if (scenario === 'leave') peer.close(1001);
  if (scenario === 'inside') peer.close(1000);
}

if (role === 'client') {
  const peer = new WebSocket(url, 'tunnelkit.v1', { maxPayload: 0 });
  peer.on('open', () => talk(peer));
} else {
  const server = new WebSocket.Server({
    port: 0, host: '127.0.0.1', perMessageDeflate: true, maxPayload: 0,
  });
  server.on('connection', talk);
  server.on('listening', () => console.log(JSON.stringify({ port: server.address().port })));
}
