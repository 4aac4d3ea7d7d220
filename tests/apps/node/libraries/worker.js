// A service worker that answers one path by itself and reports the version that it was given.
addEventListener('install', () => skipWaiting());
addEventListener('activate', event => event.waitUntil(clients.claim()));
addEventListener('message', event => event.ports[0].postMessage(`${event.data.type} ${location.pathname}`));
addEventListener('fetch', event => {
  const url = new URL(event.request.url);
  if (url.pathname === '/from-worker') event.respondWith(new Response(`${url.pathname}${url.search} by the worker`));
});
