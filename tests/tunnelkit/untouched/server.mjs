// Node's own http server, with what other servers do not have: it tells what it was sent.
// node server.mjs: prints the port.
import http from "node:http";

const counts = new WeakMap();

function tell(request, response, body, number) {
  const told = {
    method: request.method,
    url: request.url,
    headers: request.rawHeaders,
    trailers: request.rawTrailers,
    bytes: body.length,
    // The how-manieth request of its connection this is.
    number,
  };
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(told) + "\n");
}

const answers = {
  "/empty": (_, response) => response.writeHead(204).end(),
  "/same": (_, response) => response.writeHead(304, { ETag: '"a"' }).end(),
  "/early": (_, response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" });
    setTimeout(() => response.end("after hints"), 20);
  },
  "/trailers": (_, response) => {
    response.writeHead(200, { Trailer: "X-Sum" });
    response.write("one,");
    response.write("two");
    response.addTrailers({ "X-Sum": "7" });
    response.end();
  },
  "/events": (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    let left = 3;
    const timer = setInterval(() => {
      response.write(`data: ${left}\n\n`);
      if (!--left) {
        clearInterval(timer);
        response.end();
      }
    }, 10);
  },
  "/poll": (_, response) => setTimeout(() => response.end("at last"), 100),
  "/odd": (_, response) => {
    response.statusMessage = "Quite  fine";
    response.setHeader("x-LOWER-Upper", ["one", "two"]);
    response.end("odd");
  },
  "/hang-up": (request) => request.socket.destroy(),
  "/cut": (request, response) => {
    response.writeHead(200, { "Content-Length": 100 });
    response.write("not all");
    setTimeout(() => request.socket.destroy(), 20);
  },
  // Answers before it has read anything of the body.
  "/eager": (request, response) => {
    response.writeHead(413, { Connection: "close" });
    response.end("no more");
    request.resume();
  },
};

const server = http.createServer((request, response) => {
  const number = (counts.get(request.socket) ?? 0) + 1;
  counts.set(request.socket, number);
  const answer = answers[request.url];
  if (answer) return answer(request, response);
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => tell(request, response, Buffer.concat(parts), number));
  request.on("error", () => {});
});
server.on("upgrade", (request, socket, head) => {
  socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
  socket.write(head);
  socket.on("data", (data) => socket.write(data));
  socket.on("end", () => socket.end());
  socket.on("error", () => {});
});
server.on("connect", (request, socket, head) => {
  socket.write(`HTTP/1.1 200 Connected\r\n\r\n${request.url} `);
  socket.write(head);
  socket.on("data", (data) => socket.write(data));
  socket.on("end", () => socket.end());
  socket.on("error", () => {});
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
