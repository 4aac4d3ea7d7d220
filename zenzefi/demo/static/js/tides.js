import { moonAge } from '/static/js/moon.js';

// Springs come with new and full moon, neaps between them.
export function tideOn(date) {
  const phase = (moonAge(date) / 29.530588) * 4 * Math.PI;
  return 2.4 + 1.1 * Math.cos(phase);
}
