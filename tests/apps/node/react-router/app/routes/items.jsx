import { Link, useLoaderData } from 'react-router';

export const loader = () => [1, 2];

export default function Items() {
  return <><h1>Items</h1><ul>{useLoaderData().map(number => <li key={number}><Link to={`/items/${number}`}>{`item ${number}`}</Link></li>)}</ul></>;
}
