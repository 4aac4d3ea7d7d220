export default function Late() {
  return <b>loaded later</b>;
}
