import Image from 'next/image';
import Counter from './counter.jsx';

export default function Home() {
  return <><h1>Home</h1><Image src="/dot.png" alt="dot" width={4} height={4} unoptimized /><Counter /></>;
}
