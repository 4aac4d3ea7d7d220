import { createCookie, data, Form, redirect, useLoaderData } from 'react-router';

const notes = createCookie('notes');

export async function loader({ request }) {
  return await notes.parse(request.headers.get('Cookie')) ?? 'none';
}

export async function action({ request }) {
  const form = await request.formData();
  if (form.has('leave')) return redirect('/items/1?from=action');
  const known = await notes.parse(request.headers.get('Cookie'));
  const added = [known, form.get('note')].filter(Boolean).join(', ');
  return data(null, { headers: { 'Set-Cookie': await notes.serialize(added) } });
}

export default function Notes() {
  return <><h1>Notes</h1><p>{`notes: ${useLoaderData()}`}</p>
    <Form method="post"><input name="note" aria-label="Note" /><button>Add</button></Form>
    <Form method="post"><button name="leave" value="yes">Leave</button></Form></>;
}
