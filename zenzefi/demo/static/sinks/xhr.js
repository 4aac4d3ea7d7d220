sink(async () => {
  const get = (address, asynchronous = true) => new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open('GET', address, asynchronous);
    call.onload = () => resolve(call);
    call.onerror = () => reject(new Error(`${address} failed`));
    call.send();
  });
  for (const address of ['/api/lights/1', `${site}/api/lights/1`, '../api/lights/1']) {
    expect(JSON.parse((await get(address)).responseText).name === 'Skerry', address);
  }
  let error;
  try { XMLHttpRequest.prototype.open.call({}, 'GET', '/x'); } catch (caught) { error = caught; }
  expect(error instanceof TypeError, 'an illegal call throws a TypeError');
});
