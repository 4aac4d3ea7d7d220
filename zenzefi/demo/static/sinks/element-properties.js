sink(async () => {
  const make = (name, set) => Object.assign(document.createElement(name), set);
  for (const address of ['/static/img/logo.svg?p', `${site}/static/img/logo.svg?q`]) {
    const image = make('img', {});
    const arrived = loaded(image);
    image.src = address;
    await arrived;
  }
  const constructed = new Image();
  const arrived = loaded(constructed);
  constructed.src = '/static/img/logo.svg?r';
  await arrived;
  const script = make('script', { src: '/static/js/knots.js' });
  await loaded(into(script));
  expect(self.knots(10) === 19, 'script.src');
  await loaded(into(make('link', { rel: 'stylesheet', href: '/static/css/imported.css' })));
  await loaded(into(make('iframe', { src: '/sinks/quiet' })));
  await loaded(into(make('object', { data: '/media/buoy.svg', type: 'image/svg+xml' })));
  await loaded(into(make('embed', { src: '/media/buoy.svg?e', type: 'image/svg+xml' })));
  into(make('video', { poster: '/media/tide-160w.png?poster' }));
  const link = into(make('a', { href: '/lights/' }));
  expect((await fetch(link.href)).ok && (await (await fetch(link.href)).text()).includes('<h1>Lights'), 'a.href reads back as an address that works');
  const here = make('a', { href: `/sinks/element-properties${location.search}` });
  expect(here.href === location.href && here.pathname === location.pathname && `${here}` === `${location}`,
    'a link to this page is where the page is');
  expect(here.getAttribute('href') === `/sinks/element-properties${location.search}`, 'getAttribute returns what was written');
  const form = make('form', { action: location.pathname });
  expect(form.action.split('?')[0] === location.href.split('?')[0], 'form.action too');
  link.pathname = '/live/';
  expect((await (await fetch(link.href)).text()).includes('<h1>Live'), 'a.pathname');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'image');
  use.href.baseVal = '/static/img/logo.svg?svg';
  expect((await fetch(use.href.baseVal)).ok, 'href.baseVal');
});
