// Addresses that the browser shows or keeps for a page.
sink(async () => {
  const image = new Image();
  image.src = '/static/img/logo.svg';
  const metadata = new MediaMetadata({ title: 'Tide', artwork: [{ src: '/static/img/logo.svg', type: 'image/svg+xml' }] });
  expect(metadata.artwork[0].src === image.src, `artwork: ${metadata.artwork[0].src}`);
  if (globalThis.Notification) {
    const note = new Notification('Tide', { icon: '/static/img/logo.svg', body: 'high' });
    expect(note.icon === image.src && note.body === 'high', `a notification's icon: ${note.icon}`);
    note.close();
  }
});
