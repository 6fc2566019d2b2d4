// The user's choices, shared by all parts. They are kept in the address after "#", so a link restores the view.

import { redraws } from "./redraws.js";

export const state = {
  run: null, // ids
  compare: null,
  at: 0, // the index of the shown snapshot
  live: true, // follow the newest
  playing: false,
  speed: 5, // snapshots per second
  loop: false,
  size: "medium",
  methods: null, // null: all
  images: null, // null: all
  focus: null, // the enlarged image
  metrics: null, // null: the first few
};

export const { changed, onChange, set } = redraws(state, () => writeHash());

const names = (text) => (text === null ? null : text.split(",").filter(Boolean));
const numbers = (text) => (text === null ? null : names(text).map(Number).filter(Number.isInteger));
const whole = (text) => (/^\d+$/.test(text ?? "") ? Number(text) : null);

export function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const at = whole(given.get("at"));
  Object.assign(state, {
    run: given.get("run"),
    compare: given.get("compare"),
    at: at ?? 0,
    live: at === null,
    methods: names(given.get("methods")),
    images: numbers(given.get("images")),
    focus: whole(given.get("focus")),
    metrics: names(given.get("curves")),
    size: ["small", "medium", "large"].includes(given.get("size")) ? given.get("size") : state.size,
    speed: [1, 2, 5, 10, 25, 100].includes(whole(given.get("speed"))) ? whole(given.get("speed")) : state.speed,
    loop: given.get("loop") === "1",
  });
}

function hash() {
  const parts = [];
  const add = (name, text) => parts.push(`${name}=${text}`);
  if (state.run) add("run", state.run);
  if (!state.live) add("at", state.at);
  if (state.compare) add("compare", state.compare);
  if (state.methods) add("methods", state.methods.join(","));
  if (state.images) add("images", state.images.join(","));
  if (state.focus !== null) add("focus", state.focus);
  if (state.metrics) add("curves", state.metrics.map(encodeURIComponent).join(","));
  if (state.size !== "medium") add("size", state.size);
  if (state.speed !== 5) add("speed", state.speed);
  if (state.loop) add("loop", "1");
  return parts.join("&");
}

const PAUSE_MS = 300; // browsers reject frequent changes of the address
let timer = null;

function writeHash() {
  timer ??= setTimeout(() => {
    timer = null;
    const now = hash();
    if (now !== location.hash.slice(1)) history.replaceState(null, "", `#${now}`);
  }, PAUSE_MS);
}
