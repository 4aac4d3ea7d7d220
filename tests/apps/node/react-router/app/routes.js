import { index, route } from '@react-router/dev/routes';

export default [
  index('routes/home.jsx'),
  route('items', 'routes/items.jsx'),
  route('items/:id', 'routes/item.jsx'),
  route('notes', 'routes/notes.jsx'),
  route('api/time', 'routes/time.js'),
];
