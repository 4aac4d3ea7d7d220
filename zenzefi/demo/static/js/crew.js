const say = (who, text, good = true) => {
  const cell = document.getElementById(who);
  cell.textContent = text;
  cell.className = good ? 'ok' : 'bad';
};
const trial = async (who, work) => {
  try { say(who, await work()); } catch (error) { say(who, String(error), false); }
};
const reply = port => new Promise((resolve, reject) => {
  port.onmessage = event => resolve(event.data);
  port.onerror = event => reject(event.message ?? 'the worker failed');
});

trial('worker', () => reply(new Worker('/static/js/hand.js')));
trial('module', () => reply(new Worker('/static/js/hand-module.js', { type: 'module' })));
trial('shared', () => reply(new SharedWorker('/static/js/shared-hand.js').port));
trial('service', async () => {
  if (!navigator.serviceWorker) return 'not available here';
  await navigator.serviceWorker.register('/sw.js');
  await navigator.serviceWorker.ready;
  if (!navigator.serviceWorker.controller) {
    await new Promise(resolve => navigator.serviceWorker.addEventListener('controllerchange', resolve, { once: true }));
  }
  return (await fetch('/workers/from-the-worker')).text();
});
trial('worklet', async () => {
  const context = new OfflineAudioContext(1, 128, 44100);
  if (!context.audioWorklet) return 'not available here';
  await context.audioWorklet.addModule('/static/js/worklet.js');
  new AudioWorkletNode(context, 'fog-horn').connect(context.destination);
  const sound = await context.startRendering();
  return `the horn sounds at ${sound.getChannelData(0)[5].toFixed(2)}`;
});
