"""Documents that are not pages: manifest, feed, sitemap, robots, import map, scripts by name."""

from __future__ import annotations

from aiohttp import web

from zenzefi.demo.pages import PAGES
from zenzefi.demo.render import origin_of

routes = web.RouteTableDef()


@routes.get("/manifest.webmanifest")
async def manifest(request: web.Request) -> web.Response:
    """A web app manifest (W3C): rooted, relative and absolute members."""
    return web.json_response(
        {
            "name": "Lantern & Tide",
            "short_name": "Lantern",
            "id": "/",
            "start_url": "/?from=manifest",
            "scope": "/",
            "display": "standalone",
            "theme_color": "#0f4c66",
            "background_color": "#f6f3ec",
            "icons": [
                {"src": "/static/img/logo.svg", "sizes": "any", "type": "image/svg+xml"},
                {"src": f"{origin_of(request)}/static/img/logo.svg", "sizes": "512x512"},
            ],
            "shortcuts": [{"name": "Live", "url": "/live/"}, {"name": "Post", "url": "post/"}],
        },
        content_type="application/manifest+json",
    )


@routes.get("/feed.xml")
async def feed(request: web.Request) -> web.Response:
    """An Atom feed (RFC 4287)."""
    origin = origin_of(request)
    text = f"""<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xml:base="{origin}/">
  <title>Lantern &amp; Tide: notices to mariners</title>
  <id>{origin}/feed.xml</id>
  <link rel="self" href="{origin}/feed.xml"/>
  <link rel="alternate" href="/"/>
  <updated>2026-01-06T06:00:00Z</updated>
  <author><name>The keeper</name></author>
  <entry>
    <title>Skerry Light has a new lamp</title>
    <id>{origin}/lights/north/skerry.html</id>
    <link href="{origin}/lights/north/skerry.html"/>
    <updated>2026-01-06T06:00:00Z</updated>
    <content type="html">
      &lt;p&gt;See &lt;a href="/lights/"&gt;all lights&lt;/a&gt;.&lt;/p&gt;
    </content>
  </entry>
</feed>
"""
    return web.Response(text=text, content_type="application/atom+xml")


@routes.get("/sitemap.xml")
async def sitemap(request: web.Request) -> web.Response:
    """A sitemap (sitemaps.org protocol 0.9) of the plain pages."""
    urls = "".join(f"  <url><loc>{origin_of(request)}{path}</loc></url>\n" for path in PAGES)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
    )
    return web.Response(text=text, content_type="application/xml")


@routes.get("/robots.txt")
async def robots(request: web.Request) -> web.Response:
    """Allow everything."""
    return web.Response(
        text=f"User-agent: *\nDisallow:\nSitemap: {origin_of(request)}/sitemap.xml\n"
    )


@routes.get("/static/css/absolute.css")
async def absolute_css(request: web.Request) -> web.Response:
    """A style sheet with absolute URLs of the site."""
    origin = origin_of(request)
    text = (
        f'@import "{origin}/static/css/imported.css";\n'
        f".absolute {{ background: url({origin}/static/img/waves.svg) repeat-x center }}\n"
        f'.absolute-quoted {{ background: url("{origin}/static/img/dots.png") }}\n'
    )
    return web.Response(text=text, content_type="text/css")


@routes.get("/sw.js")
async def service_worker(request: web.Request) -> web.Response:
    """The service worker at the root, so that its scope may be the whole site."""
    text = """// Responds to invented addresses, so that a page can see that it is active.
// Like every service worker it distinguishes requests by their paths.
const path = address => new URL(address, location).pathname;
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', event => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', event => {
  if (path(event.request.url) === '/workers/from-the-worker') {
    event.respondWith(new Response('served by the service worker'));
  } else if (path(event.request.url) === '/workers/paths') {
    event.respondWith(clients.get(event.clientId).then(client => new Response(
      [location.pathname, path(registration.scope), path(location), path(client.url)].join(' '))));
  } else if (path(event.request.url) === '/workers/kept-page') {
    event.respondWith(fetch('/lights/'));
  } else if (path(event.request.url) === '/workers/written') {
    event.respondWith(new Response(
      '<!doctype html><title>Written</title><img src="/static/img/logo.svg?written">',
      { headers: { 'Content-Type': 'text/html' } }));
  } else if (path(event.request.url) === '/workers/moved') {
    event.respondWith(Response.redirect('/lights/'));
  } else if (path(event.request.url) === '/workers/kept') {
    event.respondWith(caches.open('kept').then(async cache => {
      await cache.put(event.request, new Response('kept'));
      const [key] = await cache.keys();
      return new Response(`${await (await cache.match('/workers/kept')).text()} ${path(key.url)}`);
    }));
  }
});
"""
    return web.Response(
        text=text, content_type="text/javascript", headers={"Cache-Control": "no-cache"}
    )


@routes.get("/app/config.js")
async def app_config(request: web.Request) -> web.Response:
    """A script with the site's absolute origin, in the spellings of scripts."""
    origin = origin_of(request)
    escaped = origin.replace("/", "\\/")
    socket = origin.replace("http", "ws", 1)
    text = (
        f'export const origin = "{origin}";\n'
        f'export const api = "{escaped}\\/api\\/lights";\n'
        f'export const socket = "{socket}/live/echo";\n'
        'export const rooted = "/api/lights";\n'
    )
    return web.Response(text=text, content_type="text/javascript")
