sink(async () => {
  // "app" is the site's own origin, as an inline script has it.
  expect(app === location.origin, `the origin is ${app}`);
  const lights = async (request, how) => {
    const response = await fetch(request);
    expect(response.ok && (await response.json()).items.length === 4, `${how} returned ${response.status}`);
  };
  await lights(app + '/api/lights', 'a string');
  await lights(`${app}/api/lights`, 'a template');
  await lights(new URL('/api/lights', app), 'a URL');
  await lights(new Request(app + '/api/lights'), 'a request');
  const link = document.createElement('a');
  link.href = app + '/api/lights';
  await lights(link.href, 'a link');
  const image = new Image();
  image.src = app + '/static/img/logo.svg';
  await image.decode();
});
