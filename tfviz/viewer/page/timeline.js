// The slider, the buttons beside it, and the description of the current moment.

import { byId, setText } from "./elements.js";
import { play, stop } from "./player.js";
import { continuations, recordsOf, current } from "./runs.js";
import { set, state } from "./state.js";
import { clock, continued, moment, step, value } from "./words.js";

const slider = byId("slider");

export function go(number, extra = {}) {
  const last = recordsOf(state.run).length - 1;
  set({ at: Math.min(last, Math.max(0, number)), live: false, playing: false, ...extra });
}

// Relative to the visible snapshot, because an address may name one that does not exist yet.
export function goBy(count) {
  go(Math.min(state.at, recordsOf(state.run).length - 1) + count);
}

export function goLive() {
  set({ live: true, playing: false, at: Math.max(0, recordsOf(state.run).length - 1) });
}

export function toggleLive() {
  if (state.live) set({ live: false });
  else goLive();
}

export function togglePlay() {
  if (state.playing) stop();
  else play();
}

slider.addEventListener("input", () => go(Number(slider.value)));
byId("previous").addEventListener("click", () => goBy(-1));
byId("next").addEventListener("click", () => goBy(1));
byId("play").addEventListener("click", togglePlay);
byId("live").addEventListener("click", toggleLive);
byId("loop").addEventListener("click", () => set({ loop: !state.loop }));
byId("speed").addEventListener("change", (event) => set({ speed: Number(event.target.value) }));

export function drawTimeline() {
  const records = current() ? recordsOf(state.run) : [];
  byId("time").hidden = !records.length;
  document.body.classList.toggle("has-dock", records.length > 0);
  if (!records.length) return;
  const last = records.length - 1;
  if (state.live) state.at = last;
  const at = Math.min(state.at, last); // more records may still be loading
  const record = records[at];
  if (slider.max !== String(last)) slider.max = last;
  if (slider.value !== String(at)) slider.value = at;
  slider.style.setProperty("--share", last ? at / last : 0);
  const when = moment(record);
  slider.setAttribute("aria-valuetext", `snapshot ${at + 1} of ${records.length}, ${when}`);
  drawMoment(record, when, at, records.length);
  byId("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
  byId("play").classList.toggle("playing", state.playing);
  byId("live").setAttribute("aria-pressed", state.live);
  byId("loop").setAttribute("aria-pressed", state.loop);
  byId("speed").value = state.speed;
  byId("previous").disabled = at === 0;
  byId("next").disabled = at === last;
  announce(records);
}

function drawMoment(record, when, at, count) {
  setText(byId("moment-main"), when);
  const isOther = record.when === "start" && continuations(state.run).some((stop) => stop.index === at && stop.isOther);
  setText(byId("moment-more"), isOther ? `${clock(record.time)} · ${continued(true)}` : clock(record.time));
  setText(byId("position"), `${step(at + 1)} of ${step(count)}`);
}

let announced = null;
let announcedMs = 0;

// Announces new snapshots to screen readers, but only in live mode; otherwise, the slider reports the position. Snapshots
// that existed when the page opened are not announced.
function announce(records) {
  const nowMs = performance.now();
  if (announced === null) [announced, announcedMs] = [records.length, nowMs];
  if (!state.live || records.length === announced) return;
  if (nowMs - announcedMs < Number(byId("news").dataset.pauseMs)) return;
  [announced, announcedMs] = [records.length, nowMs];
  const record = records[records.length - 1];
  const loss = record.logs.loss === undefined ? "" : `, loss ${value(record.logs.loss)}`;
  setText(byId("news"), `Snapshot ${records.length}: ${moment(record)}${loss}`);
}
