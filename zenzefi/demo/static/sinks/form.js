sink(async () => {
  const send = async how => {
    const frame = document.createElement('iframe');
    frame.name = `form${Math.random()}`;
    into(frame);
    const form = document.createElement('form');
    form.method = 'post';
    form.target = frame.name;
    form.innerHTML = '<input name="word" value="ahoy"><button name="by" value="button">Send</button>';
    into(form);
    const arrived = loaded(frame);
    how(form);
    await arrived;
    expect(frame.contentDocument.body.textContent.includes('ahoy'), `${how} arrived at "${frame.contentDocument.title}"`);
  };
  await send(form => { form.action = '/post/submit'; form.submit(); });
  await send(form => { form.setAttribute('action', `${site}/post/submit`); form.requestSubmit(); });
  await send(form => { form.action = '/nowhere'; const button = form.querySelector('button'); button.formAction = '/post/submit'; button.click(); });
  const detached = document.createElement('form');
  expect(detached.action === document.createElement('form').action, 'a form without an action');
});
