// One upstream with a small page for each library. Usage: node server.mjs PORT
//
// Each page runs its library, writes what it sees into <ol id="log"> and sets data-done on <body>.
// ORIGIN in a page becomes the address under which the request came, as frameworks do it.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Server } from 'socket.io';
import { signalr } from './signalr.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, '..', 'node_modules');
const sockjs = createRequire(import.meta.url)('sockjs');
const TYPES = {
  '.css': 'text/css', '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.json': 'application/json',
  '.svg': 'image/svg+xml',
};

async function bodyOf(request) {
  let text = '';
  for await (const part of request.setEncoding('utf8')) text += part;
  return text;
}

async function file(response, path, change = text => text) {
  const type = TYPES[extname(path)] ?? 'application/octet-stream';
  let bytes = await readFile(path);
  if (type.startsWith('text/html')) bytes = change(bytes.toString());
  response.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(bytes);
}

const html = (response, text, headers = {}) =>
  response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', ...headers }).end(text);
const inertiaPage = (name, props, url) => ({ component: name, props: { errors: {}, ...props }, url, version: '1', flash: {} });

const TURBO = 'text/vnd.turbo-stream.html';
const routes = {
  'GET /htmx/part': (request, response) => html(response, '<b>part</b> <a href="/htmx/second">on</a>'),
  'GET /htmx/second': (request, response) => html(response, '<title>Second</title><main id="main"><h1>Second</h1></main>'),
  'POST /htmx/form': async (request, response) => html(response, `<i>saved ${await bodyOf(request)}</i>`, { 'HX-Trigger': 'saved' }),
  'GET /htmx/moved': (request, response) => html(response, '', { 'HX-Location': JSON.stringify({ path: '/htmx/part', target: '#located' }) }),
  'GET /htmx/leave': (request, response, url, origin) => html(response, '', { 'HX-Redirect': `${origin}/htmx/left` }),
  'GET /htmx/left': (request, response) => html(response, '<h1>Left by a header</h1>'),
  'GET /turbo/second': (request, response) => file(response, join(here, 'turbo_second.html')),
  'GET /turbo/frame': (request, response) =>
    html(response, '<turbo-frame id="lazy"><b>lazy frame</b> <a href="/turbo/frame-2">next</a></turbo-frame>'),
  'GET /turbo/whole': (request, response) => html(response, '<turbo-frame id="whole"><b>whole frame</b></turbo-frame>'),
  'GET /turbo/frame-2': (request, response) => html(response, '<turbo-frame id="lazy"><b>second frame</b></turbo-frame>'),
  'POST /turbo/form': async (request, response) => { await bodyOf(request); response.writeHead(303, { Location: '/turbo/second?saved=yes' }).end(); },
  'POST /turbo/second': async (request, response) => { await bodyOf(request); response.writeHead(303, { Location: '/turbo/second?by=post' }).end(); },
  'POST /turbo/stream': async (request, response) => {
    await bodyOf(request);
    response.writeHead(200, { 'Content-Type': TURBO }).end(
      '<turbo-stream action="append" target="streamed"><template><img src="/logo.svg" alt="streamed"></template></turbo-stream>');
  },
  'GET /inertia': (request, response, url) => inertia(request, response, inertiaPage('Home', { items: ['rope', 'oil'] }, url.pathname)),
  'GET /inertia/about': (request, response, url) => inertia(request, response, inertiaPage('About', {}, url.pathname + url.search)),
  'POST /inertia/save': async (request, response) => { await bodyOf(request); response.writeHead(303, { Location: '/inertia/about?saved=1' }).end(); },
  'GET /inertia/outside': (request, response, url, origin) => response.writeHead(409, { 'X-Inertia-Location': `${origin}/htmx/left` }).end(),
  'GET /logo.svg': (request, response) =>
    response.writeHead(200, { 'Content-Type': 'image/svg+xml' }).end('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'),
};

function inertia(request, response, page) {
  const text = JSON.stringify(page);
  if (request.headers['x-inertia']) {
    return response.writeHead(200, { 'Content-Type': 'application/json', 'X-Inertia': 'true', Vary: 'X-Inertia' }).end(text);
  }
  const inHtml = text.replace(/\//g, '\\/');
  html(response, `<!doctype html><title>Inertia</title><script type="application/json" data-page="app">${inHtml}</script><div id="app"></div>
<script type="module" src="/inertia/main.js"></script>`, { Vary: 'X-Inertia' });
}

const hub = signalr('/hub');
const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://upstream.invalid');
  const origin = `http://${request.headers.host}`;
  if (/^\/(socket\.io|sock)(\/|$)/.test(url.pathname)) return; // their own listeners respond
  respond(request, response, url, origin).catch(() => response.writeHead(404).end());
});

async function respond(request, response, url, origin) {
  const route = routes[`${request.method} ${url.pathname}`];
  if (route) return route(request, response, url, origin);
  if (hub.request(request, response, url)) return;
  const vendor = /^\/vendor\/([\w@./-]+)$/.exec(url.pathname);
  if (vendor && !vendor[1].includes('..')) return file(response, join(modules, vendor[1]));
  if (url.pathname === '/inertia/main.js') return file(response, join(here, '..', 'dist', 'libraries', 'inertia.js'));
  const page = /^\/(\w+)(\.js)?$/.exec(url.pathname);
  await file(response, join(here, page[2] ? `${page[1]}.js` : `${page[1]}.html`), text => text.replaceAll('ORIGIN', origin));
}

const io = new Server(server, { destroyUpgrade: false });
for (const name of ['/', '/news']) {
  io.of(name).on('connection', socket => {
    socket.emit('hello', name);
    socket.on('echo', (text, respond) => respond(`${name} ${text}`));
  });
}
const echo = sockjs.createServer({ log() {}, sockjs_url: '/vendor/sockjs-client/dist/sockjs.min.js' });
echo.on('connection', connection => connection.on('data', text => connection.write(`echo ${text}`)));
echo.installHandlers(server, { prefix: '/sock' });
server.on('upgrade', (request, socket, head) => hub.upgrade(request, socket, head));
server.listen(Number(process.argv[2]), '127.0.0.1');
