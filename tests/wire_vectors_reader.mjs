// Decodes docs/wire-vectors.json with nothing but docs/wire-protocol.md in hand:
//
//     node tests/wire_vectors_reader.mjs docs/wire-vectors.json
//
// Prints how many vectors it decoded, or every difference, and then exits with 1.

import { readFileSync } from "node:fs";

const HEADER_BYTES = 24;
const MAX_CONTROL = 16384, MAX_TOKEN = 4096, MAX_TEXT = 1024;
const MAX_METADATA = 4096, MAX_ENTRIES = 32;

// §4: number -> name and fields
const SCHEMA = {
  0x01: "hello magic:b4 minimum_version:u16 maximum_version:u16 instance:b16 nonce:b32 features:u32 agent:text",
  0x02: "challenge magic:b4 version:u16 instance:b16 nonce:b32 features:u32 subject:text agent:text",
  0x03: "proof token:bytes signature:b64",
  0x04: "hello-ok broker:u8 subject:text max_sessions:u32 max_payload:u32",
  0x05: "refuse code:u16 minimum_version:u16 maximum_version:u16 text:text",
  0x06: "ping nonce:u64",
  0x07: "pong nonce:u64",
  0x08: "go-away code:u16 reconnect_after_ms:u32 text:text",
  0x09: "attach session_id:b16 generation:u64 received:u64 role:u8 peer:text proof_kind:u8 proof:bytes",
  0x0a: "invite session_id:b16 peer:text",
  0x0b: "attached generation:u64 received:u64 cap:u32 proof_kind:u8 proof:bytes",
  0x0c: "detached code:u16 text:text",
  0x0d: "presence subject:text instance:b16 present:u8",
  0x0e: "limit cap:u32",
  0x0f: "revocations list:rest",
  0x10: "renew token:bytes signature:b64",
  0x20: "session-open role:u8 share:b32 token:bytes signature:b64",
  0x21: "open target:text metadata:entries",
  0x22: "opened",
  0x23: "refused code:u16 text:text",
  0x24: "data",
  0x25: "end",
  0x26: "stop code:u16",
  0x27: "reset direction:u8 code:u16 text:text",
  0x28: "session-close code:u16 text:text",
  0x29: "session-renew token:bytes signature:b64",
  0x2a: "addresses addresses:text",
  0x40: "ack received:u64",
  0x41: "window credit:u64",
};

class Outcome extends Error {}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const hexOf = (bytes) => Buffer.from(bytes).toString("hex");

function decodeText(raw) {
  try {
    return utf8.decode(raw);
  } catch {
    throw new Outcome("not-utf-8");
  }
}

// Reads fields from a payload; every read checks that the bytes are there.
class Cursor {
  constructor(payload) {
    this.payload = payload;
    this.at = 0;
  }

  take(size) {
    if (this.at + size > this.payload.length) throw new Outcome("cut-off");
    this.at += size;
    return this.payload.subarray(this.at - size, this.at);
  }

  sized(most) {
    const raw = this.take(this.take(2).readUInt16BE());
    if (raw.length > most) throw new Outcome("field-too-long");
    return raw;
  }

  entries() {
    if (this.payload.length - this.at > MAX_METADATA) throw new Outcome("field-too-long");
    const found = [];
    while (this.at < this.payload.length) {
      if (found.length === MAX_ENTRIES) throw new Outcome("too-many-entries");
      const key = this.take(1)[0];
      found.push([key, hexOf(this.sized(MAX_METADATA))]);
    }
    return found;
  }

  value(kind) {
    switch (kind) {
      case "u8": return this.take(1)[0];
      case "u16": return this.take(2).readUInt16BE();
      case "u32": return this.take(4).readUInt32BE();
      case "u64": return this.take(8).readBigUInt64BE().toString();
      case "bytes": return hexOf(this.sized(MAX_TOKEN));
      case "text": return decodeText(this.sized(MAX_TEXT));
      case "entries": return this.entries();
      case "rest": return hexOf(this.take(this.payload.length - this.at));
      default: return hexOf(this.take(Number(kind.slice(1))));
    }
  }
}

