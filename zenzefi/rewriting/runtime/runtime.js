/*
 * The gate's runtime: maps the URLs that scripts create at run time, when they are used.
 *
 * Under a prefix mount, a page of the upstream that says "/x" means "/prefix/x". The gate maps the
 * URLs in the page's source; this script maps those that scripts build. It is static: it reads the
 * mount from its own URL and the rest from the data attributes of its tag (in a worker, from the
 * query). docs/runtime.md lists what is wrapped.
 *
 * Theory of operation
 *   The runtime is the first script in a document or worker. It wraps every API that accepts a URL,
 *   markup or style sheet ("sinks") and maps the argument before the native function runs. Two
 *   functions do the mapping: map() translates a URL to the browser's view, unmap() translates it
 *   back. Everything else decides where one of them applies.
 *
 * States
 *   A realm (a window, a frame or a worker) is installed at most once: MARK and `realms` record it.
 *   At a root mount the paths are the upstream's own: `mount` is empty, and only addresses with the
 *   upstream's origin are mapped. Nothing has to be mapped back there. Same-origin frames that load
 *   nothing (about:blank, srcdoc) have their own natives and are installed by this page when they
 *   are made or first reached; a document that arrives later takes over from it. With the option address=upstream ("bare"), the address bar and some getters show
 *   the upstream's own paths; service workers always see their requests that way.
 *
 * Guarantees
 *   - Wrap, never replace: name, length, prototype and exceptions are those of the native.
 *   - Where nothing needs mapping, the native gets the same value.
 *   - Mapping is idempotent: a mapped URL stays the same.
 *   - Reading a URL returns what the browser sees, except in bare mode and in service workers.
 *   - An error inside the runtime never reaches the page: the call proceeds with its original
 *     arguments (see `attempt`).
 *   - The page never receives the upstream's address, only keyed hashes (markOf).
 */
