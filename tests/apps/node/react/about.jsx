export default function About() {
  return <><h1>About</h1><img src="/logo.svg" alt="logo" width="40" /></>;
}