function decodeHeader(bytes) {
  const type = bytes[0];
  return {
    name: SCHEMA[type]?.split(" ")[0],
    type,
    flags: bytes[1],
    hop: bytes[2],
    reserved: bytes[3],
    session: bytes.readUInt32BE(4),
    stream: bytes.readUInt32BE(8),
    length: bytes.readUInt32BE(12),
    sequence: bytes.readBigUInt64BE(16).toString(),
  };
}

// Returns the first frame of `bytes` and what follows it.
function decodeFrame(bytes, limit) {
  if (bytes.length < HEADER_BYTES) throw new Outcome("incomplete");
  const header = decodeHeader(bytes);
  if (header.length > limit) throw new Outcome("frame-too-long");
  const stop = HEADER_BYTES + header.length;
  if (bytes.length < stop) throw new Outcome("incomplete");
  const payload = bytes.subarray(HEADER_BYTES, stop);
  const rest = bytes.subarray(stop);
  if (header.name === undefined) throw new Outcome(header.flags & 1 ? "skipped" : "unknown-type");
  if (header.name === "data") return { header, payload: hexOf(payload), rest };
  if (header.length > MAX_CONTROL) throw new Outcome("control-too-long");
  return { header, fields: decodeFields(header.type, payload), rest };
}

function decodeFields(type, payload) {
  const cursor = new Cursor(payload);
  const fields = SCHEMA[type].split(" ").slice(1).map((field) => {
    const [name, kind] = field.split(":");
    const start = cursor.at;
    const value = cursor.value(kind);
    return { name, kind, hex: hexOf(payload.subarray(start, cursor.at)), value };
  });
  if (cursor.at !== payload.length) throw new Outcome("left-over");
  return fields;
}

function outcomeOf(bytes, limit) {
  try {
    decodeFrame(bytes, limit);
    return "decoded";
  } catch (error) {
    if (error instanceof Outcome) return error.message;
    throw error;
  }
}

const bytesOf = (parts) =>
  Buffer.concat(parts.flatMap(([hex, count]) => Array(count).fill(Buffer.from(hex, "hex"))));

let checked = 0;
let differences = 0;

function expect(name, found, wanted) {
  checked += 1;
  if (JSON.stringify(found) === JSON.stringify(wanted)) return;
  differences += 1;
  console.error(`${name}:\n  decoded  ${JSON.stringify(found)}\n  expected ${JSON.stringify(wanted)}`);
}

function checkFrame(vector) {
  const { header, fields, payload, rest } = decodeFrame(Buffer.from(vector.hex, "hex"), 262144);
  expect(vector.name, { header, fields, payload, rest: rest.length },
    { header: vector.header, fields: vector.fields, payload: vector.payload, rest: 0 });
}

function checkSequence(vector) {
  const frames = [];
  let rest = Buffer.from(vector.hex, "hex");
  while (outcomeOf(rest, 262144) === "decoded") {
    const size = HEADER_BYTES + decodeHeader(rest).length;
    frames.push(hexOf(rest.subarray(0, size)));
    rest = rest.subarray(size);
  }
  expect(vector.name, { frames, pending: rest.length },
    { frames: vector.frames, pending: vector.pending });
}

// What a session makes of its frames needs a session; that they are whole frames does not.
function checkSession(vector) {
  const found = vector.frames.map((parts) => outcomeOf(bytesOf(parts), 262144));
  const whole = found.every((each) => ["decoded", "skipped", "unknown-type"].includes(each));
  expect(vector.name, whole, true);
}

const vectors = JSON.parse(readFileSync(process.argv[2], "utf-8"));
expect("format", [vectors.format, vectors.version], [1, 1]);
vectors.frames.forEach(checkFrame);
vectors.sequences.forEach(checkSequence);
vectors.hostile.forEach((each) =>
  expect(each.name, outcomeOf(bytesOf(each.parts), each.limit), each.outcome));
vectors.sessions.forEach(checkSession);
const types = new Set(vectors.frames.map((each) => each.header.type));
expect("every type has a vector", Object.keys(SCHEMA).filter((type) => !types.has(Number(type))), []);
console.log(`${checked} checked, ${differences} different`);
process.exit(differences ? 1 : 0);
