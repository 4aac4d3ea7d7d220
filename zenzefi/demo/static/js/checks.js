// Runs every check in a separate frame, one after the other.
const cells = [...document.querySelectorAll('span[data-check]')];
const summary = document.getElementById('summary');
// At a root nothing maps an address that a script makes up from nowhere: there it reads a link.
const query = location.pathname === '/checks/' ? '?linked' : '';
let failed = 0;
for (const cell of cells) {
  const name = cell.dataset.check;
  const frame = document.createElement('iframe');
  const result = await new Promise(resolve => {
    const receive = event => {
      if (event.data?.check !== name) return;
      removeEventListener('message', receive);
      resolve(event.data.result);
    };
    addEventListener('message', receive);
    setTimeout(resolve, 40000, 'no result within 40 seconds');
    frame.src = `/sinks/${name}${query}`;
    document.getElementById('bench').append(frame);
  });
  frame.remove();
  cell.textContent = result;
  cell.className = result === 'ok' ? 'ok' : 'bad';
  failed += result !== 'ok';
}
summary.textContent = failed ? `${failed} of ${cells.length} failed` : `all ${cells.length} hold`;
summary.className = failed ? 'bad' : 'ok';
