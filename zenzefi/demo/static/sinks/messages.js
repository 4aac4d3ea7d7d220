sink(async () => {
  for (const target of [site, { targetOrigin: site }]) {
    const received = new Promise(resolve => addEventListener('message', event => resolve(event), { once: true }));
    window.postMessage('ahoy', target);
    const event = await Promise.race([received, wait(15000)]);
    expect(event?.data === 'ahoy' && event.source === window, 'a message to the own origin arrives');
  }
});
