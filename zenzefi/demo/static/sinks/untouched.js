// Wrapped functions must look and behave as before.
sink(async () => {
  const own = (name, length, value) => {
    expect(typeof value === 'function' && value.name === name && value.length === length, `${name}: name and length`);
    expect(Function.prototype.toString.call(value) === `function ${name}() { [native code] }`, `${name}: toString`);
  };
  own('fetch', 1, fetch);
  own('open', 0, window.open);
  own('open', 2, XMLHttpRequest.prototype.open);
  own('Request', 1, Request);
  own('WebSocket', 1, WebSocket);
  own('EventSource', 1, EventSource);
  own('Worker', 1, Worker);
  own('sendBeacon', 1, navigator.sendBeacon);
  own('pushState', 2, history.pushState);
  own('setAttribute', 2, Element.prototype.setAttribute);
  own('set src', 1, Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, 'src').set);
  own('toString', 0, Function.prototype.toString);
  expect(!('prototype' in fetch), 'fetch is no constructor');
  const illegal = (what, work) => {
    let error;
    try { work(); } catch (caught) { error = caught; }
    expect(error instanceof TypeError, `${what} throws a TypeError`);
  };
  illegal('fetch on a stranger', () => { Element.prototype.setAttribute.call({}, 'src', '/x'); });
  illegal('WebSocket without new', () => WebSocket('/x'));
  illegal('Worker without arguments', () => new Worker());
  illegal('new fetch', () => new fetch('/x'));
  illegal('setAttribute with one argument', () => document.body.setAttribute('x'));
  const names = Object.keys(window);
  expect(!names.some(name => /zenzefi/i.test(name)), 'no new global shows');
  for (const script of document.scripts) expect(!script.src.includes('.zenzefi'), 'no foreign script stays in the page');
  const described = Object.getOwnPropertyDescriptor(window, 'fetch');
  expect(described.writable && described.enumerable && described.configurable, 'fetch is as writable as before');
  const nested = document.createElement('div');
  nested.innerHTML = '<a href="https://elsewhere.example/x?y#z">x</a><a href="#top">y</a><a href="mailto:a@b.example">z</a><img src="data:,">';
  expect(nested.innerHTML === '<a href="https://elsewhere.example/x?y#z">x</a><a href="#top">y</a><a href="mailto:a@b.example">z</a><img src="data:,">', 'foreign addresses stay');
});
