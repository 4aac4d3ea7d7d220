// Some applications freeze the language's own objects first of all.
for (const name of ['Object', 'Array', 'Function', 'String', 'RegExp', 'Map', 'WeakMap', 'Promise']) {
  Object.freeze(globalThis[name].prototype);
  Object.freeze(globalThis[name]);
}
sink(async () => {
  expect((await fetch('/api/lights/1')).ok, 'fetch');
  const image = document.createElement('img');
  const arrived = loaded(image);
  image.src = '/static/img/logo.svg?frozen';
  await arrived;
  const box = into(document.createElement('div'));
  box.innerHTML = '<img src="/static/img/logo.svg?frozen2">';
  await loaded(box.firstChild);
  expect((await import('/static/js/words.js')).words.length === 4, 'import');
});
