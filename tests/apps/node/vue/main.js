// A Vue Router application with its default base.
import { createApp, h, onMounted, ref } from 'vue';
import { createRouter, createWebHistory, RouterLink, RouterView, useRoute, useRouter } from 'vue-router';

const Home = { render: () => h('h1', 'Home') };
const Items = {
  setup() {
    const items = ref([]);
    onMounted(async () => { items.value = await (await fetch('/api/items.json')).json(); });
    return () => [h('h1', 'Items'), h('ul', items.value.map(item =>
      h('li', { key: item.id }, h(RouterLink, { to: `/items/${item.id}` }, () => item.name))))];
  },
};
const Item = {
  setup() {
    const route = useRoute();
    const router = useRouter();
    return () => [h('h1', `Item ${route.params.id}`), h('p', `at ${location.pathname}`),
      h('button', { onClick: () => router.push('/items') }, 'All items')];
  },
};
const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/', component: Home },
    { path: '/items', component: Items },
    { path: '/items/:id', component: Item },
    { path: '/about', component: () => import('./about.js') },
    { path: '/:rest(.*)*', component: { render: () => h('h1', 'No such route') } },
  ],
});
createApp({
  render: () => h('main', [
    h('nav', [h(RouterLink, { to: '/' }, () => 'Home'), ' ', h(RouterLink, { to: '/items' }, () => 'Items'), ' ',
      h(RouterLink, { to: '/about' }, () => 'About')]),
    h(RouterView),
  ]),
}).use(router).mount('#root');
