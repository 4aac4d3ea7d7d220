sink(async () => {
  const frame = into(document.createElement('iframe'));
  expect((await frame.contentWindow.fetch('/api/lights/1')).ok, "an empty frame's own fetch");
  expect((await (await frame.contentWindow.fetch(`${site}/api/lights/1`)).json()).name === 'Skerry', 'absolute');
  const note = document.createElement('iframe');
  note.srcdoc = `<!doctype html><img src="/static/img/logo.svg?f1"><script>
    fetch('/api/lights/2').then(a => a.json()).then(light => { document.title = light.name; });<\/script>`;
  await loaded(into(note));
  expect(note.contentDocument.querySelector('img').naturalWidth > 0, 'an image in srcdoc');
  await until(() => note.contentDocument.title === 'Gullholm', 'a script in srcdoc');
});
