// The user's choices, shared by all parts. They are kept in the address after "#", so a link restores the view.

import { redraws } from "./redraws.js";

const plain = () => ({ method: "grad_cam", layer: "", target: null, against: null });

export const state = {
  image: null, // an id
  alpha: 50, // percent
  gray: false,
  compare: false,
  active: "a", // the map that clicks change
  a: plain(),
  b: plain(),
};

export const sides = () => (state.compare ? ["a", "b"] : ["a"]);
export const active = () => state[state.active];

export const { changed, onChange, set } = redraws(state, () => writeHash());

// Changes the active map.
export function choose(changes) {
  Object.assign(active(), changes);
  changed();
}

export function toggleCompare() {
  if (!state.compare) state.b = { ...state.a };
  set({ compare: !state.compare, active: state.compare ? "a" : "b" });
}

const whole = (text) => (/^\d{1,9}$/.test(text ?? "") ? Number(text) : null);
const percent = (text) => Math.min(100, whole(text) ?? 50);

function settingFrom(given, end) {
  const against = given.get(`against${end}`);
  return {
    method: given.get(`method${end}`) || "grad_cam",
    layer: given.get(`layer${end}`) ?? "",
    target: whole(given.get(`target${end}`)),
    against: against === "rivals" ? against : whole(against),
  };
}

export function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const compare = given.has("method2");
  Object.assign(state, {
    image: given.get("image"),
    alpha: percent(given.get("alpha")),
    gray: given.get("gray") === "1",
    compare,
    active: compare && given.get("on") === "2" ? "b" : "a",
    a: settingFrom(given, ""),
    b: settingFrom(given, "2"),
  });
}

function addSetting(parts, setting, end) {
  parts.set(`method${end}`, setting.method);
  if (setting.layer) parts.set(`layer${end}`, setting.layer);
  if (setting.target !== null) parts.set(`target${end}`, setting.target);
  if (setting.against !== null) parts.set(`against${end}`, setting.against);
}

function hash() {
  const parts = new URLSearchParams();
  if (state.image) parts.set("image", state.image);
  addSetting(parts, state.a, "");
  if (state.compare) addSetting(parts, state.b, "2");
  if (state.compare && state.active === "b") parts.set("on", "2");
  if (state.alpha !== 50) parts.set("alpha", state.alpha);
  if (state.gray) parts.set("gray", "1");
  return parts.toString();
}

export const link = () => `${location.origin}${location.pathname}#${hash()}`;

const PAUSE_MS = 200; // browsers reject frequent changes of the address
let timer = null;

function writeHash() {
  timer ??= setTimeout(() => {
    timer = null;
    if (hash() !== location.hash.slice(1)) history.replaceState(null, "", `#${hash()}`);
  }, PAUSE_MS);
}
