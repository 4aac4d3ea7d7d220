// The page's policy: scripts from itself and by nonce, no other inline scripts.
sink(async () => {
  expect((await fetch('/api/lights/1')).ok, 'fetch');
  expect((await import('/static/js/words.js')).words.length === 4, 'import');
  const box = into(document.createElement('div'));
  box.innerHTML = '<img src="/static/img/logo.svg?csp">';
  await loaded(box.firstChild);
  expect(globalThis.inlineRan === undefined, 'an inline script without the nonce stays blocked');
});
