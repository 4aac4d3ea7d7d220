import { h } from 'vue';

export default { render: () => [h('h1', 'About'), h('img', { src: '/logo.svg', alt: 'logo', width: 40 })] };
