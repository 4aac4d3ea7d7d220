export const words = ['Fair winds.', 'Mind the rocks.', 'The kettle is on.', 'Fog by evening.'];
