// Playback: a snapshot is shown once its pictures are loaded, and the following ones are preloaded.

import { addressesAt } from "./cards.js";
import { current, recordsOf } from "./runs.js";
import { set, state } from "./state.js";

const MOST_FRAMES = 25; // per second; faster playback skips snapshots
const AHEAD = 4;
const MOST_PICTURES_AHEAD = 96;
const PATIENCE_MS = 1500; // wait at most this long for pictures
const KEPT = 400;

const loaded = new Map(); // address -> promise; the oldest are dropped first

function load(address) {
  if (!loaded.has(address)) {
    const image = new Image();
    image.src = address;
    const done = image.decode().catch(() => {});
    loaded.set(address, done.then(() => image));
    if (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
  }
  return loaded.get(address);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function play() {
  if (state.playing) return;
  const last = recordsOf(state.run).length - 1;
  if (last < 1) return;
  set({ playing: true, live: false, at: state.at >= last ? 0 : state.at });
  run();
}

export function stop() {
  set({ playing: false });
}

let turn = 0; // if two loops were started, the older one ends

async function run() {
  const mine = ++turn;
  let due = performance.now();
  while (state.playing && mine === turn) {
    const stride = Math.max(1, Math.round(state.speed / MOST_FRAMES));
    due = Math.max(due + (1000 * stride) / state.speed, performance.now() - 50);
    const next = numberAfter(state.at, stride);
    if (next === null) return set({ playing: false });
    await Promise.race([picturesLoaded(next, stride), pause(PATIENCE_MS)]);
    await pause(Math.max(0, due - performance.now()));
    if (state.playing && mine === turn) set({ at: next });
  }
}

function numberAfter(at, stride) {
  const last = recordsOf(state.run).length - 1;
  if (at < last) return Math.min(at + stride, last);
  return state.loop ? 0 : null;
}

function picturesLoaded(next, stride) {
  const whole = current();
  const records = recordsOf(state.run);
  if (!whole || !records[next]) return Promise.resolve();
  const first = addressesAt(whole, records[next]).map(load);
  for (let ahead = 1, number = next; ahead <= AHEAD && ahead * first.length <= MOST_PICTURES_AHEAD; ahead++) {
    number = numberAfter(number, stride);
    if (number === null) break;
    addressesAt(whole, records[number]).forEach(load);
  }
  return Promise.all(first);
}
