sink(async () => {
  for (const target of [site, { targetOrigin: site }]) {
    const heard = new Promise(resolve => addEventListener('message', event => resolve(event), { once: true }));
    window.postMessage('ahoy', target);
    const event = await Promise.race([heard, wait(15000)]);
    expect(event?.data === 'ahoy' && event.source === window, 'a message to the own origin arrives');
  }
});
