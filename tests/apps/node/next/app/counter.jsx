'use client';
import dynamic from 'next/dynamic';
import { useRouter } from 'next/navigation';
import { useEffect, useState } from 'react';

const Late = dynamic(() => import('./late.jsx'), { ssr: false });

export default function Counter() {
  const [count, setCount] = useState(0);
  const [text, setText] = useState('');
  const [hydrated, setHydrated] = useState();
  useEffect(() => setHydrated(true), []);
  const router = useRouter();
  return <p data-hydrated={hydrated}>
    <button onClick={() => setCount(count + 1)}>Count</button> <output>{count}</output>
    <button onClick={async () => setText(await (await fetch('/api/time')).text())}>Ask</button> <i>{text}</i>
    <button onClick={() => router.push('/items/2?from=router')}>Second</button>
    {count > 1 && <Late />}
  </p>;
}
