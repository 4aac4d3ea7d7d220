import { lazy, Suspense, useEffect, useState } from 'react';
import { useNavigate } from 'react-router';

const Late = lazy(() => import('../late.jsx'));

export default function Home() {
  const [count, setCount] = useState(0);
  const [text, setText] = useState('');
  const [hydrated, setHydrated] = useState();
  useEffect(() => setHydrated(true), []);
  const navigate = useNavigate();
  return <><h1>Home</h1><img src="/dot.png" alt="dot" />
    <p data-hydrated={hydrated}>
      <button onClick={() => setCount(count + 1)}>Count</button> <output>{count}</output>
      <button onClick={async () => setText(await (await fetch('/api/time')).text())}>Ask</button> <i>{text}</i>
      <button onClick={() => navigate('/items/2?from=router')}>Second</button>
      {count > 1 && <Suspense><Late /></Suspense>}
    </p></>;
}
