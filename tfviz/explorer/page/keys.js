// Keyboard shortcuts. They don't apply to keys that the focused element handles itself.

import { openRank, stepLayer, stepMethod, swap } from "./choices.js";
import { byId } from "./elements.js";
import { copyPython } from "./exports.js";
import { stepImage } from "./images.js";
import { set, state, toggleCompare } from "./settings.js";

const STEP = 5; // percent
const moveAlpha = (by) => set({ alpha: Math.min(100, Math.max(0, state.alpha + by)) });

const KEYS = {
  m: (event) => stepMethod(event.shiftKey ? -1 : 1),
  ",": () => stepLayer(-1),
  ".": () => stepLayer(1),
  "[": () => stepImage(-1),
  "]": () => stepImage(1),
  c: toggleCompare,
  x: swap,
  g: () => set({ gray: !state.gray }),
  "+": () => moveAlpha(STEP),
  "=": () => moveAlpha(STEP),
  "-": () => moveAlpha(-STEP),
  p: copyPython,
  "?": () => byId("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog, select, input[type=password]")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = /^\d$/.test(key) ? () => openRank((Number(key) + 9) % 10) : KEYS[key];
  if (!action || (!state.image && key !== "?")) return;
  event.preventDefault();
  action(event);
});

byId("help-open").addEventListener("click", () => byId("help").showModal());
