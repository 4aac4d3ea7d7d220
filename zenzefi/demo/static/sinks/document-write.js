document.write('<p id="written"><img id="w1" src="/static/img/logo.svg?w1" alt=""></p>');
document.writeln('<script src="/static/js/knots.js"><\/script>');
addEventListener('load', () => sink(async () => {
  expect(document.getElementById('w1').naturalWidth > 0, 'document.write');
  expect(self.knots(10) === 19, 'a written script');
  const frame = into(document.createElement('iframe'));
  frame.contentDocument.open();
  frame.contentDocument.write('<!doctype html><img src="/static/img/logo.svg?w2">');
  frame.contentDocument.close();
  await until(() => frame.contentDocument.querySelector('img')?.naturalWidth > 0, 'written into a frame');
}));
