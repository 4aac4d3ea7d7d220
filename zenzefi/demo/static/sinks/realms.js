// Functions that belong to another window than the script that calls them.
sink(async () => {
  const isReport = event => Boolean(event.data?.check); // a check in a frame reports its result
  const message = () => new Promise(resolve => {
    addEventListener('message', function listen(event) {
      if (isReport(event)) return;
      removeEventListener('message', listen);
      resolve(event);
    });
  });
  const frame = document.createElement('iframe');
  frame.src = '/sinks/quiet?realm';
  into(frame);
  frame.contentWindow.mine = 1; // a script may look into a frame before its document arrives
  await loaded(frame);
  const child = frame.contentWindow;
  for (const target of ["'*'", 'location.origin', `'${site}'`, `{ targetOrigin: '${site}' }`]) {
    const arrived = message();
    child.eval(`parent.postMessage({ text: 'hello' }, ${target})`);
    const event = await Promise.race([arrived, wait(15000)]);
    expect(event?.data.text === 'hello', `a message of a frame to ${target} arrives`);
    expect(event.source === child, `the frame is the source of its message to ${target}`);
    const reply = new Promise(resolve => child.addEventListener('message', resolve, { once: true }));
    event.source.postMessage('reply', site);
    const replied = await Promise.race([reply, wait(15000)]);
    expect(replied?.data === 'reply' && replied.source === window, 'and gets the reply');
  }
  const received = [];
  const note = event => { if (!isReport(event)) received.push(event.data); };
  addEventListener('message', note);
  child.eval("parent.postMessage(1, '*'); parent.postMessage(2, '*'); parent.postMessage(3, '*')");
  await until(() => received.length > 2, 'three messages');
  await wait(50);
  removeEventListener('message', note);
  expect(received.join() === '1,2,3', `each message arrives once: ${received}`);
  const { port1, port2 } = new MessageChannel();
  const sent = message();
  child.other = port2;
  child.eval("parent.postMessage('port', '*', [other])");
  expect((await sent).ports.length === 1 && port1, 'ports are transferred');
  let error;
  try { child.eval("parent.postMessage(() => {}, '*')"); } catch (caught) { error = caught; }
  expect(error?.name === 'DataCloneError', `an error stays one: ${error}`);
  try { postMessage(); } catch (caught) { error = caught; }
  expect(error instanceof TypeError, 'and so does a call without arguments');
  const toChild = new Promise(resolve => child.addEventListener('message', resolve, { once: true }));
  postMessage.call(child, 'by call', '*');
  expect((await Promise.race([toChild, wait(15000)]))?.data === 'by call', 'another window as the receiver');
  // The frame's own document, although a script looked into the frame before.
  expect((await child.eval("fetch('/api/lights/1')")).ok, "the frame's own fetch");
  await child.eval("import('/static/js/hand-module.js')").catch(caught => expect(false, `import in the frame: ${caught}`));
  expect(!child.document.querySelector('script[src*=".zenzefi"]'), 'the document is the one that the server wrote');
  // Empty frames, by every way to them.
  const blanks = [
    () => into(document.createElement('iframe')),
    () => { document.getElementById('stage').insertAdjacentHTML('beforeend', '<iframe name="blank"></iframe>'); },
    () => { document.getElementById('stage').append(document.createRange().createContextualFragment('<iframe src="about:blank"></iframe>')); },
    () => {
      const host = into(document.createElement('div'));
      host.attachShadow({ mode: 'open' }).innerHTML = '<iframe></iframe>';
    },
  ];
  for (const make of blanks) {
    make();
    const blank = window.frames[window.frames.length - 1];
    expect((await blank.fetch('/api/lights/1')).ok, `fetch in ${make}`);
    expect((await blank.eval("fetch('/api/lights/2')")).ok, 'and by its own script');
    const arrived = message();
    blank.eval("parent.postMessage('blank', '*')");
    expect((await arrived).source === blank, `the source of a message from ${make}`);
    const own = new Promise(resolve => blank.addEventListener('message', resolve, { once: true }));
    blank.eval("postMessage('self', '*')");
    expect((await own).source === blank, 'and of a message to itself');
    blank.document.open();
    blank.document.write(`<!doctype html><title>x</title><img src="/static/img/logo.svg?${blanks.indexOf(make)}"><form><button formaction="/echo">x</button></form>`);
    blank.document.close();
    const image = blank.document.querySelector('img');
    if (!image.complete) await loaded(image);
    expect(image.naturalWidth > 0, 'an image written into it');
    expect((await blank.fetch('/api/lights/1')).ok, 'fetch after the document was written');
    const link = blank.document.createElement('a');
    link.href = '/lights/';
    expect(link.getAttribute('href') === '/lights/' && (await fetch(link.href)).ok, 'a link in it');
  }
  // A frame whose document is a new one.
  const again = into(document.createElement('iframe'));
  expect((await again.contentWindow.fetch('/api/lights/1')).ok, 'a blank frame');
  const arrived = loaded(again);
  again.src = '/sinks/quiet?again';
  await arrived;
  expect((await again.contentWindow.eval("fetch('/api/lights/1')")).ok, 'then with a document');
  await again.contentWindow.eval("import('/static/js/hand-module.js')");
  // Popups.
  const popup = open('', 'popup');
  if (popup) {
    expect((await popup.fetch('/api/lights/1')).ok, "a popup's fetch");
    popup.document.write('<!doctype html><img src="/static/img/logo.svg?popup">');
    popup.document.close();
    await until(() => popup.document.querySelector('img')?.naturalWidth > 0, 'an image written into a popup');
    const told = message();
    popup.eval("opener.postMessage('popup', '*')");
    expect((await told).source === popup, 'the source of a message of a popup');
    popup.close();
  }
});
