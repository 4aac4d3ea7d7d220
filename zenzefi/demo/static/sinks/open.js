sink(async () => {
  const frame = document.createElement('iframe');
  frame.name = 'harbour';
  into(frame);
  const arrived = loaded(frame);
  const opened = window.open('/lights/', 'harbour');
  await arrived;
  expect(opened === frame.contentWindow, 'the window it names');
  expect(frame.contentDocument.title.startsWith('Lights'), `arrived at "${frame.contentDocument.title}"`);
});
