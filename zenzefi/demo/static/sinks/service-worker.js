sink(async () => {
  if (!navigator.serviceWorker) return;
  const registration = await navigator.serviceWorker.register('/sw.js', { scope: '/workers/' });
  await until(() => registration.active?.state === 'activated', 'activation');
  expect(await navigator.serviceWorker.getRegistration('/workers/') !== undefined, 'found by its scope');
  const frame = document.createElement('iframe');
  frame.src = '/workers/';
  await loaded(into(frame), 'a page within the scope');
  const answer = await until(async () => {
    const text = await frame.contentWindow.fetch('/workers/from-the-worker').then(a => a.text());
    return text === 'answered by the service worker' && text;
  }, 'its answer');
  expect(answer, 'the worker answers');
  await registration.unregister();
});
