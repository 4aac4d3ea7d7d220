// The page's policy: scripts by nonce, and what these load.
sink(async () => {
  expect((await fetch('/api/lights/1')).ok, 'fetch');
  expect((await import('/static/js/words.js')).words.length === 4, 'import');
  const box = into(document.createElement('div'));
  box.innerHTML = '<img src="/static/img/logo.svg?csp-strict">';
  await loaded(box.firstChild);
});
