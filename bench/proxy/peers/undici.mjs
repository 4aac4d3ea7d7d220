// The shortest proxy on undici, node's fastest HTTP client.
import http from "node:http";
import { Pool } from "undici";

const [port, target] = process.argv.slice(2);
const pool = new Pool(target, { connections: 256, pipelining: 1 });
const HOP = ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host"];
http
  .createServer((request, response) => {
    const headers = { ...request.headers };
    for (const name of HOP) delete headers[name];
    const bodiless = request.method === "GET" || request.method === "HEAD";
    const body = bodiless ? null : request;
    pool
      .stream({ path: request.url, method: request.method, headers, body }, (received) => {
        for (const name of HOP) delete received.headers[name];
        response.writeHead(received.statusCode, received.headers);
        return response;
      })
      .catch(() => {
        if (!response.headersSent) response.writeHead(502);
        response.end();
      });
  })
  .listen(Number(port), "127.0.0.1", 1024);
