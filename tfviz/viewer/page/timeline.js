// The slider, the buttons beside it, and what they say of the present moment.

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

// From what is seen: an address may ask for a snapshot that is not there yet.
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
  const at = Math.min(state.at, last); // more records may be on their way
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

let said = null;
let saidMs = 0;

// News is for those who follow it; anybody else is told by the slider. What the page began with is no news.
function announce(records) {
  const nowMs = performance.now();
  if (said === null) [said, saidMs] = [records.length, nowMs];
  if (!state.live || records.length === said) return;
  if (nowMs - saidMs < Number(byId("news").dataset.pauseMs)) return;
  [said, saidMs] = [records.length, nowMs];
  const record = records[records.length - 1];
  const loss = record.logs.loss === undefined ? "" : `, loss ${value(record.logs.loss)}`;
  setText(byId("news"), `Snapshot ${records.length}: ${moment(record)}${loss}`);
}
