self.onconnect = async event => {
  const light = await (await fetch('/api/lights/4')).json();
  event.ports[0].postMessage(`${light.name}, from the shared hand`);
};
