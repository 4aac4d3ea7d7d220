// Addresses that the browser reports, compared with those that a script builds.
sink(async () => {
  const same = (found, wanted, what) => expect(found === wanted, `${what}: ${found}`);
  const at = path => new URL(path, location).href;
  // A service worker is recognised by its address at every mount.
  if (navigator.serviceWorker) {
    const registration = await navigator.serviceWorker.register('/sw.js?addresses', { scope: '/nowhere/' });
    const worker = registration.installing ?? registration.waiting ?? registration.active;
    same(worker.scriptURL, at('/sw.js?addresses'), 'scriptURL of a rooted address');
    const again = await navigator.serviceWorker.getRegistration('/nowhere/');
    same((again.installing ?? again.waiting ?? again.active).scriptURL, at('/sw.js?addresses'), 'scriptURL of a registration that was found');
    await registration.unregister();
    const byAddress = await navigator.serviceWorker.register(at('../sw.js?relative'), { scope: at('../nowhere/') });
    same((byAddress.installing ?? byAddress.waiting ?? byAddress.active).scriptURL, at('../sw.js?relative'), 'scriptURL of an address built from the location');
    await byAddress.unregister();
  }
  // The others, where the address bar shows the site's own paths.
  if (location.pathname !== '/sinks/addresses') return;
  same(new Request('/x?a').url, at('/x?a'), 'Request.url');
  same(new Request(`${site}/x`).clone().url, new URL('/x', site).href.replace(site, location.origin), 'Request.url of an absolute address');
  const response = await fetch('/api/lights/1');
  same(response.url, at('/api/lights/1'), 'Response.url');
  same(response.clone().url, at('/api/lights/1'), 'of a clone');
  const request = new XMLHttpRequest();
  request.open('GET', '/api/lights/1');
  await new Promise(resolve => { request.onload = resolve; request.send(); });
  same(request.responseURL, at('/api/lights/1'), 'responseURL');
  const socket = new WebSocket(at('/live/echo').replace('http', 'ws'));
  same(socket.url, at('/live/echo').replace('http', 'ws'), 'WebSocket.url');
  socket.close();
  const source = new EventSource('/live/events');
  same(source.url, at('/live/events'), 'EventSource.url');
  source.close();
  const PROPERTIES = {
    a: ['href'], area: ['href'], link: ['href'], script: ['src'], img: ['src'], iframe: ['src'], embed: ['src'], object: ['data'],
    video: ['src', 'poster'], audio: ['src'], source: ['src'], track: ['src'], input: ['src', 'formAction'], button: ['formAction'],
    form: ['action'], q: ['cite'], del: ['cite'],
  };
  for (const [name, properties] of Object.entries(PROPERTIES)) {
    for (const property of properties) {
      const element = document.createElement(name);
      element[property] = '/static/img/logo.svg?property';
      same(element[property], at('/static/img/logo.svg?property'), `${name}.${property}`);
    }
  }
  const image = into(document.createElement('img'));
  image.src = '/static/img/logo.svg?address';
  await loaded(image);
  same(image.currentSrc, at('/static/img/logo.svg?address'), 'currentSrc');
  expect(performance.getEntriesByName(at('/static/img/logo.svg?address')).length === 1, 'getEntriesByName');
  expect(performance.getEntriesByType('resource').some(entry => entry.name === image.src), 'PerformanceEntry.name');
  same(document.URL, location.href, 'document.URL');
  same(document.documentURI, location.href, 'document.documentURI');
  same(document.baseURI, location.href, 'document.baseURI');
  same(document.styleSheets[0].href, at('/static/css/main.css'), 'StyleSheet.href');
  if (globalThis.navigation) same(navigation.currentEntry.url, location.href, 'NavigationHistoryEntry.url');
  const frame = document.createElement('iframe');
  frame.src = '/sinks/quiet';
  await loaded(into(frame));
  same(frame.contentWindow.location.pathname, '/sinks/quiet', "a frame's location");
  same(frame.contentDocument.referrer.split('?')[0], location.href.split('?')[0], 'document.referrer');
  const worker = new Worker('/static/js/where.js?a=1');
  const [href, pathname, search, text, url] = await new Promise(resolve => { worker.onmessage = event => resolve(event.data); });
  same(href, at('/static/js/where.js?a=1'), "a worker's location.href");
  same(pathname, '/static/js/where.js', "a worker's location.pathname");
  same(search, '?a=1', "a worker's location.search");
  same(text, href, "a worker's location as text");
  same(url, at('/x'), 'Request.url in a worker');
});
