import Link from 'next/link';
import './style.css';

export const metadata = { title: 'Next', icons: { icon: '/dot.png' } };

export default function Layout({ children }) {
  return <html lang="en"><body>
    <nav><Link href="/">Home</Link> <Link href="/items">Items</Link> <Link href="/notes">Notes</Link></nav>
    <main>{children}</main>
  </body></html>;
}
