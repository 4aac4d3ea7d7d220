sink(async () => {
  const box = into(document.createElement('div'));
  const image = async what => {
    const found = box.querySelector('img') ?? document.querySelector('#stage img:last-of-type');
    if (!found.complete) await loaded(found, what);
    expect(found.naturalWidth > 0, what);
  };
  box.innerHTML = '<p class="x">A<img src="/static/img/logo.svg?i1" alt=""></p>';
  await image('innerHTML');
  expect(box.firstChild.className === 'x', 'the rest is as written');
  box.innerHTML = '';
  box.insertAdjacentHTML('beforeend', `<img alt='' src='${site}/static/img/logo.svg?i2'>`);
  await image('insertAdjacentHTML');
  box.innerHTML = '<b></b>';
  box.firstChild.outerHTML = '<img src=/static/img/logo.svg?i3 alt>';
  await image('outerHTML, unquoted');
  box.replaceChildren(document.createRange().createContextualFragment('<img src="/static/img/logo.svg?a=1&amp;i4" alt="">'));
  await image('createContextualFragment');
  expect(box.firstChild.src.endsWith('?a=1&i4'), 'character references');
  const parsed = new DOMParser().parseFromString('<img src="/static/img/logo.svg?i5">', 'text/html');
  box.replaceChildren(document.adoptNode(parsed.querySelector('img')));
  await image('DOMParser');
  const drawing = new DOMParser().parseFromString(
    '<svg xmlns="http://www.w3.org/2000/svg"><image href="/static/img/logo.svg?i9"/></svg>', 'image/svg+xml');
  const drawn = document.importNode(drawing.documentElement, true);
  const arrived = loaded(drawn.firstChild, 'an image of a parsed drawing');
  box.replaceChildren(drawn);
  await arrived;
  const data = '<list><item href="/lights/"/></list>';
  const list = new DOMParser().parseFromString(data, 'text/xml');
  expect(new XMLSerializer().serializeToString(list) === data, 'data stay data');
  if (Document.parseHTMLUnsafe) {
    const whole = Document.parseHTMLUnsafe('<img src="/static/img/logo.svg?i10">');
    box.replaceChildren(document.adoptNode(whole.querySelector('img')));
    await image('parseHTMLUnsafe');
  }
  const host = document.createElement('div');
  host.attachShadow({ mode: 'open' }).innerHTML = '<img src="/static/img/logo.svg?i6">';
  into(host);
  await loaded(host.shadowRoot.firstChild, 'shadow root');
  box.innerHTML = '<style>.i7 { background: url(/static/img/dots.png?i7) }</style><div class="i7">x</div>';
  expect(getComputedStyle(box.lastChild).backgroundImage.includes('dots.png?i7'), 'style within markup');
  const odd = '<!-- <img src="/never"> --><textarea><img src="/never"></textarea><a title=\'href="/never"\'>x</a>';
  box.innerHTML = odd;
  expect(box.querySelector('textarea').value === '<img src="/never">' && box.querySelector('a').title === 'href="/never"', 'text that only looks like markup');
  const template = document.createElement('template');
  template.innerHTML = '<tr><td><img src="/static/img/logo.svg?i8"></td></tr>';
  box.replaceChildren(template.content.cloneNode(true));
  await image('template');
});
