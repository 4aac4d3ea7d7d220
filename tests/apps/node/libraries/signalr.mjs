// A hub of SignalR: negotiation and the JSON protocol over its three transports, as far as a call
// of the method "Echo" needs them. There is no package of the server for Node.js.
// https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/HubProtocol.md
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(import.meta.url)('ws');
const END = '\x1e';

/** The listeners of a hub at `path`. */
export function signalr(path) {
  const connections = new Map(); // ID -> {queue, wake, send}
  const sockets = new WebSocketServer({ noServer: true });

  const receive = (connection, text) => {
    for (const part of text.split(END)) {
      if (!part) continue;
      const message = JSON.parse(part);
      if (message.protocol) connection.send('{}');
      else if (message.type === 1) connection.send(JSON.stringify({ type: 3, invocationId: message.invocationId, result: `echo ${message.arguments[0]}` }));
      else if (message.type === 7) connection.close?.();
    }
  };

  const queued = () => {
    const connection = { queue: [], wake: null, send(text) { this.queue.push(text + END); this.wake?.(); } };
    return connection;
  };

  return {
    request(request, response, url) {
      if (url.pathname === `${path}/negotiate`) {
        const id = randomUUID();
        connections.set(id, queued());
        const availableTransports = ['WebSockets', 'ServerSentEvents', 'LongPolling'].map(transport => ({ transport, transferFormats: ['Text'] }));
        response.writeHead(200, { 'Content-Type': 'application/json' });
        response.end(JSON.stringify({ connectionId: id, connectionToken: id, negotiateVersion: 1, availableTransports }));
        return true;
      }
      const connection = url.pathname === path && connections.get(url.searchParams.get('id'));
      if (!connection) return false;
      if (request.method === 'POST') {
        let text = '';
        request.setEncoding('utf8').on('data', part => { text += part; }).on('end', () => {
          receive(connection, text);
          response.writeHead(200).end();
        });
      } else if (request.method === 'DELETE') {
        connections.delete(url.searchParams.get('id'));
        response.writeHead(202).end();
        connection.wake?.();
      } else if (request.headers.accept === 'text/event-stream') {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(':\n\n');
        const flush = () => { while (connection.queue.length) response.write(`data: ${connection.queue.shift()}\n\n`); };
        connection.wake = flush;
        flush();
      } else if (!connection.polled) {
        connection.polled = true; // the first poll opens the connection
        response.writeHead(200).end();
      } else {
        const flush = () => {
          connection.wake = null;
          response.writeHead(connection.queue.length ? 200 : 204).end(connection.queue.splice(0).join(''));
        };
        if (connection.queue.length) flush();
        else connection.wake = flush;
      }
      return true;
    },
    upgrade(request, socket, head) {
      if (!request.url.startsWith(`${path}?`)) return;
      sockets.handleUpgrade(request, socket, head, opened => {
        const connection = { send: text => opened.send(text + END), close: () => opened.close() };
        opened.on('message', data => receive(connection, String(data)));
      });
    },
  };
}
