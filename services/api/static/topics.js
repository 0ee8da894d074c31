// Keeps the topic page up to date: parts of it are fetched again every few
// seconds, and Follow shows messages as they come. The server renders
// everything; nothing here builds markup from data.
"use strict";
(() => {
  const EVERY = 3000;
  // Rows on the page; older ones go, or a busy topic would fill the memory.
  const ROWS = 300;
  const refreshFrom = document.body.dataset.refresh;
  const lamp = document.getElementById("live");

  const say = (state, text) => {
    lamp.hidden = false;
    lamp.className = "live " + state;
    lamp.querySelector("b").textContent = text;
  };

  const parse = (html) => new DOMParser().parseFromString(html, "text/html");

  const exchange = (fresh) => {
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = document.querySelector(`[data-part="${part.dataset.part}"]`);
      if (!old || old.innerHTML === part.innerHTML && old.className === part.className) continue;
      const open = new Set([...old.querySelectorAll("details[open]")].map((one) => one.id));
      const focus = old.contains(document.activeElement) ? document.activeElement.closest("[id]")?.id : null;
      const next = document.importNode(part, true);
      for (const one of next.querySelectorAll("details")) one.open = open.has(one.id);
      old.replaceWith(next);
      if (focus) (document.getElementById(focus)?.querySelector("summary") ?? document.getElementById(focus))?.focus();
    }
  };

  const refresh = async () => {
    try {
      const answer = await fetch(refreshFrom, { headers: { accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(30000) });
      const fresh = parse(await answer.text());
      exchange(fresh);
      if (answer.ok) say("on", "live"); else say("off", answer.status === 503 ? "no broker" : `error ${answer.status}`);
    } catch {
      say("off", "reconnecting");
    }
  };

  const again = async () => {
    // A page in the background asks for nothing.
    if (!document.hidden) await refresh();
    setTimeout(again, EVERY);
  };

  const button = document.getElementById("follow");
  const list = document.getElementById("messages");
  const nothing = document.getElementById("nothing");
  let socket = null;
  let wanted = false;
  let pause = 1000;
  let arrived = 0;
  let lost = false;

  const label = (text, trouble) => {
    button.setAttribute("aria-pressed", String(wanted));
    button.classList.toggle("trouble", Boolean(trouble));
    button.querySelector("span").textContent = text;
  };

  const note = (text) => {
    const item = document.createElement("li");
    item.className = "gap";
    item.textContent = text;
    list.prepend(item);
  };

  const hear = (event) => {
    const news = JSON.parse(event.data);
    if (news.type === "hello") {
      if (lost) note("The connection was lost here; messages may be missing.");
      lost = false;
      pause = 1000;
      label(`Following, ${arrived} new`);
      return;
    }
    for (const item of [...parse(news.html).body.children]) {
      const known = item.id && document.getElementById(item.id);
      if (known) continue;
      const next = document.importNode(item, true);
      next.classList.add("fresh");
      list.prepend(next);
    }
    arrived += news.places.length;
    while (list.children.length > ROWS) list.lastElementChild.remove();
    nothing.hidden = true;
    label(`Following, ${arrived} new`);
  };

  const connect = () => {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const mine = new WebSocket(`${scheme}//${location.host}${button.dataset.socket}`);
    socket = mine;
    mine.onmessage = hear;
    mine.onclose = (event) => {
      if (socket !== mine || !wanted) return;
      lost = true;
      label(event.reason ? `Waiting: ${event.reason}` : "Reconnecting", true);
      setTimeout(() => { if (wanted && socket === mine) connect(); }, pause);
      pause = Math.min(pause * 2, 15000);
    };
  };

  if (button) {
    button.onclick = () => {
      wanted = !wanted;
      if (wanted) {
        arrived = 0;
        lost = false;
        label("Connecting");
        connect();
      } else {
        socket?.close();
        socket = null;
        label("Follow live");
      }
    };
  }
  const filter = document.querySelector(".filters select");
  if (filter) filter.onchange = () => filter.form.requestSubmit();
  if (refreshFrom) {
    say("on", "live");
    setTimeout(again, EVERY);
  }
})();
