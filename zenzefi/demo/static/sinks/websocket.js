sink(async () => {
  const talk = (address, protocols) => new Promise((resolve, reject) => {
    const socket = protocols ? new WebSocket(address, protocols) : new WebSocket(address);
    expect(socket instanceof WebSocket && socket.constructor === WebSocket, 'is a WebSocket');
    socket.onopen = () => socket.send('ahoy');
    socket.onmessage = event => { socket.close(1000, 'done'); resolve([event.data, socket.protocol]); };
    socket.onerror = () => reject(new Error(`${address} failed`));
  });
  const address = new URL('/live/echo', location.href);
  address.protocol = location.protocol.replace('http', 'ws');
  expect(String(await talk(address)) === 'ahoy,', 'rooted at this page');
  expect(String(await talk(address.href, ['echo.v1', 'echo.v2'])).startsWith('ahoy,echo.v'), 'with subprotocols');
  expect(String(await talk(`${site.replace('http', 'ws')}/live/echo`, 'echo.v2')) === 'ahoy,echo.v2', 'absolute');
  expect(WebSocket.OPEN === 1 && WebSocket.length === 1 && WebSocket.name === 'WebSocket', 'looks as before');
  let error;
  try { new WebSocket('ftp://x'); } catch (caught) { error = caught; }
  expect(error?.name === 'SyntaxError', 'refuses what it refused');
});
