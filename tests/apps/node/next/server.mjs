// Serves the production build by `next start`. Usage: node server.mjs PORT
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

process.argv.splice(2, 1, 'start', dirname(fileURLToPath(import.meta.url)), '--hostname', '127.0.0.1', '--port', process.argv[2]);
await import('next/dist/bin/next');
