// What every check uses. A check says `document.title = 'ok'`, or what failed.
// The site's own origin, put together by a script; or, with ?linked, read from a link of the page.
const site = location.search === '?linked'
  ? document.querySelector('.home').href.replace(/\/$/, '')
  : document.querySelector('meta[name=site]').content.split('').reverse().join('');
const wait = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
function expect(truth, what) {
  if (!truth) throw new Error(what);
}
async function until(test, what) {
  for (let tries = 0; tries < 800; tries++) {
    const found = await test();
    if (found) return found;
    await wait(25);
  }
  throw new Error(`${what}: waited in vain`);
}
function loaded(element, what = element.localName) {
  return new Promise((resolve, reject) => {
    element.addEventListener('load', () => resolve(element), { once: true });
    element.addEventListener('error', () => reject(new Error(`${what} did not load`)), { once: true });
    setTimeout(() => reject(new Error(`${what}: neither load nor error`)), 20000);
  });
}
function into(element) {
  document.getElementById('stage').append(element);
  return element;
}
async function sink(test) {
  try {
    await test();
    document.title = 'ok';
  } catch (error) {
    document.title = `failed: ${error?.message ?? error}`;
  }
  document.getElementById('result').textContent = document.title;
  document.getElementById('result').className = document.title === 'ok' ? 'ok' : 'bad';
  parent !== window && parent.postMessage({ check: document.body.dataset.check, result: document.title }, '*');
}
