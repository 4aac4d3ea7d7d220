// Serves the production build. Usage: node server.mjs PORT
import { createServer } from 'node:http';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import next from 'next';

const port = Number(process.argv[2]);
const app = next({ dev: false, dir: dirname(fileURLToPath(import.meta.url)), hostname: '127.0.0.1', port });
await app.prepare();
createServer(app.getRequestHandler()).listen(port, '127.0.0.1');
