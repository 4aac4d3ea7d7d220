sink(async () => {
  const request = new Request('/api/echo', { method: 'PUT', body: 'tide', headers: { 'X-Demo': '1' } });
  expect(request instanceof Request && request.constructor === Request, 'is a Request');
  const seen = await (await fetch(request)).json();
  expect(seen.method === 'PUT' && seen.target === '/api/echo' && seen.body.bytes === 4, 'arrived as made');
  class Own extends Request {}
  expect(new Own('/api/echo') instanceof Own, 'can be extended');
  expect((await fetch(new Own(`${site}/api/lights/1`))).ok, 'absolute, of a subclass');
});
