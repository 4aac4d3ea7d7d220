// Two pages of Inertia with its React adapter: links, a form, a redirect out of the application.
import { createInertiaApp, Link, router } from '@inertiajs/react';
import { createElement as element } from 'react';
import { createRoot } from 'react-dom/client';

const pages = {
  Home: ({ items }) => <main>
    <h1>Home</h1><p>{items.join(', ')}</p>
    <Link href="/inertia/about">About</Link>
    <button onClick={() => router.post('/inertia/save', { name: 'Ada' })}>Save</button>
    <button onClick={() => router.visit('/inertia/outside')}>Outside</button>
  </main>,
  About: () => <main><h1>About</h1><p>{location.search}</p><Link href="/inertia">Home</Link></main>,
};
createInertiaApp({
  resolve: name => pages[name],
  setup: ({ el, App, props }) => createRoot(el).render(element(App, props)),
});
