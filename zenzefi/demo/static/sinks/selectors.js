sink(async () => {
  const box = into(document.createElement('div'));
  box.innerHTML = `<a id="about" href="/about">x</a><a id="abstract" href="/abstract?q=1#h">x</a><a id="out" href="https://example.org/about">x</a>
    <a id="relative" href="about">x</a><a id="mail" href="mailto:a@b.example">x</a>
    <img id="r" alt="" src="/static/img/logo.svg?sel"><x-mine id="mine" href="/about"></x-mine><i id="none">x</i>`;
  const absolute = box.appendChild(document.createElement('a'));
  absolute.id = 'absolute';
  absolute.href = `${site}/about`;
  const here = box.appendChild(document.createElement('a'));
  here.id = 'here';
  here.setAttribute('href', location.pathname);
  const CASES = {
    'a[href="/about"]': 'about',
    "a[href='/about']": 'about',
    'a[href=\\/about]': 'about',
    'a[ HREF = "/ABOUT" i ]': 'about',
    '[href="/about"]': 'about mine',
    'x-mine[href="/about"]': 'mine',
    'a[href="\\2f about"]': 'about',
    'a[href^="/ab"]': 'about abstract',
    'a[href^="/about"]': 'about',
    'a[href^="/a"]:not([href*="q="])': 'about',
    'img[src^="/static/"]': 'r',
    'img[src="/static/img/logo.svg?sel"]': 'r',
    'a[href$="about"]': 'about out relative absolute',
    'a[href*="abstract"]': 'abstract',
    'a[href*="/api/"]': '',
    'a[href^="/api/"]': '',
    'a[href^="mailto:"]': 'mail',
    'a[href^="#"]': '',
    'a[href=""]': '',
    'a[href="about"]': 'relative',
    'i:not([href])': 'none',
    ':is(a[href="/about"], i)': 'about none',
    'a[href="/about"] + a': 'abstract',
    'a[id="/about"]': '',
    'a[href="/about"], a[href="/abstract?q=1#h"]': 'about abstract',
    [`a[href="${site}/about"]`]: 'absolute',
    [`a[href="${location.pathname}"]`]: 'here',
    [`a[href="${CSS.escape('/about')}"]`]: 'about',
    'div > a[href="/about"]:first-child': 'about',
  };
  const ids = list => [...list].map(element => element.id).join(' ');
  const root = box.attachShadow ? box : box;
  for (const [selector, wanted] of Object.entries(CASES)) {
    expect(ids(root.querySelectorAll(selector)) === wanted, `querySelectorAll ${selector}: ${ids(root.querySelectorAll(selector))}`);
    expect((root.querySelector(selector)?.id ?? '') === wanted.split(' ')[0], `querySelector ${selector}`);
    expect(ids(document.querySelectorAll(`#stage ${selector.includes(',') ? `:is(${selector})` : selector}`)) === wanted, `document.querySelectorAll ${selector}`);
    expect(ids([...root.children].filter(element => element.matches(selector))) === wanted, `matches ${selector}`);
    expect(ids([...root.children].filter(element => element.webkitMatchesSelector(selector))) === wanted, `webkitMatchesSelector ${selector}`);
    expect(ids([...root.children].filter(element => element.closest(selector) === element)) === wanted, `closest ${selector}`);
  }
  const fragment = document.createRange().createContextualFragment('<a href="/about">x</a>');
  expect(fragment.querySelector('[href="/about"]') && fragment.querySelectorAll('[href="/about"]').length === 1, 'in a fragment');
  let error;
  try { box.querySelector('a[href=/about]'); } catch (caught) { error = caught; }
  expect(error instanceof DOMException && error.name === 'SyntaxError', 'an invalid selector still is');
  // Rules made by scripts.
  const colour = element => getComputedStyle(element).color;
  const about = box.querySelector('#about');
  const sheet = into(document.createElement('style'));
  sheet.textContent = '#stage a[href="/about"] { color: rgb(1, 1, 1) } #stage a[href^="/abs"]::before { content: "a[href=x]" }';
  expect(colour(about) === 'rgb(1, 1, 1)', 'style.textContent');
  sheet.sheet.insertRule('#stage a[href="/about"] { color: rgb(2, 2, 2) }', 1);
  expect(colour(about) === 'rgb(2, 2, 2)', 'insertRule');
  sheet.sheet.cssRules[1].selectorText = '#stage #nothing[href="/about"]';
  expect(colour(about) === 'rgb(1, 1, 1)', 'selectorText');
  sheet.remove();
  const built = new CSSStyleSheet();
  built.replaceSync('#stage a[href] { color: rgb(4, 4, 4) } @media all { #stage { & a[href="/about"] { color: rgb(3, 3, 3) } } }');
  document.adoptedStyleSheets = [built];
  expect(colour(about) === 'rgb(3, 3, 3)', 'replaceSync');
  document.adoptedStyleSheets = [];
  // Rules that the server sent.
  const link = document.createElement('link');
  link.rel = 'stylesheet';
  link.href = '/static/css/selectors.css';
  await loaded(document.head.appendChild(link));
  expect(colour(about) === 'rgb(5, 5, 5)', `a style sheet of the server: ${colour(about)}`);
  expect(colour(box.querySelector('#abstract')) === 'rgb(6, 6, 6)', 'a prefix in a style sheet of the server');
});
