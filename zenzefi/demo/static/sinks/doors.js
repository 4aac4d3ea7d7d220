// Ways to style sheets, markup and addresses that few scripts take.
sink(async () => {
  const box = into(document.createElement('div'));
  box.className = 'door';
  let count = 0;
  const rule = () => `.door { background: url(/static/img/dots.png?door${++count}) }`;
  const shows = async what => {
    const value = getComputedStyle(box).backgroundImage;
    expect(value.includes(`?door${count}"`), `${what}: ${value}`);
    expect((await fetch(/url\("(.*)"\)/.exec(value)[1])).headers.get('Content-Type') === 'image/png', `${what}: ${value} is an image`);
  };
  // Text nodes of a style sheet.
  const sheet = into(document.createElement('style'));
  const DOORS = {
    appendData: text => text.appendData(rule()),
    'appendData in parts': text => { text.appendData('.door { background: url('); text.appendData(`/static/img/dots.png?door${++count}) }`); },
    insertData: text => text.insertData(0, rule()),
    replaceData: text => text.replaceData(0, text.length, rule()),
    data: text => { text.data = rule(); },
    nodeValue: text => { text.nodeValue = rule(); },
    textContent: text => { text.textContent = rule(); },
    replaceWith: text => text.replaceWith(rule()),
    'replaceWith a node': text => text.replaceWith(document.createTextNode(rule())),
    before: text => text.before(rule()),
    after: text => text.after(document.createTextNode(rule())),
    insertAdjacentText: () => sheet.insertAdjacentText('beforeend', rule()),
    'a fragment': () => { const parts = document.createDocumentFragment(); parts.append(rule()); sheet.append(parts); },
    'a fragment by appendChild': () => { const parts = document.createDocumentFragment(); parts.append(document.createTextNode(rule())); sheet.appendChild(parts); },
    'Range.insertNode': () => { const range = document.createRange(); range.selectNodeContents(sheet); range.insertNode(document.createTextNode(rule())); },
    innerText: () => { sheet.innerText = rule(); },
    innerHTML: () => { sheet.innerHTML = rule(); },
    replaceChildren: () => sheet.replaceChildren(rule()),
    moveBefore: () => {
      if (!sheet.moveBefore) { sheet.textContent = rule(); return; }
      const other = into(document.createElement('p'));
      other.append(rule());
      sheet.moveBefore(other.firstChild, null);
    },
  };
  for (const [what, write] of Object.entries(DOORS)) {
    sheet.textContent = ' ';
    write(sheet.firstChild);
    await shows(what);
  }
  sheet.remove();
  const svg = into(document.createElementNS('http://www.w3.org/2000/svg', 'svg'));
  const drawn = document.createElementNS(svg.namespaceURI, 'style');
  drawn.append(rule());
  svg.append(drawn);
  await shows('a style sheet in a drawing');
  svg.remove();
  const nested = into(document.createElement('style'));
  nested.textContent = '@media all {}';
  nested.sheet.cssRules[0].insertRule(rule());
  await shows('insertRule of a rule');
  nested.sheet.addRule('.door', `background: url(/static/img/dots.png?door${++count})`);
  await shows('addRule');
  nested.sheet.cssRules[1].style.cssText = `background: url(/static/img/dots.png?door${++count})`;
  await shows('the style of a rule');
  nested.remove();
  box.style = `background: url(/static/img/dots.png?door${++count})`;
  await shows('style as a text');
  box.style.background = `image-set("/static/img/dots.png?door${++count}" 1x)`;
  expect(getComputedStyle(box).backgroundImage.includes(new URL(document.querySelector('link[rel=stylesheet]').href).pathname.replace('css/main.css', `img/dots.png?door${count}`)), 'image-set');
  // Editing commands.
  const editor = into(document.createElement('div'));
  editor.contentEditable = 'true';
  const command = (name, value) => {
    editor.focus();
    getSelection().selectAllChildren(editor);
    return document.execCommand(name, false, value);
  };
  const image = async what => {
    const found = editor.querySelector('img');
    if (!found.complete) await loaded(found, what);
    expect(found.naturalWidth > 0, what);
  };
  editor.innerHTML = 'x';
  if (command('insertHTML', '<img alt="" src="/static/img/logo.svg?insertHTML">')) await image('insertHTML');
  editor.innerHTML = 'x';
  if (command('insertImage', '/static/img/logo.svg?insertImage')) await image('insertImage');
  editor.innerHTML = 'x';
  if (command('createLink', '/lights/')) {
    expect((await fetch(editor.querySelector('a').href)).ok, 'createLink');
    expect(editor.querySelector('a').getAttribute('href') === '/lights/', 'the link reads as it was written');
  }
  // Elements from other documents.
  const xml = '<list><img xmlns="http://www.w3.org/1999/xhtml" alt="" src="/static/img/logo.svg?xml"/></list>';
  const parse = () => new DOMParser().parseFromString(xml, 'text/xml').documentElement;
  const WAYS = {
    importNode: () => document.importNode(parse().firstChild, true),
    'importNode of its parent': () => document.importNode(parse(), true).firstChild,
    adoptNode: () => document.adoptNode(parse().firstChild),
    append: () => parse().firstChild,
    'append its parent': () => parse(),
  };
  for (const [what, make] of Object.entries(WAYS)) {
    const made = make();
    box.append(made);
    const found = box.querySelector('img');
    if (!found.complete || !found.naturalWidth) await loaded(found, what);
    expect(found.naturalWidth > 0, what);
    box.replaceChildren();
  }
  if (globalThis.XSLTProcessor) {
    const sheetText = `<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
      <xsl:output method="html"/><xsl:template match="/"><img alt="" src="/static/img/logo.svg?xslt"/></xsl:template></xsl:stylesheet>`;
    const processor = new XSLTProcessor();
    processor.importStylesheet(new DOMParser().parseFromString(sheetText, 'text/xml'));
    const result = processor.transformToFragment(new DOMParser().parseFromString('<x/>', 'text/xml'), document);
    box.append(result);
    await loaded(box.querySelector('img'), 'XSLT');
    box.replaceChildren();
  }
  const whole = document.implementation.createHTMLDocument('');
  whole.body.innerHTML = '<img alt="" src="/static/img/logo.svg?whole">';
  box.append(whole.body.firstChild);
  await loaded(box.firstChild, 'from a document that was created');
  // Animations of an address and of a style.
  const shape = into(document.createElementNS('http://www.w3.org/2000/svg', 'svg'));
  shape.innerHTML = '<image width="9" height="9"><set attributeName="href" to="/static/img/logo.svg?set"/></image>';
  await until(() => performance.getEntriesByType('resource').some(entry => entry.name.includes('logo.svg?set')), 'an animated address');
  const keyframes = box.animate([{ backgroundImage: `url(/static/img/dots.png?door${++count})` }, { backgroundImage: `url(/static/img/dots.png?door${count})` }], 1e6);
  await shows('animate');
  keyframes.effect.setKeyframes({ backgroundImage: [`url(/static/img/dots.png?door${++count})`, `url(/static/img/dots.png?door${count})`] });
  await shows('setKeyframes');
  keyframes.cancel();
  const effect = new KeyframeEffect(box, { backgroundImage: [`url(/static/img/dots.png?door${++count})`, `url(/static/img/dots.png?door${count})`] }, 1e6);
  const animation = new Animation(effect);
  animation.play();
  await shows('KeyframeEffect');
  animation.cancel();
  // A shadow tree, declared or by a method.
  const host = into(document.createElement('div'));
  if (host.setHTMLUnsafe) {
    host.setHTMLUnsafe('<p><template shadowrootmode="open"><img alt="" src="/static/img/logo.svg?shadow"></template></p>');
    await loaded(host.firstChild.shadowRoot.querySelector('img'), 'a declared shadow root');
  }
  // An attribute of a link that was set on its node before it had an element.
  const toggled = document.createElement('img');
  const other = into(document.createElement('img'));
  toggled.toggleAttribute('src');
  other.setAttributeNode(toggled.removeAttributeNode(toggled.getAttributeNode('src')));
  other.attributes.src.textContent = '/static/img/logo.svg?moved';
  await loaded(other, 'a moved attribute');
});
