// http-proxy-3 as its manual shows it, with a keep-alive agent.
import http from "node:http";
import httpProxy from "http-proxy-3";

const [port, target] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 512, noDelay: true });
const proxy = httpProxy.createProxyServer({ target, agent, xfwd: true, ws: true });
proxy.on("error", (error, request, response) => {
  if (response && "writeHead" in response && !response.headersSent) response.writeHead(502);
  response?.end?.();
});
const server = http.createServer((request, response) => proxy.web(request, response));
server.on("upgrade", (request, socket, head) => proxy.ws(request, socket, head));
server.listen(Number(port), "127.0.0.1", 1024);
