import Link from 'next/link';

export default function Items() {
  return <><h1>Items</h1><ul>{[1, 2].map(number => <li key={number}><Link href={`/items/${number}`}>{`item ${number}`}</Link></li>)}</ul></>;
}
