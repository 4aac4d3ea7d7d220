sink(async () => {
  expect(navigator.sendBeacon('/api/echo', 'ping') === true, 'rooted');
  expect(navigator.sendBeacon(`${site}/api/echo`, 'ping') === true, 'absolute');
  await wait(150);
});
