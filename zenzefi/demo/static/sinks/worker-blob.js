sink(async () => {
  const code = `
    importScripts(${JSON.stringify(location.origin)} + '/static/js/knots.js');
    fetch(${JSON.stringify(location.origin)} + '/api/lights/1').then(a => a.json()).then(light => postMessage(light.name + self.knots(10)));`;
  const address = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  const said = await new Promise((resolve, reject) => {
    worker.onmessage = event => resolve(event.data);
    worker.onerror = event => reject(new Error(event.message));
  });
  expect(said === 'Skerry19', `said ${said}`);
});
