sink(async () => {
  const report = port => new Promise((resolve, reject) => {
    port.onmessage = event => resolve(event.data);
    port.onerror = event => reject(new Error(event.message || 'the worker failed'));
  });
  expect(await report(new Worker('/static/js/hand.js')) === '41 km to Gullholm', 'classic worker');
  expect((await report(new Worker(`${site}/static/js/hand-module.js`, { type: 'module' }))).startsWith('Saltness'), 'module worker');
  expect((await report(new SharedWorker('/static/js/shared-hand.js', 'check').port)).startsWith('Far Stack'), 'shared worker');
  expect(new Worker('/static/js/knots.js') instanceof Worker, 'is a Worker');
});
