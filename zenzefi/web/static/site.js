// Improvements only: every page is complete without this file.
"use strict";

// Removes the ticket of the isolation redirect from the address bar (zenzefi/web/isolation.py).
const here = new URL(location.href);
if (here.searchParams.has("isolated")) {
  here.searchParams.delete("isolated");
  history.replaceState(history.state, "", here);
}

// Copy buttons: <button data-copy="id of the text">, hidden until this runs.
for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  if (!navigator.clipboard || !source) continue;
  button.hidden = false;
  const label = button.querySelector("[data-label]");
  const usual = label.textContent;
  let timer = 0;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      label.textContent = button.dataset.done;
      button.dataset.state = "done";
    } catch {
      getSelection().selectAllChildren(source);
      label.textContent = button.dataset.failed;
    }
    clearTimeout(timer);
    timer = setTimeout(() => {
      label.textContent = usual;
      delete button.dataset.state;
    }, 2500);
  });
}

// Countdowns: <strong data-ends="ISO time" data-units="d|h|min|s">, the server's text until then.
const clocks = [...document.querySelectorAll("[data-ends]")].map((element) => ({
  element,
  ends: Date.parse(element.dataset.ends),
  units: element.dataset.units.split("|"),
  bar: element.closest(".left")?.querySelector("progress"),
}));
// Countdowns use the server's clock: the offset to the browser's clock is measured once, at load.
const served = Date.parse(document.documentElement.dataset.now ?? "");
const offset = Number.isNaN(served) ? 0 : served - Date.now();

function spell(seconds, units) {
  const parts = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  let first = parts.findIndex((part) => part > 0);
  if (first < 0) first = 3;
  return parts.slice(first, first + 2)
    .map((part, index) => `${part}\u00a0${units[first + index]}`).join("\u00a0");
}

function tick() {
  const now = Date.now() + offset;
  for (const clock of clocks) {
    const left = Math.max(0, Math.ceil((clock.ends - now) / 1000));
    clock.element.textContent = spell(left, clock.units);
    if (clock.bar) clock.bar.value = left;
    if (left === 0 && !clock.over) {
      clock.over = true;
      // Do not reload while the user is typing.
      setTimeout(() => {
        if (!document.activeElement?.matches("input, select")) location.reload();
      }, 1500);
    }
  }
}
if (clocks.length) {
  tick();
  setInterval(tick, 1000);
}

// Times: the cookie gives the server the time zone for the next page; this page is corrected here.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && document.documentElement.dataset.zone !== zone) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `zenzefi_zone=${zone}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  // In the format of the server: 23 Nov 2026, 14:05.
  const language = document.documentElement.lang;
  const format = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };
  const locale = language === "en" ? "en-GB" : language;
  const formats = {
    minutes: new Intl.DateTimeFormat(locale, format),
    seconds: new Intl.DateTimeFormat(locale, { ...format, second: "2-digit" }),
  };
  for (const time of document.querySelectorAll("time[data-local]")) {
    time.textContent = formats[time.dataset.local].format(new Date(time.dateTime)).replace("\u00a0г.", "").replace(" г.", "");
  }
}

// Confirmation of actions that can't be undone: <button data-ask="title" data-ask-text data-ask-yes>.
// Without this script the server shows a confirmation page; the field "sure" skips that page.
const template = document.getElementById("ask");
if (template && "HTMLDialogElement" in window) {
  for (const form of document.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", (event) => {
      const button = event.submitter;
      if (!button?.dataset.ask || form.elements.sure) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      const dialog = template.content.cloneNode(true).firstElementChild;
      dialog.querySelector("h2").textContent = button.dataset.ask;
      dialog.querySelector("p").textContent = button.dataset.askText;
      const [yes, no] = dialog.querySelectorAll("button");
      yes.textContent = button.dataset.askYes;
      yes.addEventListener("click", () => {
        const sure = Object.assign(document.createElement("input"), { type: "hidden", name: "sure", value: "yes" });
        form.append(sure);
        dialog.close();
        form.requestSubmit(button);
      });
      no.addEventListener("click", () => dialog.close());
      dialog.addEventListener("close", () => { dialog.remove(); button.focus(); });
      document.body.append(dialog);
      dialog.showModal();
    });
  }
}

// A form is sent once: a second click while the first request is running does nothing.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) delete form.dataset.sent;
});

// Filters apply when an option is selected; the button stays for keyboard users.
for (const select of document.querySelectorAll("form[method=get] select[data-auto]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

for (const button of document.querySelectorAll("button[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
