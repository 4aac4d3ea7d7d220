importScripts('/static/js/knots.js');
fetch('/api/lights/2').then(answer => answer.json()).then(light => {
  postMessage(`${self.knots(22)} km to ${light.name}`);
});
