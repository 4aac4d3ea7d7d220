sink(async () => {
  const context = new OfflineAudioContext(1, 128, 44100);
  if (!context.audioWorklet) return;
  await context.audioWorklet.addModule('/static/js/worklet.js');
  new AudioWorkletNode(context, 'fog-horn').connect(context.destination);
  expect((await context.startRendering()).getChannelData(0)[9] === 0.25, 'the horn sounds');
});
