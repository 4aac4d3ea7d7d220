export default async function Item({ params, searchParams }) {
  const { from = 'a link' } = await searchParams;
  return <><h1>{`Item ${(await params).id}`}</h1><p>{`from ${from}`}</p></>;
}