(() => {
'use strict';
const NAME = '/.zenzefi/runtime.js';
const MARK = Symbol.for('zenzefi.runtime');
const WORKER_MARK = '.zenzefi-worker=';
const BARE_MARK = '.zenzefi-address=upstream';
const COOKIE_ESCAPE = 'zup-';

const { apply, construct, defineProperty, getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf } = Reflect;
const { URL, Map, WeakMap, WeakSet, Proxy, String, Blob, Response, TextDecoder, setTimeout, document, location } = globalThis;
const AboutBlank = /^about:(blank|srcdoc)/;
const ownPrototype = Function.prototype;
const { call, bind } = ownPrototype;
const done = Promise.resolve();
const then = done.then.bind(done);

// --- the mount and the options ----------------------------------------------------------------------------

// A browser keeps the window of an empty document for the first real one, with the wrappers that
// another page has put there: this page replaces them by its own.
if (globalThis[MARK]?.() === false) return;
const tag = document?.currentScript;
// A worker has no currentScript; the call stack names the script with its query.
const stack = tag ? '' : String(new Error().stack);
const here = new URL(tag ? tag.src : /https?:\/\/[^\s()]+?\/\.zenzefi\/runtime\.js(?:\?[^\s():]*)?/.exec(stack)[0]);
const option = name => (tag ? tag.dataset[name] : here.searchParams.get(name)) ?? '';

const gate = here.origin;
const mount = here.pathname.slice(0, -NAME.length);
if (!mount && !option('upstream')) return; // nothing to map
const inMount = mount + '/';
// The page does not receive the upstream's address, only a key and a short hash of each of its origins.
const [key = '', ...marks] = option('upstream').split(' ');
const nonce = tag?.nonce;
const { createElement } = document ?? {};
const prepend = document && globalThis.Element.prototype.prepend;
// Opt-in: the address bar shows the upstream's own path, for routers that know no prefix.
const bare = option('address') === 'upstream' || (!document && location.search.includes(BARE_MARK));

// --- the upstream's origins ---------------------------------------------------------------------

/** HalfSipHash-2-4 of an ASCII string, as zenzefi/rewriting/runtime/marks.py computes it: its first 20 bits. */
function markOf(text) {
  const word = at => parseInt(key.slice(at, at + 8).replace(/(..)(..)(..)(..)/, '$4$3$2$1'), 16);
  const turn = (value, bits) => value << bits | value >>> 32 - bits;
  let [v0, v1] = [word(0), word(8)];
  let [v2, v3] = [0x6c796765 ^ v0, 0x74656462 ^ v1];
  const rounds = count => {
    while (count--) {
      v0 = v0 + v1 | 0; v1 = turn(v1, 5) ^ v0; v0 = turn(v0, 16);
      v2 = v2 + v3 | 0; v3 = turn(v3, 8) ^ v2;
      v0 = v0 + v3 | 0; v3 = turn(v3, 7) ^ v0;
      v2 = v2 + v1 | 0; v1 = turn(v1, 13) ^ v2; v2 = turn(v2, 16);
    }
  };
  const byte = at => at < text.length ? text.charCodeAt(at) & 255 : 0;
  const whole = text.length & ~3;
  for (let at = 0; at <= whole; at += 4) {
    const last = at === whole ? text.length & 255 : byte(at + 3);
    const data = byte(at) | byte(at + 1) << 8 | byte(at + 2) << 16 | last << 24;
    v3 ^= data;
    rounds(2);
    v0 ^= data;
  }
  v2 ^= 255;
  rounds(4);
  return ((v1 ^ v3) >>> 12).toString(16).padStart(5, '0');
}

const judged = new Map(); // origin -> whether it is the upstream's; a map's tiles have hundreds of hosts
function isUpstream(origin) {
  let found = judged.get(origin);
  if (found === undefined) {
    if (judged.size > 1000) judged.clear();
    found = marks.includes(markOf(origin));
    judged.set(origin, found);
    // import('http://upstream/x'): from here on the browser's import map knows it.
    if (found && document) try { addImports({ [origin + '/']: inMount }); } catch { /* forbidden by the page's policy */ }
  }
  return found;
}

/** Add to the browser's import map; one that knows a single map per page keeps the first. */
function addImports(imports) {
  const text = JSON.stringify({ imports });
  const script = apply(createElement, document, ['script']);
  script.type = 'importmap';
  if (nonce) script.nonce = nonce;
  try { script.textContent = trusted('createScript', text); } catch { script.textContent = text; }
  apply(prepend, document.documentElement, [script]);
  script.remove();
}

// --- mapping one URL ---------------------------------------------------------------------

const SCHEMES = { 'http:': 'http:', 'https:': 'https:', 'ws:': 'http:', 'wss:': 'https:' };
const HAS_SCHEME = /^[a-z][a-z0-9+.-]*:/i;
const CLIMBS = /(^|[/\\])(\.|%2e){2}([/\\?#]|$)/i;

const isInside = path => path.startsWith(mount) && (path.length === mount.length || '/?#'.includes(path[mount.length]));
const strip = path => isInside(path) ? path.slice(mount.length) || '/' : path;
const workerURL = document ? '' : location.protocol === 'blob:' ? gate + inMount : location.href;
const baseOf = document && getOwnPropertyDescriptor(globalThis.Node.prototype, 'baseURI').get;
/** The base of relative URLs: of the node's document, or of this page or worker. */
const baseURL = node => document ? apply(baseOf, node ?? document, []) : workerURL;
// The usual rooted URL, which needs no parsing.
const plain = new Map(); // and what was made of the last ones
const PLAIN = /^\/(?![/\\])[\w\-.~/]*(?:[?#][^\t\n\r]*)?$/;

/** The URL that the browser must use for `value` (in `node`, if given); the same `value` if nothing changes. */
function map(value, node) {
  const known = plain.get(value);
  if (known !== undefined) return known;
  if (typeof value === 'string' && PLAIN.test(value) && !value.includes('/.')) {
    const mapped = isInside(value) ? value : mount + value;
    if (plain.size > 1000) plain.clear();
    plain.set(value, mapped); // the browser keeps its own form of a string that it has seen
    return mapped;
  }
  if (value === null || value === undefined || typeof value === 'symbol') return value;
  const text = String(value).replace(/^[\0- ]+|[\0- ]+$|[\t\n\r]/g, '');
  if (text === '' || text[0] === '#') return value;
  const rooted = text[0] === '/' || text[0] === '\\';
  const absolute = HAS_SCHEME.test(text);
  const climbs = CLIMBS.test(text);
  if (!absolute) {
    if (!mount && !/^[/\\]{2}/.test(text)) return value;
    if (rooted && !climbs && text[1] !== '/' && text[1] !== '\\' && text[0] === '/') {
      return isInside(text) ? value : mount + text;
    }
    if (!rooted && !climbs && !(bare && document)) return value;
  }
  let url;
  try {
    const base = new URL(baseURL(node));
    // "../" stops at the upstream's root, not at the gate's.
    if (!absolute && !rooted) base.pathname = strip(base.pathname);
    url = new URL(text, base);
  } catch {
    return value;
  }
  const scheme = SCHEMES[url.protocol];
  if (scheme === undefined) return value;
  // A script of a plain http application may say "ws://" + location.host behind a gate with TLS.
  const own = url.host === here.host;
  if (!own && !isUpstream(`${scheme}//${url.host}`)) return value;
  const relative = !absolute && !rooted;
  const inside = own && !relative && isInside(url.pathname);
  if (inside && scheme === here.protocol) return value;
  const path = (inside ? '' : mount) + url.pathname + url.search + url.hash;
  if (relative || (own && !absolute)) return path;
  return (url.protocol === scheme ? gate : gate.replace('http', 'ws')) + path;
}

/** In bare mode the address bar shows the path without the mount. */
function mapForHistory(value) {
  if (!bare) return map(value);
  try {
    const url = new URL(String(value), baseURL());
    const known = url.origin === gate || isUpstream(url.origin);
    if (known && (url.origin !== gate || isInside(url.pathname))) {
      return strip(url.pathname) + url.search + url.hash;
    }
  } catch { /* invalid: the browser reports it */ }
  return value;
}

const literal = text => text.replace(/[^\w/]/g, '\\$&');
const MOUNTED = new RegExp(`^([\\0- ]*(?:(?:${here.protocol}|${here.protocol.replace('http', 'ws')})?//${literal(here.host)})?)${literal(mount)}(?=([/?#])|$)`);
/** A URL of the browser in the upstream's view: without the mount. */
function unmap(value) {
  if (!mount || typeof value !== 'string') return value;
  if (value.startsWith(inMount)) return value.slice(mount.length);
  return value.includes(mount) ? value.replace(MOUNTED, (_, before, next) => next === '/' ? before : `${before}/`) : value;
}

// --- mapping markup, style sheets and JSON ------------------------------------------------------------

// Each function maps a text with `change`, which is map() or unmap(); `node` is where the text is used.
const changeList = (text, change, node) => text.replace(/\S+/g, url => change(url, node));
const changeValues = (text, change, node) => text.replace(/[^;]+/g, url => change(url, node)); // of an animation
const changeSrcset = (text, change, node) => text.replace(/([\s,]*)(\S*[^\s,])([^,]*)/g, (_, gap, url, rest) => gap + change(url, node) + rest);

const STRING = /"((?:[^"\\]|\\[^])*)"|'((?:[^'\\]|\\[^])*)'/.source;
const SELECTED = `\\[\\s*((?:[\\w*-]*\\|)?(?:xlink\\\\:)?(href|src|action|formaction|poster|data|background|cite|longdesc|ping|srcset|imagesrcset|style))\\s*([~|^*]?)=\\s*(?:${STRING}|(-?(?!\\d)(?:[\\w-]|[^\\0-\\x7f]|\\\\[^])+))\\s*([is]?)\\s*\\]`;
const TEXT = `(?:[^()"']|${STRING.replace(/\((?!\?)/g, '(?:')})`; // between brackets
const SET = `((?:-webkit-)?image-set\\((?:${TEXT}|\\(${TEXT}*\\))*\\))`;
const IN_SET = new RegExp(`(type\\(${TEXT}*\\))|(?:url\\(\\s*)?(?:${STRING})|url\\(\\s*([^\\s"'()\\\\]+)`, 'gi');
const CSS = new RegExp(`/\\*[^]*?\\*/|${SET}|(@import\\s*|url\\(\\s*)(?:${STRING})|url\\(\\s*([^\\s"'()\\\\]+)|${SELECTED}|${STRING}`, 'gi');
const SELECTOR = new RegExp(`${SELECTED}|${STRING}`, 'gi');
const MADE = new RegExp(`:is\\((\\[(?:${STRING}|[^"'\\]])*\\])(?::where\\(:not\\((?:${STRING}|[^"')])*\\)\\))?,\\[(?:${STRING}|[^"'\\]])*\\]\\)`, 'g');
const unescapeCss = text => text.replace(/\\(?:([0-9a-f]{1,6})\s?|\n|([^]))/gi, (_, code, other) => code ? String.fromCodePoint(Math.min(0x10ffff, parseInt(code, 16))) : other ?? '');
const quoteCss = text => `"${text.replace(/["\\]/g, '\\$&').replace(/[\n\r\f]/g, found => `\\${found.charCodeAt().toString(16)} `)}"`;

/** An attribute selector that finds what the page's author wrote, mapped or not. */
function mapSelected(whole, name, attribute, operator, double, single, plain, flag) {
  const { change } = KINDS.get(attribute.toLowerCase());
  const text = unescapeCss(double ?? single ?? plain);
  const other = value => `[${name}${operator}=${quoteCss(value)}${flag && ` ${flag}`}]`;
  if (operator === '' || operator === '~' || operator === '|') {
    const mapped = change(text, map);
    return mapped === text ? whole : `:is(${whole},${other(mapped)})`;
  }
  if (change !== changeOne) return whole;
  // A part of the mount was not written by the author. Specificity stays: `:where()` has none.
  const unmounted = `${whole}:where(:not([${name}^=${quoteCss(inMount)}],[${name}^=${quoteCss(gate + inMount)}]))`;
  if (operator === '*') return text.length > 2 && inMount.includes(text) ? `:is(${unmounted},[${name}^=${quoteCss(text[0] === '/' ? mount + text : inMount + text)}])` : whole;
  if (text === '/') return whole;
  const mapped = map(text);
  return mapped === text ? whole : `:is(${inMount.startsWith(text) ? unmounted : whole},${other(mapped)})`;
}

const selectors = new Map(); // selector -> mapped, for those of the querying methods
function mapSelector(text) {
  if (typeof text !== 'string' || !text.includes('[')) return text;
  let mapped = selectors.get(text);
  if (mapped === undefined) {
    mapped = text.replace(SELECTOR, (whole, name, ...rest) => name ? mapSelected(whole, name, ...rest) : whole);
    if (selectors.size > 1000 || bare) selectors.clear();
    selectors.set(text, mapped);
  }
  return mapped;
}

/** A style sheet or a list of declarations. */
function changeCss(text, change, node) {
  if (!/url\(|@import|image-set\(|\[/i.test(text)) return text;
  const one = (whole, url) => {
    if (!url) return whole;
    const mapped = change(url, node);
    return mapped === url ? whole : whole.replace(url, () => mapped);
  };
  const changed = text.replace(CSS, (whole, set, before, double, single, plain, name, ...rest) => {
    if (name) return change === map ? mapSelected(whole, name, ...rest) : whole;
    if (set) return whole.replace(IN_SET, (part, type, ...found) => one(part, type ? '' : found[0] ?? found[1] ?? found[2]));
    return one(whole, before ? double ?? single : plain);
  });
  return mount && change === unmap && changed.includes(':is(') ? changed.replace(MADE, (whole, written) => whole.includes(mount) ? written : whole) : changed;
}
const mapCss = (text, node) => text.includes('(') || text.includes('[') || text.includes('@') ? changeCss(text, map, node) : text;

const RAW = new Set(['script', 'style', 'textarea', 'title', 'xmp', 'noembed', 'noframes', 'iframe', 'plaintext']);
const TAG = /[a-z][^\s/>]*/iy;
const ATTRIBUTE = /[\s/]*([^\s/>=][^\s/>=]*)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+)))?/y;
const ENTITIES = { '&amp;': '&', '&quot;': '"', '&apos;': "'", '&lt;': '<', '&gt;': '>' };
const decode = text => text.replace(/&(?:amp|quot|apos|lt|gt|#x?[0-9a-f]+);/gi, entity =>
  ENTITIES[entity.toLowerCase()] ?? (entity[1] === '#'
    ? String.fromCodePoint(Math.min(0x10ffff, entity[2].toLowerCase() === 'x' ? parseInt(entity.slice(3), 16) : parseInt(entity.slice(2), 10)))
    : entity));
const encode = (text, quote, raw = '') => {
  const encoded = text.replace(/&/g, '&amp;').replace(quote === "'" ? /'/g : /"/g, quote === "'" ? '&#39;' : '&quot;');
  return /&[lg]t;/i.test(raw) ? encoded.replace(/</g, '&lt;').replace(/>/g, '&gt;') : encoded;
};

const WITH_ADDRESS = /(?:href|src|srcset|srcdoc|action|poster|data|background|cite|longdesc|ping|style|to|from|by|values)\s*=|<style/i;
/** Markup with its URLs changed; every other character stays. */
function changeHtml(text, change, node) {
  if (!WITH_ADDRESS.test(text)) return text;
  let out = '';
  let done = 0;
  let at = 0;
  while ((at = text.indexOf('<', at)) >= 0) {
    if (text.startsWith('<!--', at)) {
      const end = text.indexOf('-->', at + 4);
      if (end < 0) break;
      at = end + 3;
      continue;
    }
    TAG.lastIndex = at + 1;
    const name = TAG.exec(text)?.[0].toLowerCase();
    if (!name) { at++; continue; }
    ATTRIBUTE.lastIndex = TAG.lastIndex;
    let end = ATTRIBUTE.lastIndex;
    if (text[end] !== '>') for (let found; (found = ATTRIBUTE.exec(text)); end = ATTRIBUTE.lastIndex) {
      const raw = found[2] ?? found[3] ?? found[4];
      const kind = raw && kindOf(name, found[1].toLowerCase());
      if (!kind) continue;
      const value = decode(raw);
      const mapped = kind(value, change, node);
      if (mapped === value) continue;
      const quote = found[2] !== undefined ? '"' : found[3] !== undefined ? "'" : '';
      const start = ATTRIBUTE.lastIndex - raw.length - quote.length;
      out += text.slice(done, start) + (quote ? encode(mapped, quote, raw) : `"${encode(mapped, '"', raw)}"`);
      done = start + raw.length;
    }
    at = text.indexOf('>', end) + 1;
    if (!at) break;
    if (!RAW.has(name)) continue;
    const close = new RegExp(`</${name}[\\s/>]`, 'gi');
    close.lastIndex = at;
    const stop = close.exec(text)?.index ?? text.length;
    if (name === 'style') {
      out += text.slice(done, at) + changeCss(text.slice(at, stop), change, node);
      done = stop;
    }
    at = stop;
  }
  return done ? out + text.slice(done) : text;
}
const mapHtml = (text, node) => changeHtml(text, map, node);

/** Where the runtime is inserted into a document; undefined if the document already has it. */
const placeInHead = html => html.includes(NAME) ? undefined
  : /^(?:\ufeff|ï»¿)?(?:\s|<!--[^]*?-->|<!doctype[^>]*>)*(?:<html[^>]*>\s*)?(?:<head[^>]*>)?/i.exec(html)[0].length;
/** A document given as text (srcdoc): mapped, and the runtime put first in its head. */
const changeSrcdoc = (text, change, node) => {
  if (change === unmap) return changeHtml(tagHtml ? text.replace(tagHtml, '') : text, unmap);
  const html = changeHtml(text, change, node);
  const place = tagHtml ? placeInHead(html) : undefined;
  return place === undefined ? html : html.slice(0, place) + tagHtml + html.slice(place);
};
/**
 * A document in a service worker's response. When the worker fetched it into a cache, the request
 * was not a navigation, so the gate did not insert the runtime; the gate never saw generated ones.
 */
async function asDocument(response) {
  if (!response?.headers || response.redirected || !/^text\/html/i.test(response.headers.get('Content-Type'))) return response;
  const { status, statusText, headers } = response;
  if (!response.url) return new Response(changeSrcdoc(await response.text(), map), { status, statusText, headers });
  const bytes = await response.blob();
  const place = placeInHead(new TextDecoder('latin1').decode(await bytes.arrayBuffer()));
  const body = place === undefined ? bytes : new Blob([bytes.slice(0, place), tagHtml, bytes.slice(place)]);
  return new Response(body, { status, statusText, headers });
}

/** Import maps and speculation rules: JSON with URLs. */
const LIKE_URL = /^\.{0,2}\/|^[a-z][a-z0-9+.-]*:/i;
const mapLike = text => typeof text === 'string' && LIKE_URL.test(text) ? map(text) : text;
const mapEntries = (entries, value, key = name => name) => Object.fromEntries(Object.entries(entries ?? {}).flatMap(
  ([name, entry]) => [[name, value(entry)], [key(name), value(entry)]]));
/** Whether the gate may change a resource, so that its hash would not match. At a root mount the page's hashes stay. */
const mayChange = (url, node) => Boolean(mount) && URL.canParse(map(url, node), baseURL(node))
  && new URL(map(url, node), baseURL(node)).href.startsWith(gate + inMount);
const unchangedOnly = hashes => Object.fromEntries(Object.entries(hashes).filter(([url]) => !mayChange(url)));
const mapJson = {
  importmap: found => ({
    ...found,
    imports: mapEntries(found.imports, mapLike, mapLike),
    ...found.scopes && { scopes: mapEntries(found.scopes, entries => mapEntries(entries, mapLike, mapLike), mapLike) },
    ...found.integrity && { integrity: mapEntries(unchangedOnly(found.integrity), entry => entry, mapLike) },
  }),
  speculationrules: (found, key) => Array.isArray(found) ? found.map(entry => mapJson.speculationrules(entry, key))
    : typeof found === 'object' && found ? Object.fromEntries(Object.entries(found).map(([name, entry]) => [name, mapJson.speculationrules(entry, name)]))
    : key === 'urls' || key === 'href_matches' ? map(found) : found,
};

// Attribute -> how its value is mapped, and on which elements; "*" is every element of the platform's own.
const changeOne = (text, change, node) => change(text, node);
const KINDS = new Map(Object.entries({
  'href': [changeOne, '*'], 'xlink:href': [changeOne, '*'], 'src': [changeOne, '*'],
  'action': [changeOne, 'form'], 'formaction': [changeOne, 'button input'], 'poster': [changeOne, 'video'],
  'data': [changeOne, 'object'], 'background': [changeOne, 'body table thead tbody tfoot tr td th'],
  'cite': [changeOne, 'q blockquote ins del'], 'longdesc': [changeOne, 'img iframe'],
  'ping': [changeList, 'a area'], 'attributionsrc': [changeList, 'a area img script'], 'srcset': [changeSrcset, 'img source'], 'imagesrcset': [changeSrcset, 'link'],
  'to': [changeOne, 'set animate'], 'from': [changeOne, 'animate'], 'by': [changeOne, 'animate'], 'values': [changeValues, 'animate'],
  'style': [changeCss, '*'], 'srcdoc': [changeSrcdoc, 'iframe'],
}).map(([name, [change, elements]]) => [name, { change, elements: elements === '*' ? null : new Set(elements.split(' ')) }]));
function kindOf(element, attribute) {
  const kind = KINDS.get(attribute);
  if (kind === undefined) return undefined;
  return (kind.elements === null ? !element.includes('-') : kind.elements.has(element)) ? kind.change : undefined;
}
// How the parser reads an element's content: as a style sheet, as text or as markup.
const changeText = text => text;
const contentKind = element => element?.localName === 'style' ? changeCss : RAW.has(element?.localName) ? changeText : changeHtml;

// --- what scripts read back -------------------------------------------------------------------

// Attributes read as the page wrote them: unmapped, or as remembered where that would be another text.
const written = new WeakMap(); // element -> attribute -> [value of the attribute, what the page wrote]
function writeAttribute(element, name, change, value) {
  const text = String(value);
  const mapped = change(text, map, element);
  const isPlain = mapped.length === mount.length + text.length && text[0] === '/' && mapped === mount + text;
  if (!isPlain && mapped.includes(mount) && change(mapped, unmap) !== text) {
    let known = written.get(element);
    if (!known) written.set(element, known = new Map());
    known.set(name, [mapped, text]);
  } else {
    written.get(element)?.delete(name);
  }
  return mapped;
}
/**
 * The value of an attribute as the page wrote it; `value` itself if the gate did not map it. Routers take the address of
 * <base> off the beginning of `location.pathname`, so it is mounted where `location` is.
 */
function asWritten(element, name, value) {
  if (typeof value !== 'string' || !value.includes(mount) || !element) return value;
  if (element.localName === 'base' && !bare) return value;
  const attribute = String(name).toLowerCase();
  const change = kindOf(element.localName, attribute);
  if (!change) return value;
  const known = written.get(element)?.get(attribute.replace(/^.*:/, ''));
  return known?.[0] === value ? known[1] : change(value, unmap);
}

// --- wrapping --------------------------------------------------------------------------------

const natives = new WeakMap(); // wrapper -> what it wraps, for Function.prototype.toString
function remember(wrapper, native) {
  natives.set(wrapper, natives.get(native) ?? native);
  return wrapper;
}
/** `body` with the appearance of `native`: a method has no `prototype` and no `construct`, like a native function. */
function dress(body, native) {
  defineProperty(body, 'length', { value: native.length, configurable: true });
  defineProperty(body, 'name', { value: native.name, configurable: true });
  const prototype = getPrototypeOf(native);
  if (prototype !== ownPrototype) setPrototypeOf(body, prototype);
  return remember(body, native);
}
// A constructor has to be a Proxy; a function that is called costs a third without one.
const wrap = (native, handler) => handler.construct ? remember(new Proxy(native, handler), native)
  : dress({ wrapper(...args) { return handler.apply(native, this, args); } }.wrapper, native);
const NONE = [];
// An error in the runtime must not break the page: the call proceeds with its original arguments.
const attempt = (change, args, self) => {
  const given = args.slice();
  try { return change(args, self) ?? args; } catch { return given; }
};
const onCall = change => ({ apply: (native, self, args) => apply(native, self, attempt(change, args, self)) });
const onNew = change => ({ construct: (native, args, target) => construct(native, attempt(change, args), target) });
const first = how => args => { if (args.length) args[0] = how(args[0]); };

/**
 * A wrapper that adds no function to the stack while the native runs. `postMessage` gives the
 * receiver the window of the topmost script (HTML, "incumbent settings object"), and any function
 * of ours would be that script. Only functions of the engine are called: `Function.prototype.call`
 * puts receiver and arguments into one list, `Reflect.set` hands the list to the trap below, which
 * changes the arguments and returns, and the look-up with which a Proxy checks the result of its
 * trap (ECMA-262, 10.5.9, step 10) calls the native. The value returned is true.
 */
function wrapUnseen(native, change) {
  const check = {};
  const forget = () => { delete check.getOwnPropertyDescriptor; };
  const calls = new Proxy(new Proxy(function () {}, check), {
    get(_, name) {
      forget(); // the result of this trap is checked, too
      return name === 'apply' ? call : undefined;
    },
    set(_, name, [self, args]) {
      const run = apply(bind, native, [self, ...attempt(change, args)]);
      defineProperty(check, 'getOwnPropertyDescriptor', { configurable: true, get: run });
      then(forget); // keeps no message alive
      return true;
    },
  });
  return remember(new Proxy(native, new Proxy(calls, { apply: Reflect.set })), native);
}

let policy;
const trusted = (kind, text) => {
  policy ??= globalThis.trustedTypes.createPolicy('zenzefi', { createHTML: String, createScript: String, createScriptURL: String });
  return policy[kind](text);
};
/** `how(value, node)` for a string or a Trusted Type, which stays one; untouched when nothing changes. */
function through(how, value, node) {
  if (value === null || value === undefined || typeof value === 'symbol') return value;
  const text = String(value);
  const mapped = how(text, node);
  if (mapped === text) return value;
  const types = globalThis.trustedTypes;
  const kind = types?.isHTML(value) ? 'createHTML' : types?.isScriptURL(value) ? 'createScriptURL' : '';
  if (!kind) return mapped;
  try {
    return trusted(kind, mapped);
  } catch {
    return value; // the page's policy allows no other policy; the gate recovers the request
  }
}

/** The object on the prototype chain that has the property: a worker's `fetch` is its prototype's. */
const holderOf = (object, name) => {
  while (object && !Object.hasOwn(object, name)) object = Object.getPrototypeOf(object);
  return object;
};

const IMAGE_PROPERTIES = ['backdrop-filter', 'background', 'background-image', 'border-image', 'border-image-source', 'clip-path', 'content', 'cursor',
  'fill', 'filter', 'list-style', 'list-style-image', 'marker', 'marker-end', 'marker-mid', 'marker-start', 'mask', 'mask-image', 'offset', 'offset-path',
  'shape-outside', 'src', 'stroke', '-webkit-border-image', '-webkit-clip-path', '-webkit-filter', '-webkit-mask', '-webkit-mask-box-image',
  '-webkit-mask-box-image-source', '-webkit-mask-image', '-webkit-shape-outside'];
const ATTRIBUTE_NODE = 2;
const TEXT_NODE = 3;
const FRAMES = new Set(['iframe', 'frame', 'object', 'embed']);
const READS = {
  Request: 'url referrer', Response: 'url', Client: 'url', ServiceWorkerRegistration: 'scope', XMLHttpRequest: 'responseURL',
  WebSocket: 'url', EventSource: 'url', PerformanceEntry: 'name', Notification: 'icon badge image',
};
const PAGE_READS = {
  Document: 'URL documentURI referrer', Node: 'baseURI', HTMLImageElement: 'currentSrc', HTMLMediaElement: 'currentSrc',
  StyleSheet: 'href', CSSImportRule: 'href', NavigationHistoryEntry: 'url', NavigationDestination: 'url',
  HashChangeEvent: 'oldURL newURL', StorageEvent: 'url', LargestContentfulPaint: 'url',
};
const WORKER_MARKS = /[?&](?:\.zenzefi-address=upstream&)?\.zenzefi-worker=(?:module|classic)(?=#|$)/;
const serviceScripts = new Map(); // address of a service worker's script -> as the page gave it, resolved
const DOCUMENTS = new Set(['document', 'iframe', 'frame', 'embed', 'object', 'fencedframe']);
const loading = new WeakSet(); // frames whose load events come here: each new document was looked at
const seen = new WeakSet(); // documents of the others that need no further look
let blobs; // blob URL -> Blob, while the page keeps it
let tagHtml = '';

/** Wrap the sinks of one realm: this one, or that of a same-origin about:blank frame. */
function install(scope) {
  if (scope[MARK]) return;
  const foreign = scope !== globalThis;
  const before = []; // in a frame of this page: what is put back when a document arrives
  const leave = foreign && new scope.AbortController();
  defineProperty(scope, MARK, { configurable: true, value() {
    if (!foreign) return false;
    leave.abort();
    for (const [object, name, found] of before.reverse()) {
      if (found) defineProperty(object, name, found);
      else delete object[name];
    }
    delete scope[MARK];
    return true;
  } });

  const property = (object, name, change) => {
    const found = object && getOwnPropertyDescriptor(object, name);
    if (!found?.configurable) return;
    if (foreign) before.push([object, name, { ...found }]);
    change(found);
    defineProperty(object, name, found);
  };
  const method = (object, name, change) => property(object, name, found => {
    const native = found.value;
    if (typeof native === 'function') found.value = dress({ method(...args) { return apply(native, this, attempt(change, args, this)); } }.method, native);
  });
  const setter = (object, name, change) => property(object, name, found => {
    const native = found.set;
    if (native) found.set = dress({ setter(...args) { return apply(native, this, attempt(change, args, this)); } }.setter, native);
  });
  const read = (object, name, change) => property(object, name, found => {
    const native = found.value;
    if (typeof native === 'function') found.value = dress({ read(...args) { return change(apply(native, this, args), this, args); } }.read, native);
  });
  const getter = (object, name, change) => property(object, name, found => {
    const native = found.get;
    if (native) found.get = dress({ getter() { return change(apply(native, this, NONE), this); } }.getter, native);
  });
  const type = (name, change) => property(scope, name, found => {
    const native = found.value;
    if (typeof native !== 'function') return;
    found.value = wrap(native, onNew(change));
    // `object.constructor` and the global stay one and the same.
    if (native.prototype) property(native.prototype, 'constructor', own => { own.value = found.value; });
  });
  const proto = name => scope[name]?.prototype;

  property(scope.Function.prototype, 'toString', found => {
    found.value = wrap(found.value, { apply: (native, self, args) => apply(native, natives.get(self) ?? self, args) });
  });

  // Requests.
  // A Request (of any realm) was mapped when it was made.
  const isRequest = value => typeof value === 'object' && value !== null && typeof value.url === 'string';
  const request = value => isRequest(value) ? value : map(value);
  method(holderOf(scope, 'fetch'), 'fetch', first(request));
  type('Request', first(request));
  method(proto('XMLHttpRequest'), 'open', args => { if (args.length > 1) args[1] = map(args[1]); });
  method(proto('Navigator'), 'sendBeacon', first(map));
  type('WebSocket', first(map));
  type('EventSource', first(map));
  type('WebTransport', first(map));
  type('WebSocketStream', first(map));
  for (const name of ['add', 'match', 'matchAll', 'put', 'delete', 'keys']) method(proto('Cache'), name, first(request));
  method(holderOf(scope, 'fetchLater'), 'fetchLater', first(request));
  method(proto('Cache'), 'addAll', first(list => list?.[Symbol.iterator] ? Array.from(list, request) : list));
  method(proto('CacheStorage'), 'match', first(request));

  // Workers: the gate inserts the runtime before a worker's script; the URL says if it is a module.
  const workerArguments = args => {
    if (!args.length) return;
    const module = args[1]?.type === 'module';
    const url = String(args[0]);
    if (blobs?.has(url)) {
      const boot = module ? `try{await import(${JSON.stringify(workerRuntime)})}catch{}` : `try{importScripts(${JSON.stringify(workerRuntime)})}catch{};`;
      const own = createObjectURL(new Blob([boot, blobs.get(url)], { type: 'text/javascript' }));
      setTimeout(() => revokeObjectURL(own), 60000);
      args[0] = through(() => own, args[0]);
    } else {
      args[0] = through(text => markWorker(map(text), module), args[0]);
    }
  };
  type('Worker', workerArguments);
  type('SharedWorker', workerArguments);
  method(proto('StorageAccessHandle'), 'SharedWorker', workerArguments);
  method(proto('BackgroundFetchManager'), 'fetch', args => {
    if (args.length > 1) args[1] = typeof args[1] === 'object' && args[1]?.[Symbol.iterator] ? Array.from(args[1], request) : request(args[1]);
  });
  type('FencedFrameConfig', first(map));
  method(holderOf(scope, 'importScripts'), 'importScripts', args => args.map(value => through(map, value)));
  method(proto('Worklet'), 'addModule', first(map));
  const container = proto('ServiceWorkerContainer');
  method(container, 'register', args => {
    const options = args[1];
    if (!args.length) return;
    const meant = String(args[0]);
    args[0] = through(text => markWorker(map(text), options?.type === 'module'), args[0]);
    // Scripts compare the worker's address with the one that they gave, resolved.
    const { href, origin } = new URL(meant, baseURL());
    if (origin === gate) serviceScripts.set(new URL(args[0], baseURL()).href, bare ? unmap(href) : href);
    if (options?.scope !== undefined) args[1] = { ...options, scope: map(options.scope) };
  });
  method(container, 'getRegistration', first(map));
  method(proto('Clients'), 'openWindow', first(map));
  method(scope.Response, 'redirect', first(map));
  method(proto('WindowClient'), 'navigate', first(map));
  property(scope.URL, 'createObjectURL', found => {
    found.value = wrap(found.value, { apply(native, self, args) {
      const url = apply(native, self, args);
      if (args[0] instanceof Blob) (blobs ??= new Map()).set(url, args[0]);
      return url;
    } });
  });
  method(scope.URL, 'revokeObjectURL', args => { blobs?.delete(String(args[0])); });

  const destination = getOwnPropertyDescriptor(proto('NavigationDestination') ?? {}, 'url');
  // The addresses that a service worker reads are the upstream's: it distinguishes requests by their
  // paths. With the upstream's addresses in the address bar, all others have to be like it.
  const isService = Boolean(scope.ServiceWorkerGlobalScope && scope instanceof scope.ServiceWorkerGlobalScope);
  const reads = list => {
    for (const [name, attributes] of Object.entries(list)) for (const attribute of attributes.split(' ')) getter(proto(name), attribute, unmap);
  };
  if (isService || bare) reads(READS);
  // In a worker no property is unforgeable, not even those of location.
  const shownLocation = value => (isService || bare ? unmap(value) : value).replace(WORKER_MARKS, '');
  for (const name of ['href', 'pathname', 'search']) getter(proto('WorkerLocation'), name, shownLocation);
  read(proto('WorkerLocation'), 'toString', shownLocation);
  getter(proto('ServiceWorker'), 'scriptURL', url => serviceScripts.get(url) ?? unmap(url).replace(WORKER_MARKS, ''));
  if (!scope.document) {
    if (isService) {
      method(proto('FetchEvent'), 'respondWith', (args, event) => {
        if (DOCUMENTS.has(event.request.destination)) args[0] = Promise.resolve(args[0]).then(asDocument);
      });
    }
    return;
  }
  if (bare) {
    reads(PAGE_READS);
    const pictures = list => Object.freeze(list.map(picture => Object.freeze({ ...picture, src: unmap(picture.src) })));
    getter(proto('MediaMetadata'), 'artwork', pictures);
    method(proto('Performance'), 'getEntriesByName', first(name => String(name).startsWith(`${gate}/`) ? map(name) : name));
  }

  // Navigation.
  for (const name of ['pushState', 'replaceState']) {
    method(proto('History'), name, args => { if (args[2] !== undefined && args[2] !== null) args[2] = mapForHistory(args[2]); });
  }
  property(scope, 'open', found => {
    found.value = wrap(found.value, { apply(native, self, args) {
      if (args.length) args[0] = map(args[0]);
      return reach(apply(native, self, args));
    } });
  });
  property(scope, 'postMessage', found => {
    const own = target => typeof target === 'string' && isUpstream(target.replace(/\/$/, ''));
    found.value = wrapUnseen(found.value, args => {
      if (own(args[1])) args[1] = gate;
      else if (own(args[1]?.targetOrigin)) args[1] = { ...args[1], targetOrigin: gate };
    });
  });
  method(proto('HTMLFormElement'), 'submit', (args, form) => { prepareForm(form); });
  method(proto('Navigation'), 'navigate', first(map));
  method(proto('NavigationPrecommitController'), 'redirect', first(mapForHistory));
  const onSubmit = event => { if (!event.defaultPrevented) prepareForm(event.target, event.submitter); };
  const onNavigate = event => {
    const to = apply(destination.get, event.destination, []);
    if (!event.cancelable || event.navigationType === 'traverse' || event.destination.sameDocument || event.formData || event.downloadRequest !== null) return;
    const mapped = map(to);
    if (mapped === to) return;
    event.preventDefault();
    // Not from within the event: the browser ignores a navigation that starts there.
    const replace = event.navigationType !== 'push';
    scope.setTimeout(() => replace ? scope.location.replace(mapped) : scope.location.assign(mapped));
  };
  // An empty frame is there as soon as it is inserted: window.frames and names lead to it as well.
  const onLoad = ({ target }) => {
    if (!FRAMES.has(target.localName)) return;
    loading.add(target);
    reach(target.contentWindow);
  };
  const reachAll = () => { for (let i = 0; i < scope.length; i++) reach(scope[i]); };
  const listen = () => {
    const { signal } = leave || {};
    scope.addEventListener('submit', onSubmit, { signal });
    scope.navigation?.addEventListener('navigate', onNavigate, { signal });
    scope.document.addEventListener('load', onLoad, { signal, capture: true });
  };
  listen();
  getter(scope, 'frames', found => { reachAll(); return found; });

  // Attributes and the properties that reflect them.
  const element = proto('Element');
  const getAttribute = element.getAttribute;
  const setAttribute = element.setAttribute;
  const byAttribute = (self, name, value) => {
    const attribute = KINDS.has(name) ? name : String(name).toLowerCase();
    if (!KINDS.has(attribute)) return value;
    const element = self?.localName;
    const change = typeof element === 'string' && kindOf(element, attribute);
    if (!change) return value;
    const local = attribute.startsWith('xlink:') ? attribute.slice(6) : attribute;
    if (typeof value === 'string') return writeAttribute(self, local, change, value);
    return through(text => writeAttribute(self, local, change, text), value);
  };
  method(element, 'setAttribute', (args, self) => { if (args.length > 1) args[1] = byAttribute(self, args[0], args[1]); });
  method(element, 'setAttributeNS', (args, self) => {
    if (args.length > 2) args[2] = byAttribute(self, String(args[1]).replace(/^.*:/, ''), args[2]);
  });
  const { get: rawValue, set: setRawValue } = getOwnPropertyDescriptor(proto('Attr'), 'value');
  const intoAttribute = (attribute, self) => {
    if (!(attribute instanceof scope.Attr) || !self) return;
    const value = apply(rawValue, attribute, []);
    const mapped = byAttribute(self, attribute.localName, value);
    if (mapped !== value) apply(setRawValue, attribute, [mapped]);
  };
  for (const name of ['setAttributeNode', 'setAttributeNodeNS']) method(element, name, ([attribute], self) => intoAttribute(attribute, self));
  // A NamedNodeMap does not know its element; its attributes do.
  const owners = new WeakMap();
  getter(element, 'attributes', (attributes, self) => {
    if (attributes.length === 0) owners.set(attributes, self);
    return attributes;
  });
  for (const name of ['setNamedItem', 'setNamedItemNS']) {
    method(proto('NamedNodeMap'), name, ([attribute], self) => intoAttribute(attribute, self[0]?.ownerElement ?? owners.get(self)));
  }
  const attributeValue = (args, self) => {
    if (self.ownerElement) args[0] = byAttribute(self.ownerElement, self.localName, args[0]);
  };
  const attributeRead = (value, self) =>
    typeof value === 'string' && value.includes(mount) && self.nodeType === ATTRIBUTE_NODE ? asWritten(self.ownerElement, self.localName, value) : value;
  setter(proto('Attr'), 'value', attributeValue);
  getter(proto('Attr'), 'value', attributeRead);
  for (const name of ['nodeValue', 'textContent']) getter(proto('Node'), name, attributeRead);
  read(element, 'getAttribute', (value, self, args) => asWritten(self, args[0], value));
  read(element, 'getAttributeNS', (value, self, args) => asWritten(self, args[1], value));
  getter(proto('MutationRecord'), 'oldValue', (value, record) => record.type === 'attributes' ? asWritten(record.target, record.attributeName, value) : value);
  for (const owner of ['Document', 'DocumentFragment', 'Element']) {
    for (const name of ['querySelector', 'querySelectorAll', 'matches', 'closest', 'webkitMatchesSelector']) method(proto(owner), name, first(mapSelector));
  }
  const PROPERTIES = {
    HTMLAnchorElement: 'href ping attributionSrc', HTMLAreaElement: 'href ping attributionSrc', HTMLLinkElement: 'href imageSrcset', HTMLBaseElement: 'href',
    HTMLScriptElement: 'src attributionSrc', HTMLImageElement: 'src srcset longDesc attributionSrc', HTMLIFrameElement: 'src srcdoc longDesc',
    HTMLFrameElement: 'src longDesc', HTMLEmbedElement: 'src', HTMLObjectElement: 'data', HTMLMediaElement: 'src',
    HTMLVideoElement: 'poster', HTMLSourceElement: 'src srcset', HTMLTrackElement: 'src', HTMLInputElement: 'src formAction',
    HTMLButtonElement: 'formAction', HTMLFormElement: 'action', HTMLBodyElement: 'background', HTMLQuoteElement: 'cite',
    HTMLModElement: 'cite', SVGAElement: 'ping', MathMLAnchorElement: 'href',
  };
  // These reflect the attribute's text; the others return a URL: what the browser uses.
  const TEXTS = new Set(['ping', 'attributionsrc', 'srcset', 'imagesrcset', 'srcdoc', 'background']);
  for (const [name, list] of Object.entries(PROPERTIES)) {
    for (const property of list.split(' ')) {
      const attribute = property.toLowerCase();
      const { change } = KINDS.get(attribute);
      setter(proto(name), property, (args, self) => { args[0] = through(text => writeAttribute(self, attribute, change, text), args[0]); });
      if (TEXTS.has(attribute)) getter(proto(name), property, (value, self) => asWritten(self, attribute, value));
      // Routers compare links and forms with the address bar, so in bare mode all show the upstream's paths.
      else if (bare) getter(proto(name), property, unmap);
    }
  }
  for (const name of ['HTMLAnchorElement', 'HTMLAreaElement']) {
    const pathname = getOwnPropertyDescriptor(proto(name), 'pathname');
    setter(proto(name), 'pathname', (args, self) => {
      if (isInside(apply(pathname.get, self, []))) args[0] = map(`/${String(args[0]).replace(/^\//, '')}`);
    });
    if (bare) {
      getter(proto(name), 'pathname', unmap);
      read(proto(name), 'toString', unmap);
    }
  }
  const animated = new WeakSet();
  for (const name of ['SVGAElement', 'SVGUseElement', 'SVGImageElement', 'SVGScriptElement', 'SVGFEImageElement', 'SVGGradientElement', 'SVGPatternElement', 'SVGTextPathElement', 'SVGMPathElement']) {
    getter(proto(name), 'href', value => { animated.add(value); return value; });
  }
  setter(proto('SVGAnimatedString'), 'baseVal', (args, self) => { if (animated.has(self)) args[0] = through(map, args[0]); });
  getter(proto('SVGAnimatedString'), 'baseVal', (value, self) => animated.has(self) ? unmap(value) : value);
  property(scope, 'Audio', found => { found.value = wrap(found.value, onNew(first(map))); });

  // Markup.
  const writeMarkup = (kind, value, node) => through(text => kind(text, map, node), value);
  const readMarkup = (kind, value) => typeof value === 'string' && value.includes(mount) ? kind(value, unmap) : value;
  for (const owner of ['Element', 'ShadowRoot']) {
    setter(proto(owner), 'innerHTML', (args, self) => { args[0] = writeMarkup(contentKind(self), args[0], self); });
    getter(proto(owner), 'innerHTML', (value, self) => readMarkup(contentKind(self), value));
    setter(proto(owner), 'outerHTML', (args, self) => { args[0] = writeMarkup(contentKind(self.parentElement), args[0], self); });
    getter(proto(owner), 'outerHTML', value => readMarkup(changeHtml, value));
    for (const name of ['setHTML', 'setHTMLUnsafe']) {
      method(proto(owner), name, (args, self) => { if (args.length) args[0] = writeMarkup(contentKind(self), args[0], self); });
    }
    read(proto(owner), 'getHTML', (value, self) => readMarkup(contentKind(self), value));
  }
  read(proto('XMLSerializer'), 'serializeToString', value => readMarkup(changeHtml, value));
  method(element, 'insertAdjacentHTML', (args, self) => { if (args.length > 1) args[1] = writeMarkup(contentKind(self), args[1], self); });
  method(proto('Range'), 'createContextualFragment', (args, self) => {
    if (args.length) args[0] = writeMarkup(contentKind(self.startContainer), args[0], self.startContainer);
  });
  method(proto('DOMParser'), 'parseFromString', args => {
    // Other XML is data, whatever its attributes are called.
    if (/^(text\/html|image\/svg\+xml|application\/xhtml\+xml)$/.test(args[1])) args[0] = through(mapHtml, args[0]);
  });
  for (const name of ['parseHTML', 'parseHTMLUnsafe']) method(scope.Document, name, first(value => through(mapHtml, value)));
  for (const name of ['write', 'writeln']) {
    method(proto('Document'), name, (args, self) => args.map(value => through(mapHtml, value, self)));
  }
  // A document that is opened loses its listeners.
  for (const name of ['open', 'write', 'writeln']) {
    read(proto('Document'), name, (value, self) => { if (self === scope.document) listen(); return value; });
  }

  // Styles.
  const css = args => { if (args.length) args[0] = through(mapCss, args[0]); };
  const declaration = proto('CSSStyleDeclaration');
  const { getPropertyValue, setProperty } = declaration;
  method(declaration, 'setProperty', args => { if (typeof args[1] === 'string') args[1] = mapCss(args[1]); });
  setter(declaration, 'cssText', css);
  // In Chromium the properties of a declaration are its own, unless the prototype has them (Web IDL, "named
  // property visibility"). CSSOM has them all on the prototype; here those that accept an address get there.
  const isOwn = Object.hasOwn(apply(createElement, scope.document, ['p']).style, 'color');
  const holders = [declaration, proto('CSSStyleProperties'), proto('CSS2Properties')];
  for (const dashed of IMAGE_PROPERTIES) {
    const camel = dashed.replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());
    for (const name of new Set([dashed, camel, camel.replace(/^Webkit/, 'webkit')])) {
      const holder = holders.find(one => one && Object.hasOwn(one, name));
      if (holder) setter(holder, name, css);
      else if (isOwn) {
        const get = dress({ get() { return apply(getPropertyValue, this, [dashed]); } }.get, getPropertyValue);
        const set = dress({ set(value) { apply(setProperty, this, [dashed, value === null ? '' : mapCss(String(value))]); } }.set, setProperty);
        if (foreign) before.push([declaration, name]);
        defineProperty(declaration, name, { configurable: true, enumerable: true, get, set });
      }
    }
  }
  const STYLED = 'HTMLElement SVGElement MathMLElement CSSStyleRule CSSFontFaceRule CSSPageRule CSSKeyframeRule CSSMarginRule CSSNestedDeclarations';
  for (const name of STYLED.split(' ')) setter(proto(name), 'style', css);
  for (const name of ['set', 'append']) {
    method(proto('StylePropertyMap'), name, args => args.map((value, at) => at && typeof value === 'string' ? mapCss(value) : value));
  }
  for (const name of ['CSSStyleSheet', 'CSSGroupingRule', 'CSSStyleRule']) method(proto(name), 'insertRule', css);
  method(proto('CSSStyleSheet'), 'addRule', args => { if (args.length) args[0] = mapSelector(args[0]); if (args.length > 1) args[1] = through(mapCss, args[1]); });
  setter(proto('CSSStyleRule'), 'selectorText', first(mapSelector));
  method(proto('CSSKeyframesRule'), 'appendRule', css);
  for (const name of ['parse', 'parseAll']) method(scope.CSSStyleValue, name, args => { if (typeof args[1] === 'string') args[1] = mapCss(args[1]); });
  type('CSSStyleSheet', args => { if (args[0]?.baseURL !== undefined) args[0] = { ...args[0], baseURL: map(args[0].baseURL) }; });
  for (const name of ['replace', 'replaceSync']) method(proto('CSSStyleSheet'), name, css);
  type('FontFace', args => { if (typeof args[1] === 'string') args[1] = mapCss(args[1]); });
  // The text of a style sheet, by the element and by its text nodes.
  const { get: getData, set: setData } = getOwnPropertyDescriptor(proto('CharacterData'), 'data');
  const { get: getContent, set: setContent } = getOwnPropertyDescriptor(proto('Node'), 'textContent');
  const isStyle = node => node?.localName === 'style';
  const intoStyle = (args, self) => {
    if (!isStyle(self)) return;
    for (let i = 0; i < args.length; i++) {
      if (typeof args[i] === 'string') args[i] = mapCss(args[i]);
      else if (args[i] instanceof scope.DocumentFragment) intoStyle([...args[i].childNodes], self);
      else if (args[i] instanceof scope.Text) apply(setData, args[i], [mapCss(apply(getData, args[i], []))]);
    }
  };
  setter(proto('CharacterData'), 'data', (args, self) => intoStyle(args, self?.parentNode));
  setter(proto('HTMLElement'), 'innerText', intoStyle);
  for (const name of ['nodeValue', 'textContent']) {
    setter(proto('Node'), name, (args, self) => {
      const kind = self.nodeType;
      if (kind === ATTRIBUTE_NODE) attributeValue(args, self);
      else if (kind === TEXT_NODE) intoStyle(args, self.parentNode);
      else intoStyle(args, self);
    });
  }
  // A part may begin or end within an address, so that the whole text is mapped.
  for (const [name, change] of Object.entries({
    appendData: (text, added) => text + added,
    insertData: (text, at, added) => text.slice(0, at) + added + text.slice(at),
    replaceData: (text, at, count, added) => text.slice(0, at) + added + text.slice(at + count),
  })) {
    property(proto('CharacterData'), name, found => {
      found.value = wrap(found.value, { apply(native, self, args) {
        if (isStyle(self?.parentNode) && args.length === change.length - 1) {
          const text = apply(getData, self, []);
          const whole = change(text, ...args);
          const mapped = mapCss(whole);
          if (mapped !== whole && (args.length === 1 || args[0] <= text.length)) return apply(setData, self, [mapped]);
        }
        return apply(native, self, args);
      } });
    });
  }

  // Nodes that are inserted.
  /** The browser reads a data script when it is inserted into the page. */
  const dataScript = script => {
    const how = !script.isConnected && mapJson[String(script.type).toLowerCase()];
    if (!how) return;
    const before = JSON.parse(apply(getContent, script, []));
    const text = JSON.stringify(how(before));
    if (text === JSON.stringify(before)) return;
    try { apply(setContent, script, [trusted('createScript', text)]); } catch { apply(setContent, script, [text]); }
  };
  const { removeAttribute } = element;
  /** The gate drops `integrity` from the application's own resources in markup; so do elements that a script makes. */
  const dropIntegrity = node => {
    const url = node.getAttribute(node.localName === 'link' ? 'href' : 'src');
    if (url && mayChange(url, node)) apply(removeAttribute, node, ['integrity']);
  };
  const PREPARED = 'script[type],script[integrity],link[integrity]';
  const prepare = node => {
    if (node.localName === 'script') dataScript(node);
    if (node.integrity) dropIntegrity(node);
  };
  const { querySelectorAll } = proto('DocumentFragment');
  const { querySelectorAll: allWithin } = element;
  const within = (node, selector) => {
    if (node instanceof scope.Element) return [node, ...apply(allWithin, node, [selector])];
    return node instanceof scope.DocumentFragment ? apply(querySelectorAll, node, [selector]) : [];
  };
  /** Elements of XML data: nothing in them was mapped, because data are not for the browser. */
  const fromData = node => {
    for (const found of within(node, '*')) {
      if (isStyle(found)) apply(setContent, found, [mapCss(apply(getContent, found, []))]);
      for (const attribute of found.attributes) intoAttribute(attribute, found);
    }
    return node;
  };
  const isData = document => /^(?:text|application)\/(?:xml|(?!xhtml)[^;]+\+xml)$/.test(document?.contentType);
  const inserted = (args, self) => {
    intoStyle(args, self);
    for (const node of args) {
      if (typeof node !== 'object' || node === null) continue;
      if (node.localName === 'script' || node.localName === 'link') prepare(node);
      else if (node instanceof scope.DocumentFragment) for (const found of apply(querySelectorAll, node, [PREPARED])) prepare(found);
      if (self && node.ownerDocument !== (self.ownerDocument ?? self) && isData(node.ownerDocument)) fromData(node);
    }
  };
  for (const name of ['appendChild', 'insertBefore', 'replaceChild']) method(proto('Node'), name, inserted);
  for (const owner of ['Element', 'DocumentFragment', 'Document']) {
    for (const name of ['append', 'prepend', 'replaceChildren', 'moveBefore']) method(proto(owner), name, inserted);
  }
  for (const owner of ['Element', 'CharacterData', 'DocumentType']) {
    for (const name of ['before', 'after', 'replaceWith']) method(proto(owner), name, (args, self) => inserted(args, self?.parentNode));
  }
  for (const name of ['insertAdjacentElement', 'insertAdjacentText']) {
    method(element, name, (args, self) => {
      const node = args.slice(1);
      inserted(node, /^(beforebegin|afterend)$/i.test(args[0]) ? self?.parentNode : self);
      return [args[0], ...node];
    });
  }
  method(proto('Range'), 'insertNode', (args, self) => {
    const at = self.startContainer;
    inserted(args, at instanceof scope.CharacterData ? at.parentNode : at);
  });
  for (const name of ['importNode', 'adoptNode']) {
    property(proto('Document'), name, found => {
      found.value = wrap(found.value, { apply(native, self, args) {
        const data = isData(args[0]?.ownerDocument);
        const node = apply(native, self, args);
        return data ? fromData(node) : node;
      } });
    });
  }
  read(proto('XSLTProcessor'), 'transformToFragment', fromData);
  read(proto('XSLTProcessor'), 'transformToDocument', made => { if (made) fromData(made.documentElement); return made; });
  method(proto('Document'), 'execCommand', args => {
    const name = String(args[0]).toLowerCase();
    if (name === 'inserthtml') args[2] = through(mapHtml, args[2]);
    else if (name === 'insertimage' || name === 'createlink') args[2] = map(args[2]);
  });

  // Animations.
  const mapFrame = frame => Object.fromEntries(Object.entries(frame).map(
    ([name, value]) => [name, typeof value === 'string' ? mapCss(value) : Array.isArray(value) ? value.map(one => typeof one === 'string' ? mapCss(one) : one) : value]));
  const mapFrames = frames => {
    if (typeof frames !== 'object' || frames === null) return frames;
    return frames[Symbol.iterator] ? Array.from(frames, mapFrame) : mapFrame(frames);
  };
  method(element, 'animate', first(mapFrames));
  method(proto('KeyframeEffect'), 'setKeyframes', first(mapFrames));
  type('KeyframeEffect', args => { if (args.length > 1) args[1] = mapFrames(args[1]); });

  // Cookies.
  setter(proto('Document'), 'cookie', args => { args[0] = mapCookie(String(args[0])); });
  getter(proto('Document'), 'cookie', value => value.replace(/(^|; )zup-/g, '$1'));
  method(proto('CookieStore'), 'set', args => {
    if (typeof args[0] === 'object' && args[0]) args[0] = { ...args[0], path: cookiePath(args[0].path ?? '/') };
    else if (args.length > 1) args.splice(0, args.length, { name: args[0], value: args[1], path: inMount });
  });

  method(proto('CookieStore'), 'delete', args => {
    if (args.length) args[0] = typeof args[0] === 'object' && args[0] ? { ...args[0], path: cookiePath(args[0].path ?? '/') } : { name: args[0], path: inMount };
  });

  // Media metadata, notifications and protocol handlers.
  const pictures = options => {
    if (!options) return options;
    const change = {};
    for (const name of ['icon', 'badge', 'image']) if (typeof options[name] === 'string') change[name] = map(options[name]);
    if (options.artwork) change.artwork = Array.from(options.artwork, picture => ({ ...picture, src: map(picture.src) }));
    return { ...options, ...change };
  };
  type('MediaMetadata', args => { args[0] = pictures(args[0]); });
  type('Notification', args => { args[1] = pictures(args[1]); });
  method(proto('ServiceWorkerRegistration'), 'showNotification', args => { args[1] = pictures(args[1]); });
  for (const name of ['registerProtocolHandler', 'unregisterProtocolHandler']) method(proto('Navigator'), name, args => { if (args.length > 1) args[1] = map(args[1]); });

  read(proto('DocumentPictureInPicture'), 'requestWindow', opened => { opened.then(reach, () => {}); return opened; });
  // Frames that load nothing (about:blank, srcdoc) share this origin but not these wrappers.
  for (const name of ['HTMLIFrameElement', 'HTMLFrameElement', 'HTMLObjectElement']) {
    const { get } = getOwnPropertyDescriptor(proto(name), 'contentDocument') ?? {};
    getter(proto(name), 'contentWindow', (found, self) => {
      if (loading.has(self)) return found;
      const document = get && apply(get, self, NONE);
      if (document && !seen.has(document)) {
        seen.add(document);
        reach(found);
      }
      return found;
    });
    getter(proto(name), 'contentDocument', found => { if (found?.defaultView) reach(found.defaultView); return found; });
  }

  function prepareForm(form, submitter) {
    if (!(form instanceof scope.HTMLFormElement)) return;
    for (const [target, name] of [[form, 'action'], [submitter, 'formaction']]) {
      const value = target && apply(getAttribute, target, [name]);
      if (value) {
        const mapped = map(value);
        if (mapped !== value) apply(setAttribute, target, [name, mapped]);
      } else if (bare && name === 'action') {
        // Without an action a form is sent to the document's URL.
        const { pathname, search } = scope.location;
        apply(setAttribute, form, ['action', mount + strip(pathname) + search]);
        scope.setTimeout(() => value === null ? form.removeAttribute('action') : apply(setAttribute, form, ['action', '']));
      }
    }
  }
}

function reach(frame) {
  try {
    if (frame?.document && AboutBlank.test(frame.document.URL)) install(frame);
  } catch { /* a frame of another origin */ }
  return frame;
}

// --- cookies ---------------------------------------------------------------------------------

const cookiePath = path => path.startsWith('/') ? map(path) : path;
function mapCookie(line) {
  const [pair, ...attributes] = line.split(';');
  const name = pair.split('=', 1)[0].trim();
  const promise = /^__(host|secure)-/i.exec(name);
  const escaped = /^(?:__host-|__secure-)?zenzefi/i.test(name) || name.startsWith(COOKIE_ESCAPE) || (promise && gate.startsWith('http:'));
  const kept = attributes.filter(part => !/^\s*domain\s*=/i.test(part) && !(gate.startsWith('http:') && /^\s*secure\s*$/i.test(part)))
    .map(part => {
      const path = /^(\s*path\s*=\s*)(\/.*)$/i.exec(part);
      return path && !(promise?.[1].toLowerCase() === 'host' && !escaped) ? path[1] + cookiePath(path[2].trim()) : part;
    });
  if (bare && !attributes.some(part => /^\s*path\s*=/i.test(part))) {
    kept.push(` Path=${mount}${strip(location.pathname).replace(/\/[^/]*$/, '') || '/'}`);
  }
  return [escaped ? pair.replace(name, COOKIE_ESCAPE + name) : pair, ...kept].join(';');
}

// --- workers ---------------------------------------------------------------------------------

const { createObjectURL, revokeObjectURL } = URL;
const workerRuntime = `${gate}${mount}${NAME}?${new URLSearchParams({
  v: here.searchParams.get('v') ?? '', upstream: option('upstream'), ...bare && { address: 'upstream' } })}`;
/** A request does not say whether a script is a module and, to a plain http origin, not its destination. */
function markWorker(address, module) {
  if (!mount || (!module && !bare && globalThis.isSecureContext)) return address;
  if (!new URL(address, baseURL()).href.startsWith(gate + inMount)) return address;
  const [, path, hash] = /^([^#]*)(.*)$/s.exec(address);
  return `${path}${path.includes('?') ? '&' : '?'}${bare ? `${BARE_MARK}&` : ''}${WORKER_MARK}${module ? 'module' : 'classic'}${hash}`;
}

// --- start -----------------------------------------------------------------------------------

if (tag) {
  tagHtml = tag.outerHTML.replace(/ nonce="[^"]*"/, tag.nonce ? ` nonce="${tag.nonce}"` : '');
  // Rooted module specifiers and import('/x'): the browser's own import map does it.
  if (mount) addImports({ '/': inMount, [inMount]: inMount });
  // The page sees its document without the tag.
  tag.remove();
}
if (!document) {
  const address = bare ? ' data-address="upstream"' : '';
  const [src, upstream] = [`${mount}${NAME}?v=${here.searchParams.get('v') ?? ''}`, option('upstream')].map(text => encode(text, '"'));
  tagHtml = `<script src="${src}" data-upstream="${upstream}"${address}></script>`;
}
install(globalThis);
if (bare && document && isInside(location.pathname)) {
  const { pathname, search, hash } = location;
  try { history.replaceState(history.state, '', strip(pathname) + search + hash); } catch { /* a sandbox */ }
}
})();
