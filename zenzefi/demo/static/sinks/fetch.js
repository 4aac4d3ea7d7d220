sink(async () => {
  for (const address of ['/api/lights', `${site}/api/lights`, new URL('/api/lights', location.href), '../api/lights', new URL('/api/lights', site)]) {
    const response = await fetch(address);
    expect((await response.json()).items.length === 4, `fetch(${address}) returned ${response.status}`);
  }
  expect((await fetch('/api/echo', { method: 'POST', body: 'abc' }).then(a => a.json())).body.bytes === 3, 'the body arrived');
  await fetch('http://[').then(() => expect(false, 'a broken address is refused'), error => expect(error instanceof TypeError, 'as a TypeError'));
});
