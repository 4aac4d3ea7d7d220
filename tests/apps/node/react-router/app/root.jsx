import { Link, Links, Meta, Outlet, Scripts, ScrollRestoration } from 'react-router';

export const links = () => [{ rel: 'icon', href: '/dot.png' }];

export default function Root() {
  return <html lang="en">
    <head><title>React Router</title><Meta /><Links /></head>
    <body>
      <nav><Link to="/" prefetch="intent">Home</Link> <Link to="/items" prefetch="render">Items</Link> <Link to="/notes">Notes</Link></nav>
      <main><Outlet /></main>
      <ScrollRestoration /><Scripts />
    </body>
  </html>;
}
