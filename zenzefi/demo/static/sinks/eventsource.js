sink(async () => {
  for (const address of ['/live/events?count=2&every=0.02', `${site}/live/events?count=2&every=0.02`]) {
    const source = new EventSource(address);
    const tide = await new Promise((resolve, reject) => {
      source.addEventListener('tide', event => resolve(JSON.parse(event.data)));
      source.onerror = () => reject(new Error(`${address} failed`));
    });
    source.close();
    expect(typeof tide.tide_m === 'number', 'an event came');
  }
});
