// The page's policy: everything from itself, nothing inline.
sink(async () => {
  expect((await fetch('/api/lights/1')).ok, 'fetch');
  expect((await import('/static/js/words.js')).words.length === 4, 'import');
  const box = into(document.createElement('div'));
  box.innerHTML = '<img src="/static/img/logo.svg?csp-self">';
  await loaded(box.firstChild);
});
