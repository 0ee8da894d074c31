// Keeps a page up to date: on news from /ws/live the page is fetched again and
// its parts are exchanged. The server renders everything; nothing here builds
// markup from data.
"use strict";
(() => {
  const body = document.body;
  const follows = body.dataset.follows;
  const lamp = document.getElementById("live");
  let shownId = Number(body.dataset.lastId) || 0;
  let timer = null;
  let busy = false;
  let again = false;
  let pause = 1000;

  const say = (state, text) => {
    lamp.hidden = false;
    lamp.className = "live " + state;
    lamp.querySelector("b").textContent = text;
  };

  const exchange = (fresh) => {
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const name = part.dataset.part;
      const old = document.querySelector(`[data-part="${name}"]`);
      if (!old || old.innerHTML === part.innerHTML) continue;
      const open = new Set([...old.querySelectorAll("details[open]")].map((one) => one.id));
      const known = new Map([...old.querySelectorAll("[data-key]")].map((one) => [one.dataset.key, one.dataset.state]));
      const scrolled = old.querySelector(".timeline")?.scrollTop;
      const next = document.importNode(part, true);
      for (const one of next.querySelectorAll("details")) one.open = open.has(one.id);
      for (const one of next.querySelectorAll("[data-key]")) {
        if (!known.has(one.dataset.key) || known.get(one.dataset.key) !== one.dataset.state) one.classList.add("fresh");
      }
      old.replaceWith(next);
      if (scrolled) next.querySelector(".timeline").scrollTop = scrolled;
    }
    document.title = fresh.title;
    dress();
  };

  // A button that is about to be pressed must not be exchanged under the hand.
  const handled = () => document.activeElement?.closest("[data-part] form, [data-part] pre");

  const refresh = async () => {
    if (handled()) { soon(); return; }
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        shownId = Number(fresh.body.dataset.lastId) || shownId;
        exchange(fresh);
      }
    } catch {
      // The connection's own end says so already; the next news tries again.
    }
    busy = false;
    if (again) { again = false; soon(); }
  };

  const soon = () => {
    if (timer) return;
    timer = setTimeout(() => { timer = null; refresh(); }, 600);
  };

  const connect = () => {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/live`);
    socket.onopen = () => { pause = 1000; say("on", "live"); };
    socket.onmessage = (event) => {
      const news = JSON.parse(event.data);
      if (news.type === "hello") {
        if (news.last_id !== shownId) soon();
      } else if (!follows || news.incident_id === follows) {
        soon();
      }
    };
    socket.onclose = () => {
      say("off", "reconnecting");
      setTimeout(connect, pause);
      pause = Math.min(pause * 2, 15000);
    };
  };

  const spoken = (ms) => {
    const seconds = Math.max(0, Math.round(ms / 1000));
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  };
  const age = () => {
    for (const one of document.querySelectorAll("[data-ago]")) {
      one.textContent = `${spoken(Date.now() - Number(one.dataset.ago))} ago`;
    }
  };

  const dress = () => {
    age();
    for (const box of document.querySelectorAll(".command")) {
      if (box.querySelector("button")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.onclick = async () => {
        try {
          await navigator.clipboard.writeText(box.querySelector("code").textContent);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Select it";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      };
      box.append(button);
    }
  };

  const filters = document.querySelector(".filters:not(.search)");
  if (filters) filters.onchange = () => filters.requestSubmit();
  dress();
  setInterval(age, 10000);
  const every = Number(body.dataset.every);
  if (every) setInterval(() => { if (!document.hidden) soon(); }, every);
  // A page without parts, such as that of an error, has nothing to follow.
  if (document.querySelector("[data-part]")) connect();
})();
