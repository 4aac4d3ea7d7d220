sink(async () => {
  const end = '; Expires=Thu, 01 Jan 1970 00:00:00 GMT';
  document.cookie = 'check-plain=1';
  document.cookie = 'check-rooted=2; Path=/';
  document.cookie = 'check-deep=3; Path=/sinks';
  document.cookie = 'check-elsewhere=4; Path=/elsewhere';
  for (const name of ['check-plain=1', 'check-rooted=2', 'check-deep=3']) expect(document.cookie.includes(name), `${name} reads back`);
  expect(!document.cookie.includes('check-elsewhere'), 'a path elsewhere stays elsewhere');
  const sent = await (await fetch('/cookies/json')).json();
  expect(sent['check-rooted'] === '2', 'sent to the whole site');
  expect(!('check-deep' in sent), 'not sent outside its path');
  document.cookie = 'check-rooted=' + end + '; Path=/';
  document.cookie = 'check-deep=' + end + '; Path=/sinks';
  document.cookie = 'check-elsewhere=' + end + '; Path=/elsewhere';
  document.cookie = 'check-plain=' + end;
  expect(!document.cookie.includes('check-'), `all end: ${document.cookie}`);
});
