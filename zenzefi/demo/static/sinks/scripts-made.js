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
  await wait(500);
});
