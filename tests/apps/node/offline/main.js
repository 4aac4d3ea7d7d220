// A page that works without its server after the first visit (Workbox).
import { Workbox } from 'workbox-window';

const [title, text, output] = ['h1', 'p', 'output'].map(name => document.querySelector(name));
title.textContent = document.querySelector('nav a:last-child').href === location.href.split('?')[0] ? 'Notes' : 'Home';

const box = new Workbox('/sw.js');
await box.register();
await box.controlling;
const { default: late } = await import('./late.js');
text.textContent = late;
const items = await fetch('/api/items.json').then(response => response.json()).catch(() => []);
output.textContent = items.map(item => item.name).join(', ') || 'no items';
document.body.dataset.ready = 'yes';
