
"use strict";
// Everything works without this: it refreshes what is shown, counts the time, and copies addresses.
(() => {
  const main = document.querySelector("main");
  const { watch, poll, status } = main.dataset;
  const isPortal = watch === "*";
  const here = () => location.href.split("#")[0];
  const again = () => location.replace(here());
  const arrived = Date.now();

  const words = (seconds) => {
    const minutes = Math.floor(seconds / 60);
    if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
    return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
  };
  const count = () => {
    for (const one of document.querySelectorAll("[data-waited]")) {
      const waited = Number(one.dataset.waited) + Math.floor((Date.now() - arrived) / 1000);
      if (one.tagName === "PROGRESS") one.value = Math.min(waited, one.max);
      else one.textContent = words(waited);
    }
  };
  if (document.querySelector("[data-waited]")) setInterval(count, 1000);

  const say = (text) => {
    const said = document.getElementById("said");
    if (said) said.textContent = text;
  };

  // The portal takes over what changed, card by card, so that focus and open menus stay.
  const patch = (fresh) => {
    const old = document.getElementById("instances");
    const now = fresh.getElementById("instances");
    if (!old || !now || old.children.length !== now.children.length) return again();
    [...now.children].forEach((card, at) => {
      const before = old.children[at];
      if (before.dataset.version === card.dataset.version) return;
      const focus = before.contains(document.activeElement) ? document.activeElement.dataset.key : "";
      const open = [...before.querySelectorAll("details[open]")].map((one) => one.dataset.key);
      before.replaceWith(card);
      ready(card);
      for (const one of card.querySelectorAll("details")) one.open = open.includes(one.dataset.key);
      if (focus) (card.querySelector(`[data-key="${focus}"]`) || card.querySelector("a, button")).focus();
      if (before.dataset.status !== card.dataset.status) say(`${card.dataset.name}: ${card.dataset.status}`);
    });
  };
  let asking = false;
  let missed = false;
  const refresh = async () => {
    if (asking) { missed = true; return; }
    asking = true;
    try {
      const answer = await fetch(here(), { headers: { Accept: "text/html" } });
      if (!answer.ok) return again();
      patch(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* the gateway is away for a moment: the next event or turn tries again */ } finally {
      asking = false;
      if (missed) { missed = false; refresh(); }
    }
  };
  const look = async () => {
    try {
      const answer = await fetch(here(), { headers: { Accept: "application/json" }, redirect: "manual" });
      if (String(answer.status) !== status) again();
      answer.body?.cancel();
    } catch { /* as above */ }
  };

  let events = null;
  const listen = () => {
    if (!watch || events || document.hidden) return;
    events = new EventSource("/.nbgate/events");
    events.addEventListener("status", (event) => {
      const change = JSON.parse(event.data);
      if (isPortal) {
        const card = document.querySelector(`#instances > [data-name="${CSS.escape(change.name)}"]`);
        if (card?.dataset.state !== change.status) refresh();
      } else if (change.name === watch && change.status !== main.dataset.instanceStatus) again();
    });
  };
  // A tab that nobody looks at holds no connection.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) { listen(); turn(); } else if (events) { events.close(); events = null; }
  });
  const turn = () => {
    if (document.hidden) return;
    if (isPortal) refresh();
    else if (poll) look();
  };
  listen();
  if (isPortal || poll) setInterval(turn, 1000 * Number(poll || 30));

  // On an instance's own address, starting it need not lead away from there.
  if (watch && !isPortal) {
    for (const form of document.querySelectorAll("form")) {
      form.addEventListener("submit", async (event) => {
        event.preventDefault();
        form.querySelector("button").disabled = true;
        try {
          await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual" });
        } finally { again(); }
      });
    }
  }

  const ready = (within) => {
    for (const instant of within.querySelectorAll("time[datetime]")) {
      const clock = { hour: "2-digit", minute: "2-digit", weekday: "short" };
      instant.textContent = new Date(instant.dateTime).toLocaleTimeString([], clock);
    }
    for (const button of within.querySelectorAll("button[data-copy][hidden]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const address = button.dataset.copy;
        try { await navigator.clipboard.writeText(address); } catch {
          // Not in a secure context (plain HTTP).
          const field = document.createElement("textarea");
          field.value = address;
          field.setAttribute("readonly", "");
          button.after(field);
          field.select();
          document.execCommand("copy");
          field.remove();
          button.focus();
        }
        say(`Address copied: ${address}`);
        button.firstChild.textContent = "Copied";
        setTimeout(() => { button.firstChild.textContent = "Copy address"; }, 2000);
      });
    }
  };
  ready(document);

  const shut = (menu, { back }) => {
    menu.open = false;
    if (back) menu.querySelector("summary").focus();
  };
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.activeElement?.closest("details[open]");
    if (menu) shut(menu, { back: true });
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[open]")) {
      if (!menu.contains(event.target)) shut(menu, { back: false });
    }
  });
})();
