// The stream of news from the server: opened again when it breaks, closed while nobody looks at the page.

import { changed } from "./state.js";
import { heard, loadRuns, runs } from "./runs.js";

const AGAIN_MS = 1500;
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
    heard(news.run, news.last);
  };
  source.onerror = () => {
    show("lost");
    source.close();
    timer = setTimeout(connect, AGAIN_MS);
  };
}

// A browser opens six connections to a server at most; pages in the background must not hold them all.
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
