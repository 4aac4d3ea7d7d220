import { words } from './words.js';
const light = await (await fetch('/api/lights/3')).json();
postMessage(`${light.name}: ${words[0]}`);
