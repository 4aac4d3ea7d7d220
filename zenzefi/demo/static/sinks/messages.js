sink(async () => {
  const heard = new Promise(resolve => addEventListener('message', event => resolve(event), { once: true }));
  window.postMessage('ahoy', site);
  const event = await Promise.race([heard, wait(15000)]);
  expect(event?.data === 'ahoy' && event.source === window, 'a message to the own origin arrives');
});
