sink(async () => {
  if (!self.caches) return;
  const cache = await caches.open('check');
  await cache.addAll(['/static/js/words.js', '/api/lights/1']);
  await cache.add(`${site}/api/lights/2`);
  expect((await (await cache.match('/api/lights/1')).json()).name === 'Skerry', 'found again');
  expect((await cache.keys()).length === 3, 'three entries');
  expect(await cache.delete('/api/lights/1') === true, 'deleted');
  await caches.delete('check');
});
