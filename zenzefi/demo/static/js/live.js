const at = id => document.getElementById(id);

const address = new URL('/live/echo', location.href);
address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
const socket = new WebSocket(address, ['echo.v2']);
socket.onopen = () => { at('echo').textContent = `connected (${socket.protocol})`; };
socket.onmessage = event => { at('echo').textContent = event.data; };
socket.onclose = event => { at('echo').textContent = `closed: ${event.code} ${event.reason}`; };
at('say').addEventListener('submit', event => {
  event.preventDefault();
  socket.send(at('word').value);
});

const tide = new EventSource('/live/events');
tide.addEventListener('tide', event => {
  at('tide').textContent = `${JSON.parse(event.data).tide_m} m`;
});
tide.onerror = () => { at('tide').textContent = 'interrupted, trying again'; };

at('fetch').addEventListener('click', async () => {
  const response = await fetch('/api/lights', { headers: { Accept: 'application/json' } });
  at('fetched').textContent = JSON.stringify(await response.json(), null, 1);
});
at('xhr').addEventListener('click', () => {
  const call = new XMLHttpRequest();
  call.open('GET', '/api/lights/1');
  call.onload = () => { at('xhred').textContent = call.responseText; };
  call.send();
});
