// Scripts that are data: import maps and speculation rules that a script makes.
sink(async () => {
  const script = (type, value) => Object.assign(document.createElement('script'), { type, textContent: JSON.stringify(value) });
  document.head.append(script('importmap', { imports: { 'made/words': '/static/js/words.js', 'made/': '/static/js/' } }));
  expect((await import('made/words')).words.length === 4, 'an import map that a script made');
  const map = script('importmap', { imports: { 'made-site/words': `${site}/static/js/words.js` } });
  document.body.appendChild(map);
  expect((await import('made-site/words')).words.length === 4, 'with an absolute address');
  into(script('speculationrules', { prefetch: [{ source: 'list', urls: ['/lights/', '/live/'] }] }));
  const data = script('application/json', { path: '/lights/' });
  into(data);
  expect(data.textContent === '{"path":"/lights/"}', 'other data stay');
  const hashed = () => Object.assign(document.createElement('link'), {
    rel: 'stylesheet', href: '/static/css/hashed.css', integrity: 'sha256-8lsPEbOGFd00WEJofi6bFdxteP7RU0zdkrvKXPg+0Hg=',
  });
  const loads = (sheet, insert) => new Promise(resolve => {
    sheet.onload = () => resolve(true);
    sheet.onerror = () => resolve(false);
    insert(sheet);
  });
  expect(await loads(hashed(), sheet => document.head.append(sheet)), 'a style sheet with its hash');
  expect(await loads(hashed(), sheet => {
    const fragment = document.createDocumentFragment();
    fragment.append(sheet);
    document.head.appendChild(fragment);
  }), 'a style sheet with its hash, in a fragment');
  const hashes = script('importmap', { imports: {}, integrity: { '/static/js/words.js': 'sha256-02sPcFo8JHyqnDCbE+EW+v6Ei7snM384/z/1p8/0TSk=' } });
  document.head.append(hashes);
  // The stack names the address from which this script was loaded, whatever `location` says.
  const isMounted = new Error().stack.includes('/api/v1/proxy/');
  expect(hashes.textContent.includes('sha256-') !== isMounted, 'a hash in an import map');
  await wait(500);
});
