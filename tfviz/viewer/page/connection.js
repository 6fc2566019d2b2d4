// The server's event stream. It is reopened when it breaks, and closed while the page is hidden.

import { changed } from "./state.js";
import { onNews, loadRuns, runs } from "./runs.js";

const RECONNECT_MS = 1500;
const TEXTS = { connecting: "Connecting", open: "Live", lost: "Reconnecting" };

let source = null;
let timer = null;

export function connect() {
  clearTimeout(timer);
  source?.close();
  source = new EventSource("api/events");
  let loaded = null;
  source.onopen = async () => {
    loaded = loadRuns().catch(() => {});
    await loaded;
    show("open");
  };
  source.onmessage = async (event) => {
    const news = JSON.parse(event.data);
    await loaded;
    if (news.new || !runs.has(news.run)) await loadRuns().catch(() => {});
    onNews(news.run, news.last);
  };
  source.onerror = () => {
    show("lost");
    source.close();
    timer = setTimeout(connect, RECONNECT_MS);
  };
}

// A browser opens at most six connections to a server; background pages must not occupy them all.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    source?.close();
  } else {
    connect();
  }
});

function show(name) {
  const element = document.getElementById("connection");
  if (element.dataset.state === name) return;
  element.dataset.state = name;
  document.getElementById("connection-text").textContent = TEXTS[name];
  changed();
}
