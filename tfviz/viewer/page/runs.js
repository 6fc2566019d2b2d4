// The runs and their records, kept in sync with the server.

import { changed, state } from "./state.js";

export const runs = new Map(); // id -> the content of run.json, with "snapshots" and "last_time"
const SHOWN_EVERY = 4; // responses, while a long run is loading

const records = new Map(); // id -> the records of a shown run
const fetching = new Map(); // id -> the promise of a fetch in progress
const wanted = new Map(); // id -> the newest number that the server announced

export function recordsOf(id) {
  return records.get(id) ?? [];
}

// Returns the indices of the records at which training continued after a stop, and whether the weights differed from those
// of the previous snapshot. A difference can only be detected if no step lies in between. The predictions are compared or,
// without predictions, the maps.
export function continuations(id) {
  const all = recordsOf(id);
  const starts = all.map((_, index) => index).filter((index) => index > 0 && all[index].when === "start");
  return starts.map((index) => ({ index, isOther: areOther(all[index - 1], all[index]) }));
}

const SAME = 1e-3; // relative difference of scores

function areOther(before, after) {
  if (before.step !== after.step) return false;
  if (after.has_new_weights !== undefined) return after.has_new_weights;
  if (String(before.images) !== String(after.images)) return true; // different weights make different mistakes
  return after.predictions.some((now, image) => {
    const old = before.predictions[image];
    return now && old && (now.class !== old.class || Math.abs(now.score - old.score) > SAME * Math.max(1, Math.abs(old.score)));
  });
}

export const current = () => runs.get(state.run) ?? null;
export const compared = () => (state.compare === state.run ? null : runs.get(state.compare) ?? null);

const OWN_IMAGES = "_images"; // as in tfviz/runs/layout.py

// A record has its own images if the run reselects them.
export function imageAddress(run, image, record = null) {
  return record?.images ? pictureAddress(run, record.number, OWN_IMAGES, image) : `api/runs/${run.id}/images/${image}.png`;
}

export function pictureAddress(run, number, method, image) {
  return `api/runs/${run.id}/pictures/${number}/${method}/${image}.png`;
}

async function getJson(address) {
  const answer = await fetch(address);
  if (answer.status === 401) location.reload(); // the token has changed: show the sign-in page
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

export async function loadRuns() {
  const found = await getJson("api/runs");
  const ids = new Set(found.map((run) => run.id));
  for (const id of [...runs.keys()]) if (!ids.has(id)) forget(id);
  const before = new Map(runs);
  runs.clear(); // to keep the server's order, newest first
  for (const run of found) {
    const old = before.get(run.id);
    if (old && JSON.stringify(old.images) !== JSON.stringify(run.images)) records.delete(run.id);
    runs.set(run.id, run);
  }
  changed();
}

function forget(id) {
  runs.delete(id);
  records.delete(id);
  wanted.delete(id);
}

// Handles news from the server: the run has snapshots up to number `last`. Damaged ones are missing from the records.
export function onNews(id, last) {
  wanted.set(id, last);
  const run = runs.get(id);
  if (run) run.snapshots = last + 1;
  if (id === state.run || id === state.compare) load(id);
  changed();
}

// Fetches the missing records of a run, with one fetch at a time.
export function load(id) {
  if (!runs.has(id)) return Promise.resolve();
  if (!fetching.has(id)) {
    const done = catchUp(id).catch(() => {}).finally(() => fetching.delete(id));
    fetching.set(id, done);
  }
  return fetching.get(id);
}

const lastOf = (found) => (found.length ? found[found.length - 1].number : -1);

async function catchUp(id) {
  for (let round = 1; ; round++) {
    let have = records.get(id) ?? [];
    if (wanted.get(id) < lastOf(have)) have = []; // the run has started over
    const found = wanted.get(id) === lastOf(have) ? [] : await getJson(`api/runs/${id}/snapshots?after=${lastOf(have)}`);
    const run = runs.get(id);
    if (!run) return;
    have.push(...found);
    if (found.length) run.last_time = found[found.length - 1].time;
    run.snapshots = have.length;
    const isDone = !found.length || lastOf(have) >= wanted.get(id);
    records.set(id, have);
    if (isDone || round % SHOWN_EVERY === 0) changed();
    if (isDone) return;
  }
}
