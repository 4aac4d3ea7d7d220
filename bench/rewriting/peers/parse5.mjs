// parse5-html-rewriting-stream: for each line read, rewrite the file once and print the CPU seconds.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.cwd() + '/');
const { RewritingStream } = await import(pathToFileURL(require.resolve('parse5-html-rewriting-stream')));
const text = readFileSync(process.argv[2], 'utf8');
const names = new Set(['href', 'src', 'action', 'poster', 'data', 'formaction']);

function run() {
  return new Promise((resolve, reject) => {
    const stream = new RewritingStream();
    let length = 0;
    stream.on('startTag', tag => {
      for (const attribute of tag.attrs) {
        if (names.has(attribute.name) && /^\/(?!\/)/.test(attribute.value)) {
          attribute.value = '/api/v1/proxy' + attribute.value;
        }
      }
      stream.emitStartTag(tag);
    });
    stream.on('data', chunk => { length += chunk.length; });
    stream.on('end', () => resolve(length));
    stream.on('error', reject);
    for (let i = 0; i < text.length; i += 65536) stream.write(text.slice(i, i + 65536));
    stream.end();
  });
}

await run();
console.log('ready');
for await (const _ of createInterface({ input: process.stdin })) {
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  console.log((user + system) / 1e6);
}
