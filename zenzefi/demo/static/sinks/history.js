sink(async () => {
  const before = location.href;
  history.pushState({ n: 1 }, '', '/sinks/history?pushed');
  expect(location.pathname.endsWith('/sinks/history') && location.search === '?pushed', `pushState led to ${location.href}`);
  expect(history.state.n === 1, 'with its state');
  expect((await fetch(location.href)).ok, 'and that address exists');
  history.replaceState({ n: 2 }, '', `${location.pathname}?replaced#here`);
  expect(location.hash === '#here' && history.state.n === 2, 'replaceState');
  history.replaceState(null, '', before);
  expect(location.href === before, 'back to where it was');
  history.pushState(null, '');
  let error;
  try { history.pushState(null, '', 'https://elsewhere.example/'); } catch (caught) { error = caught; }
  expect(error?.name === 'SecurityError', 'another origin is refused as before');
});
