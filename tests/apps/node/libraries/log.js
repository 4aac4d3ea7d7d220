// What the pages of the libraries share: a log that the test reads.
const log = text => {
  const item = document.createElement('li');
  item.textContent = String(text);
  document.getElementById('log').append(item);
};
const done = () => { document.body.dataset.done = 'yes'; };
const until = (condition, what) => new Promise((resolve, reject) => {
  const end = performance.now() + 20000;
  const look = () => {
    const found = condition();
    if (found) resolve(found);
    else if (performance.now() > end) reject(new Error(`timeout: ${what ?? condition}`));
    else setTimeout(look, 20);
  };
  look();
});
const once = (target, name) => new Promise(resolve => target.addEventListener(name, resolve, { once: true }));
const ready = new Promise(resolve => addEventListener('DOMContentLoaded', resolve));
const run = steps => ready.then(steps).catch(error => log(`failed: ${error}`)).finally(done);
