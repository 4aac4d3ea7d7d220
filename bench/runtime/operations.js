// The operations that are measured, each called many times: name -> function of a page.
globalThis.operations = () => {
  const stage = document.body.appendChild(document.createElement('div'));
  const element = name => stage.appendChild(document.createElement(name));
  const link = element('a');
  link.className = 'link';
  const box = element('p');
  const frame = element('iframe');
  const sheet = element('style');
  const text = box.appendChild(document.createTextNode('x'));
  const row = number => `<tr><td class="n">${number}</td><td><a class="l" href="/lights/${number}">Light ${number}</a></td><td title="a note">on</td></tr>`;
  const plainRow = number => `<tr><td class="n">${number}</td><td><b class="l">Light ${number}</b></td><td title="a note">on</td></tr>`;
  const rows = make => `<table>${Array.from({ length: 100 }, (_, number) => make(number)).join('')}</table>`;
  const [linked, plain] = [rows(row), rows(plainRow)];
  const holder = document.createElement('div');
  let flip = 0;
  return {
    "setAttribute('href')": () => link.setAttribute('href', flip++ & 1 ? '/lights/1' : '/lights/2'),
    "setAttribute('class')": () => link.setAttribute('class', flip++ & 1 ? 'a' : 'b'),
    "getAttribute('href')": () => link.getAttribute('href'),
    "getAttribute('class')": () => link.getAttribute('class'),
    'a.href =': () => { link.href = flip++ & 1 ? '/lights/1' : '/lights/2'; },
    'element.attributes': () => link.attributes,
    contentWindow: () => frame.contentWindow,
    'style.color =': () => { box.style.color = flip++ & 1 ? 'red' : 'blue'; },
    'style.color': () => box.style.color,
    'style.setProperty': () => box.style.setProperty('color', flip++ & 1 ? 'red' : 'blue'),
    'innerHTML, 100 rows with links': () => { holder.innerHTML = linked; },
    'innerHTML, 100 rows': () => { holder.innerHTML = plain; },
    'innerHTML, read': () => holder.innerHTML,
    "querySelector('.link')": () => document.querySelector('.link'),
    "querySelector('a[href]')": () => document.querySelector('a[href="/lights/1"]'),
    appendChild: () => box.appendChild(text),
    'textContent =': () => { box.firstChild.textContent = 'y'; },
    textContent: () => box.textContent,
    'style text': () => { sheet.textContent = flip++ & 1 ? 'x{}' : 'y{}'; },
  };
};
/** Nanoseconds for each operation: the best of a few loops of some milliseconds. */
globalThis.measure = list => {
  const found = {};
  for (const [name, operation] of Object.entries(list)) {
    let times = 1;
    let best = Infinity;
    for (let loops = 0; loops < 5;) {
      const start = performance.now();
      for (let i = 0; i < times; i++) operation();
      const spent = performance.now() - start;
      if (spent < 8) { times *= spent < 1 ? 8 : 2; continue; }
      best = Math.min(best, spent / times * 1e6);
      loops++;
    }
    found[name] = best;
  }
  return found;
};
