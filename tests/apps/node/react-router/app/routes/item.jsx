import { useLoaderData } from 'react-router';

export const loader = ({ params, request }) => ({ id: params.id, from: new URL(request.url).searchParams.get('from') ?? 'a link' });

export default function Item() {
  const { id, from } = useLoaderData();
  return <><h1>{`Item ${id}`}</h1><p>{`from ${from}`}</p></>;
}
