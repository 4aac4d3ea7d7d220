import { tideOn } from '/static/js/tides.js';
import { moonAge } from 'moon';
import { draw } from 'almanac/draw.js';
import { origin, api } from 'config';

const box = document.getElementById('almanac');
const parts = document.getElementById('parts');
const report = (name, good) => {
  const item = document.createElement('li');
  item.className = good ? 'ok' : 'bad';
  item.textContent = name;
  parts.append(item);
};

report('rooted specifier', typeof tideOn === 'function');
report('import map', typeof moonAge === 'function' && typeof draw === 'function');
report('module named by absolute address', typeof origin === 'string');
const { words } = await import('/static/js/words.js');
report('dynamic import, rooted', words.length > 0);
const relative = await import('./words.js');
report('dynamic import, relative: the same module', relative.words === words);
const lights = await (await fetch(api)).json();
report('address from a module', lights.items.length === 4);
const icon = new URL('../img/logo.svg', import.meta.url);
report('import.meta.url', (await fetch(icon)).ok);

const today = new Date();
box.replaceChildren(draw(today, tideOn), document.createTextNode(
  `The moon is ${moonAge(today).toFixed(1)} days old; high water stands at ${tideOn(today).toFixed(2)} m. ${words[today.getDate() % words.length]}`));
box.dataset.ready = 'yes';
