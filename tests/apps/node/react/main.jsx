// A React Router application with its default base: routes are found by location.pathname.
import { lazy, Suspense, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { createBrowserRouter, Link, NavLink, Outlet, RouterProvider, useNavigate, useParams } from 'react-router-dom';

const About = lazy(() => import('./about.jsx'));

function Layout() {
  return (
    <main>
      <nav><NavLink to="/">Home</NavLink> <NavLink to="/items">Items</NavLink> <NavLink to="/about">About</NavLink></nav>
      <Suspense fallback="loading"><Outlet /></Suspense>
    </main>
  );
}
function Items() {
  const [items, setItems] = useState([]);
  useEffect(() => { fetch('/api/items.json').then(a => a.json()).then(setItems); }, []);
  return <><h1>Items</h1><ul>{items.map(item => <li key={item.id}><Link to={`/items/${item.id}`}>{item.name}</Link></li>)}</ul></>;
}
function Item() {
  const { id } = useParams();
  const go = useNavigate();
  return <><h1>Item {id}</h1><p>at {location.pathname}</p><button onClick={() => go('/items')}>All items</button></>;
}
const router = createBrowserRouter([{
  path: '/', element: <Layout />, errorElement: <h1>No such route</h1>,
  children: [
    { index: true, element: <h1>Home</h1> },
    { path: 'items', element: <Items /> },
    { path: 'items/:id', element: <Item /> },
    { path: 'about', element: <About /> },
  ],
}]);
createRoot(document.getElementById('root')).render(<RouterProvider router={router} />);
