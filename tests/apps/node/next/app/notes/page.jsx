import { revalidatePath } from 'next/cache';
import { cookies } from 'next/headers';
import { redirect } from 'next/navigation';

export const dynamic = 'force-dynamic';

async function add(data) {
  'use server';
  const jar = await cookies();
  jar.set('notes', [jar.get('notes')?.value, data.get('note')].filter(Boolean).join(', '));
  revalidatePath('/notes');
}

async function leave() {
  'use server';
  redirect('/items/1?from=action');
}

export default async function Notes() {
  const notes = (await cookies()).get('notes')?.value ?? 'none';
  return <><h1>Notes</h1><p>{`notes: ${notes}`}</p>
    <form action={add}><input name="note" aria-label="Note" /><button>Add</button></form>
    <form action={leave}><button>Leave</button></form></>;
}
