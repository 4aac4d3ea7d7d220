sink(async () => {
  const page = new DOMParser(); // markup that a script makes; the page's own elements are the server's
  const same = (found, wanted, what) => expect(found === wanted, `${what}: ${found}`);
  // Written by the server.
  const own = document.querySelectorAll('script')[1];
  same(own.getAttribute('src'), '/static/sinks/read-back.js', 'a script of the page');
  same(document.querySelector('link[rel=stylesheet]').getAttribute('href'), '/static/css/main.css', 'a style sheet of the page');
  same(document.querySelector('.home').getAttribute('href'), `${location.origin}/`, "the site's absolute address");
  expect((await fetch(own.src)).ok && own.src.endsWith('/static/sinks/read-back.js'), 'the property is an address that works');
  // Written by a script, in every way.
  const written = ['/static/img/logo.svg?w', `${site}/static/img/logo.svg?w`, location.href, location.pathname, 'logo.svg', '../x', '#a', '', ' /padded ', 'mailto:a@b'];
  for (const value of written) {
    const link = document.createElement('a');
    const doors = {
      setAttribute: () => link.setAttribute('href', value),
      HREF: () => link.setAttribute('HREF', value),
      setAttributeNS: () => link.setAttributeNS(null, 'href', value),
      property: () => { link.href = value; },
      'Attr.value': () => { link.setAttribute('href', 'x'); link.getAttributeNode('href').value = value; },
      'Attr.nodeValue': () => { link.getAttributeNode('href').nodeValue = value; },
      'Attr.textContent': () => { link.attributes.href.textContent = value; },
      setAttributeNode: () => {
        const node = document.createAttribute('href');
        node.value = value;
        link.setAttributeNode(node);
      },
      setNamedItem: () => {
        link.removeAttribute('href');
        const node = document.createAttribute('href');
        node.value = value;
        link.attributes.setNamedItem(node);
      },
    };
    for (const [door, write] of Object.entries(doors)) {
      write();
      same(link.getAttribute('href'), value, `getAttribute after ${door} ${value}`);
      same(link.getAttribute('HREF'), value, 'in any case');
      same(link.getAttributeNS(null, 'href'), value, `getAttributeNS after ${door}`);
      same(link.getAttributeNode('href').value, value, `Attr.value after ${door}`);
      same(link.attributes.href.nodeValue, value, `Attr.nodeValue after ${door}`);
      same(link.attributes[0].textContent, value, `Attr.textContent after ${door}`);
    }
  }
  const kinds = [
    ['img', 'srcset', '/media/tide-160w.png 1x, /media/tide-320w.png 2x'], ['a', 'ping', '/beacon /x'],
    ['p', 'style', 'background: url("/static/img/dots.png")'], ['form', 'action', '/echo'], ['video', 'poster', '/media/tide-160w.png?p'],
    ['iframe', 'srcdoc', '<!doctype html><title>x</title><a href="/lights/">x</a>'], ['script', 'src', `${site}/static/js/knots.js`],
    ['link', 'href', '/static/css/imported.css'], ['object', 'data', '/media/buoy.svg'], ['button', 'formaction', '/echo'],
    ['blockquote', 'cite', '/lights/'], ['body', 'background', '/static/img/dots.png'],
  ];
  for (const [name, attribute, value] of kinds) {
    const element = document.createElement(name);
    element.setAttribute(attribute, value);
    same(element.getAttribute(attribute), value, `${name} ${attribute}`);
    same(element.cloneNode(true).getAttribute(attribute).replace(location.origin, ''), value.replace(site, ''), `a clone's ${name} ${attribute}`);
  }
  const base = document.createElement('base'); // routers take it off the address of the page
  base.setAttribute('href', '/lights/');
  same(base.getAttribute('href'), new URL(base.href).pathname, 'a base is read like the address of the page');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttributeNS('http://www.w3.org/1999/xlink', 'xlink:href', '/static/img/sprite.svg#star');
  same(use.getAttribute('xlink:href'), '/static/img/sprite.svg#star', 'xlink:href');
  same(use.getAttributeNS('http://www.w3.org/1999/xlink', 'href'), '/static/img/sprite.svg#star', 'xlink:href by its namespace');
  // Markup.
  const box = document.createElement('div');
  const text = '<p title="/x">1 &lt; 2 &amp; /lights/<a href="/lights/?a=1&amp;b=2">x</a><img alt="" src="/static/img/logo.svg?m" style="background: url(/static/img/dots.png)"></p>';
  box.innerHTML = text;
  same(box.innerHTML, text, 'innerHTML');
  same(box.firstChild.outerHTML, text, 'outerHTML');
  if (box.getHTML) same(box.getHTML(), text, 'getHTML');
  expect(new XMLSerializer().serializeToString(box.querySelector('a')).includes('href="/lights/?a=1&amp;b=2"'), 'XMLSerializer');
  box.innerHTML += '<b></b>';
  same(box.innerHTML, `${text}<b></b>`, 'innerHTML, read and written');
  const style = document.createElement('style');
  style.textContent = 'a { background: url(/static/img/dots.png) }';
  same(style.innerHTML, 'a { background: url(/static/img/dots.png) }', 'the text of a style sheet');
  expect(page.parseFromString(text, 'text/html').body.innerHTML === text, 'a parsed document');
  const odd = '<textarea>/x</textarea><!-- href="/x" --><i data-url="/x">';
  box.innerHTML = odd;
  same(box.innerHTML, `${odd}</i>`, 'all else');
  // Read by an observer.
  const records = new Promise(resolve => new MutationObserver(resolve).observe(box, { attributes: true, subtree: true, attributeOldValue: true }));
  box.innerHTML = '<a href="/old">x</a>';
  box.firstChild.setAttribute('href', '/new');
  same((await records).at(-1).oldValue, '/old', 'MutationRecord.oldValue');
  // Values of the page's own elements, and a second look after a change by the browser.
  const toggled = document.createElement('a');
  toggled.href = '/a';
  toggled.search = '?b';
  same(new URL(toggled.getAttribute('href'), location.origin).href, `${location.origin}/a?b`, 'after a change of one part');
  toggled.removeAttribute('href');
  same(toggled.getAttribute('href'), null, 'removed');
});
