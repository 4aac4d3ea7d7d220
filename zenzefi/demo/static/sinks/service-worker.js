sink(async () => {
  if (!navigator.serviceWorker) return;
  const registration = await navigator.serviceWorker.register('/sw.js', { scope: '/workers/' });
  await until(() => registration.active?.state === 'activated', 'activation');
  expect(await navigator.serviceWorker.getRegistration('/workers/') !== undefined, 'found by its scope');
  const frame = document.createElement('iframe');
  frame.src = '/workers/';
  await loaded(into(frame), 'a page within the scope');
  const response = await until(async () => {
    const text = await frame.contentWindow.fetch('/workers/from-the-worker').then(a => a.text());
    return text === 'served by the service worker' && text;
  }, 'its response');
  expect(response, 'the worker responds');
  const ask = async path => (await frame.contentWindow.fetch(path)).text();
  const paths = await ask('/workers/paths');
  expect(paths === '/sw.js /workers/ /sw.js /workers/', `it reads the paths of the site: ${paths}`);
  const kept = await ask('/workers/kept');
  expect(kept === 'kept /workers/kept', `it finds what it kept: ${kept}`);
  const moved = await frame.contentWindow.fetch('/workers/moved');
  expect(moved.redirected && (await moved.text()).includes('<h1>Lights'), 'a redirect that it made');
  for (const page of ['kept-page', 'written']) {
    frame.src = `/workers/${page}`;
    await loaded(frame, page);
    const inside = frame.contentWindow;
    expect(/^(Lights|Written)/.test(frame.contentDocument.title), `${page} is "${frame.contentDocument.title}"`);
    expect([...frame.contentDocument.images].every(image => image.naturalWidth), `the pictures of ${page}`);
    expect(await inside.eval("fetch('/api/lights/1').then(a => a.ok)"), `what a script of ${page} asks for`);
  }
  await registration.unregister();
});
