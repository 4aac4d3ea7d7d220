importScripts('/static/js/knots.js');
fetch('/api/lights/2').then(response => response.json()).then(light => {
  postMessage(`${self.knots(22)} km to ${light.name}`);
});
