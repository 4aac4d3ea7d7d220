// A small chart of the coming month, drawn with SVG.
export function draw(start, heightOn) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 300 80');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', 'High water over the coming month');
  for (let day = 0; day < 30; day++) {
    const height = heightOn(new Date(+start + day * 86400000)) * 20;
    const bar = document.createElementNS(svg.namespaceURI, 'rect');
    bar.setAttribute('x', day * 10 + 1);
    bar.setAttribute('y', 80 - height);
    bar.setAttribute('width', 8);
    bar.setAttribute('height', height);
    bar.setAttribute('rx', 2);
    bar.setAttribute('fill', day ? 'var(--sea)' : 'var(--lamp)');
    svg.append(bar);
  }
  return svg;
}
