"""Attacks of a hostile application: each returns what it read of the account pages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from playwright.async_api import Page

from tests.kit.hostile_site import ATTACK_HELPERS, run

# Run in a document of the application. `gate` is the gate's origin, `url` one of its documents.
FROM_A_WINDOW = {
    "a blank window that is sent to the page": """
        const w = open('', 'x');
        w.location.href = gate + '/account/buy';
        return watched(w);
    """,
    "a window that is opened with the page": """
        return watched(open(gate + '/account/buy', 'x'));
    """,
    "a window with a document of the application's, sent to the page": """
        const w = open(url, 'x');
        await loot(() => { try { return w.document.getElementById('here') } catch {} });
        w.location.replace(gate + '/account/buy');
        return watched(w);
    """,
    "a window with a blob document, sent to the page": """
        const text = '<p id="here">blob</p>';
        const w = open(URL.createObjectURL(new Blob([text], { type: 'text/html' })), 'x');
        await loot(() => { try { return w.document.getElementById('here') } catch {} });
        w.location.href = gate + '/account/buy';
        return watched(w);
    """,
    "a window found again by its name": """
        open('', 'named').location.href = gate + '/account/buy';
        await pause(800);
        return watched(open('', 'named'), 800);
    """,
    "a link that keeps its opener": """
        const a = document.createElementNS('http://www.w3.org/1999/xhtml', 'a');
        a.setAttribute('href', gate + '/account/buy');
        a.setAttribute('target', 'linked');
        a.setAttribute('rel', 'opener');
        document.body.append(a);
        a.click();
        await pause(800);
        return watched(open('', 'linked'), 800);
    """,
    "a form that fills a named window": """
        open('', 'filled');
        const form = document.createElementNS('http://www.w3.org/1999/xhtml', 'form');
        form.setAttribute('action', gate + '/account/buy');
        form.setAttribute('target', 'filled');
        document.body.append(form);
        form.submit();
        await pause(800);
        return watched(open('', 'filled'), 800);
    """,
    "a posted form whose page is shown again": """
        open('', 'posted');
        history.replaceState(null, '', '/account/buy');
        const form = document.createElementNS('http://www.w3.org/1999/xhtml', 'form');
        form.setAttribute('action', gate + '/account/buy');
        form.setAttribute('method', 'post');
        form.setAttribute('target', 'posted');
        document.body.append(form);
        form.submit();
        await pause(800);
        return watched(open('', 'posted'), 800);
    """,
    "a page that was prerendered": """
        const rules = document.createElementNS('http://www.w3.org/1999/xhtml', 'script');
        rules.setAttribute('type', 'speculationrules');
        const ahead = [{ urls: [gate + '/account/buy'], eagerness: 'immediate' }];
        rules.textContent = JSON.stringify({ prerender: ahead, prefetch: ahead });
        document.head.append(rules);
        await pause(1200);
        const w = open('', 'x');
        w.location.href = gate + '/account/buy';
        return watched(w);
    """,
}


IN_A_FRAME = """
  const tries = {
    iframe: 'src', frame: 'src', embed: 'src', object: 'data', sandbox: 'src', fencedframe: 'src',
  };
  const inElement = async ([name, attribute]) => {
    const element = name === 'sandbox' ? 'iframe' : name;
    const frame = document.createElementNS('http://www.w3.org/1999/xhtml', element);
    if (name === 'sandbox') frame.setAttribute('sandbox', 'allow-scripts allow-same-origin');
    frame.setAttribute(attribute, gate + '/account/buy');
    document.body.append(frame);
    const found = await watched({
      get location() { return frame.contentWindow.location },
      get document() { return frame.contentWindow.document },
    });
    return found && name + ' ' + found;
  };
  const inSrcdoc = async srcdoc => {
    const frame = document.createElementNS('http://www.w3.org/1999/xhtml', 'iframe');
    if (srcdoc) frame.setAttribute('srcdoc', srcdoc);
    document.body.append(frame);
    await pause(200);
    frame.contentWindow.location.href = gate + '/account/buy';
    const found = await watched(frame.contentWindow);
    return found && 'srcdoc ' + found;
  };
  const all = [...Object.entries(tries).map(inElement), ...['<p>blank</p>', ''].map(inSrcdoc)];
  return (await Promise.all(all)).find(Boolean);
"""


BY_A_REQUEST = """
  const inText = text => /name="csrf" value="([^"]+)"/.exec(text)?.[1] ?? '';
  const options = [
    {}, { cache: 'force-cache' },
    { headers: { 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' } },
  ];
  for (const shown of [location.href, gate + '/account', gate + '/']) {
    try { history.replaceState(null, '', shown); } catch { /* another origin */ }
    for (const mode of ['cors', 'same-origin', 'no-cors']) {
      for (const referrer of ['', gate + '/account/buy', 'about:client']) {
        for (const extra of options) {
          try {
            const init = { mode, referrer, credentials: 'include', ...extra };
            const response = await fetch(gate + '/account/buy', init);
            const found = inText(await response.text());
            if (found) return `fetch ${mode} ${referrer} ${found}`;
          } catch { /* refused */ }
        }
      }
    }
    const found = await new Promise(done => {
      const request = new XMLHttpRequest();
      request.open('GET', gate + '/account/buy');
      request.onloadend = () => done(inText(request.responseText ?? ''));
      request.send();
    });
    if (found) return 'xhr ' + found;
  }
  const source = `fetch('${gate}/account/buy', { credentials: 'include' })
    .then(response => response.text()).then(text => postMessage(text), () => postMessage(''))`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  return inText(await new Promise(done => {
    worker.onmessage = event => done(event.data);
    setTimeout(done, 3000, '');
  }));
"""


async def loot_of(
    page: Page, gate: str, url: str, attacks: Mapping[str, str] = FROM_A_WINDOW
) -> dict[str, str]:
    """What each attack got, by its name, started from ``url`` in the profile of ``page``.

    Attacks wait most of the time, so three take place at once, each in a separate page: windows
    that no opener connects do not find each other by name.
    """
    turn = asyncio.Semaphore(3)
    found: dict[str, str] = {}

    async def attack(name: str, script: str) -> None:
        async with turn:
            start = await page.context.new_page()
            await start.goto(url)
            loot = await run(start, "const [gate, url] = args;" + script, gate, url)
            if loot:
                found[name] = loot

    async with asyncio.TaskGroup() as group:
        for name, script in attacks.items():
            group.create_task(attack(name, script))
    for other in page.context.pages:
        if other is not page:
            await other.close()
    return found


# A blank window has the policy of its opener, and stays when that goes to the page.
WATCH_THE_OPENER = """
  const [kit] = args;
  const w = open('', 'watcher');
  w.eval(kit + `
    globalThis.found = '';
    (async () => {
      for (;; await pause(15)) {
        globalThis.found ||= token(opener);
      }
    })();
  `);
  return '';
"""


async def opener_read(page: Page, leave: str) -> str:
    """A window stays while its opener goes to a page of the account: what it reads there."""
    async with page.expect_popup() as opened:
        await run(page, WATCH_THE_OPENER, ATTACK_HELPERS)
    watcher = await opened.value
    await page.evaluate(leave)
    await page.wait_for_url("**/account/buy*")
    await page.wait_for_timeout(500)
    found = str(await watcher.evaluate("globalThis.found"))
    await watcher.close()
    return found
