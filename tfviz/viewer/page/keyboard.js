// Keyboard shortcuts. They don't apply to keys that the focused element handles itself.

import { focusOn, toggleMethod } from "./choices.js";
import { byId } from "./elements.js";
import { current, recordsOf } from "./runs.js";
import { set, state } from "./state.js";
import { go, goBy, goLive, toggleLive, togglePlay } from "./timeline.js";

const TEN = 10;

function cycleMethods() {
  const all = current().methods.map((method) => method.name);
  const next = state.methods?.length === 1 ? all.indexOf(state.methods[0]) + 1 : 0;
  set({ methods: next < all.length && all.length > 1 ? [all[next]] : null });
}

function back() {
  const menu = document.querySelector("details[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  } else {
    set({ focus: null });
  }
}

const page = () => Math.max(TEN, Math.round(recordsOf(state.run).length / TEN));

const KEYS = {
  ArrowLeft: (event) => goBy(-(event.shiftKey ? TEN : 1)),
  ArrowRight: (event) => goBy(event.shiftKey ? TEN : 1),
  PageUp: () => goBy(-page()),
  PageDown: () => goBy(page()),
  Home: () => go(0),
  End: goLive,
  " ": togglePlay,
  l: toggleLive,
  m: cycleMethods,
  "[": () => focusOn(-1),
  "]": () => focusOn(1),
  "?": () => byId("help").showModal(),
  Escape: back,
};

// Returns whether the focused element handles the key itself.
function isHandledByFocus(event) {
  const element = event.target;
  if (element.closest("dialog, select, input[type=password]")) return true;
  if (event.key === " ") return Boolean(element.closest("button, input:not([type=range]), summary, a"));
  const isArrow = event.key.startsWith("Arrow") || event.key.startsWith("Page");
  if (isArrow && element.closest("input[type=radio]")) return true;
  return event.key.startsWith("Page") && element !== byId("slider"); // the page scrolls
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isHandledByFocus(event)) return;
  if (!current() || !recordsOf(state.run).length) return;
  const method = /^[1-9]$/.test(event.key) ? current().methods[Number(event.key) - 1] : null;
  const action = method ? () => toggleMethod(method.name) : KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action(event);
});

byId("help-open").addEventListener("click", () => byId("help").showModal());
