// The page demands Trusted Types; its own policy makes them.
sink(async () => {
  const rules = trustedTypes.createPolicy('page', { createHTML: text => text, createScriptURL: text => text });
  const box = into(document.createElement('div'));
  box.innerHTML = rules.createHTML('<img src="/static/img/logo.svg?tt">');
  await loaded(box.firstChild);
  let error;
  try { box.innerHTML = '<b>plain</b>'; } catch (caught) { error = caught; }
  expect(error instanceof TypeError, 'a plain string is refused as before');
  const script = document.createElement('script');
  script.src = rules.createScriptURL('/static/js/knots.js');
  await loaded(into(script));
  expect(self.knots(10) === 19, 'script.src');
});
