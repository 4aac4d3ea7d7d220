sink(async () => {
  const rooted = await import('/static/js/words.js');
  expect(rooted.words.length === 4, "import('/x')");
  expect((await import('/static/js/tides.js')).tideOn(new Date()) > 0, 'a module that imports /x itself');
  expect((await import('../js/words.js')) === rooted, 'relative: the same module');
  // A loader names a module before it asks for it; the runtime can't see an import by itself.
  const ahead = document.createElement('link');
  ahead.rel = 'modulepreload';
  ahead.href = `${site}/static/js/words.js`;
  expect((await import(`${site}/static/js/words.js`)).words.length === 4, 'absolute');
  const script = document.createElement('script');
  script.type = 'module';
  script.textContent = "import { words } from '/static/js/words.js'; globalThis.seen = words.length;";
  into(script);
  await until(() => globalThis.seen === 4, 'an inline module');
});
