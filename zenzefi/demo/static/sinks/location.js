sink(async () => {
  const frame = document.createElement('iframe');
  frame.src = '/sinks/quiet';
  await loaded(into(frame));
  for (const go of [
    () => { frame.contentWindow.eval("location = '/lights/'"); },
    () => { frame.contentWindow.eval("location.href = '/lights/?href'"); },
    () => { frame.contentWindow.eval("location.assign('/lights/?assign')"); },
    () => { frame.contentWindow.eval("location.replace('/lights/?replace')"); },
    () => { frame.contentWindow.eval("navigation.navigate('/lights/?navigate')"); },
    () => {
      const meta = frame.contentDocument.createElement('meta');
      meta.httpEquiv = 'refresh';
      meta.content = '0; url=/lights/?refresh';
      frame.contentDocument.head.append(meta);
    },
  ]) {
    const arrived = loaded(frame);
    go();
    await arrived;
    await until(() => frame.contentDocument?.title.startsWith('Lights'), `${go}: arrived at "${frame.contentDocument?.title}"`);
    const home = loaded(frame);
    frame.src = '/sinks/quiet';
    await home;
  }
});
