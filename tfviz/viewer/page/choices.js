// The controls for run, methods, images, size and curves.

import { chosenMethods, chosenImages, isFocused } from "./cards.js";
import { chosenGroups, metricGroups, MOST_STRIPS } from "./curves.js";
import { byId, make, onceFor, setText } from "./elements.js";
import { current, imageAddress, load, recordsOf, runs } from "./runs.js";
import { set, state } from "./state.js";
import { ago, count, day, isLight, meaning, nameOf, noun } from "./words.js";

const named = (run) => {
  const hasTwin = [...runs.values()].filter((other) => other.name === run.name).length > 1;
  return hasTwin ? `${run.name} (${day(run.started)})` : run.name;
};

export function openRun(id) {
  const at = { at: 0, live: true, playing: false, focus: null };
  set({ ...at, run: id, compare: state.compare === id ? null : state.compare, methods: null, images: null });
  load(id);
}

byId("run").addEventListener("change", (event) => openRun(event.target.value));
byId("compare").addEventListener("change", (event) => {
  set({ compare: event.target.value || null });
  if (state.compare) load(state.compare);
});

const fillRuns = onceFor(() => {
  const options = [...runs.values()].map((run) => make("option", { value: run.id }, named(run)));
  byId("run").replaceChildren(...options);
});

const fillCompare = onceFor(() => {
  const others = [...runs.values()].filter((run) => run.id !== state.run);
  const options = others.map((run) => make("option", { value: run.id }, named(run)));
  byId("compare").replaceChildren(make("option", { value: "" }, "None"), ...options);
  byId("compare-field").hidden = !others.length;
});

function drawRuns() {
  const key = [...runs.values()].map((run) => [run.id, run.name, run.started]);
  fillRuns(key);
  fillCompare([key, state.run]);
  byId("run").value = state.run ?? "";
  byId("compare").value = state.compare ?? "";
  byId("run").closest(".field").hidden = !runs.size;
}

export function drawAbout() {
  const run = current();
  setText(byId("run-name"), run ? run.name : "Training runs");
  document.title = run ? `${run.name} · tfviz` : "tfviz";
  if (!run) return setText(byId("run-about"), "");
  const parts = [run.model, count(run.images.length, noun(run)), count(run.methods.length, "method"), count(run.snapshots, "snapshot")];
  parts.push(`started ${day(run.started)}`);
  if (run.last_time) parts.push(`last snapshot ${ago(run.last_time)}`);
  return setText(byId("run-about"), parts.join(" · "));
}

export function toggleMethod(name) {
  const all = current().methods.map((method) => method.name);
  const chosen = new Set(state.methods ?? all);
  if (!chosen.delete(name)) chosen.add(name);
  const kept = all.filter((one) => chosen.has(one));
  if (kept.length) set({ methods: kept.length === all.length ? null : kept });
}

function chip(type, text, isChecked, onChange) {
  const box = make("input", { type });
  box.checked = isChecked;
  box.addEventListener("change", onChange);
  return make("label", {}, box, text);
}

const fillMethods = onceFor((run) => {
  const chips = run.methods.map((method) => {
    const title = method.name === method.key ? method.title : `${method.title} (${method.name})`;
    const label = chip("checkbox", title, true, () => toggleMethod(method.name));
    label.firstChild.value = method.name;
    return label;
  });
  byId("methods").replaceChildren(...chips);
  const styles = [...new Set(run.methods.map((method) => method.style))];
  byId("legend").replaceChildren(...styles.map((style) => make("span", {}, make("i", { class: `ramp ${style}${isLight(run) ? " light" : ""}` }), meaning(run, style))));
});

function drawMethods(run) {
  fillMethods([run.id, run.methods], run);
  const shown = new Set(chosenMethods(run).map((method) => method.name));
  for (const box of byId("methods").querySelectorAll("input")) {
    box.checked = shown.has(box.value);
    box.disabled = shown.size === 1 && box.checked; // the last method stays visible
  }
}

for (const radio of document.querySelectorAll("[name=size]")) {
  radio.addEventListener("change", () => set({ size: radio.value }));
}

function toggleImage(run, image) {
  const all = run.images.map((_, index) => index);
  const chosen = new Set(state.images ?? all);
  if (!chosen.delete(image)) chosen.add(image);
  set({ images: chosen.size === all.length ? null : all.filter((index) => chosen.has(index)) });
}
byId("images-all").addEventListener("click", () => set({ images: null }));
byId("images-none").addEventListener("click", () => set({ images: [] }));

const fillImages = onceFor((run) => {
  const labels = run.images.map((_, image) => {
    const picture = make("img", { src: imageAddress(run, image), alt: nameOf(run, image), width: 48, height: 48, loading: "lazy" });
    const box = make("input", { type: "checkbox", value: image });
    box.addEventListener("change", () => toggleImage(run, image));
    return make("label", {}, box, picture);
  });
  byId("images").replaceChildren(...labels);
});

function drawImages(run) {
  fillImages([run.id, run.images], run);
  const shown = new Set(state.images ?? run.images.map((_, index) => index));
  for (const box of byId("images").querySelectorAll("input")) box.checked = shown.has(Number(box.value));
  setText(byId("image-count"), `${shown.size} of ${run.images.length}`);
  byId("image-choice").hidden = isFocused(run) || run.images.length < 2;
}

export function focusOn(by) {
  const run = current();
  if (!run) return;
  const total = run.images.length;
  set({ focus: !isFocused(run) ? (by > 0 ? 0 : total - 1) : (state.focus + by + total) % total });
}
byId("focus-back").addEventListener("click", () => set({ focus: null }));
byId("focus-previous").addEventListener("click", () => focusOn(-1));
byId("focus-next").addEventListener("click", () => focusOn(1));

let wasFocused = null;
function drawFocus(run) {
  const isLarge = isFocused(run);
  byId("focus-bar").hidden = !isLarge;
  if (isLarge) setText(byId("focus-name"), `${nameOf(run, state.focus)} of ${run.images.length}`);
  if (!isLarge && wasFocused !== null) {
    const card = document.querySelector(`[data-image="${wasFocused}"]`);
    card?.scrollIntoView({ block: "nearest" });
    card?.querySelector("button")?.focus({ preventScroll: true });
  }
  wasFocused = isLarge ? state.focus : null;
}

const fillMetrics = onceFor((groups, shown) => {
  const toggle = (name) => {
    const now = new Set(shown);
    if (!now.delete(name)) now.add(name);
    set({ metrics: groups.filter((one) => now.has(one)) });
  };
  const boxes = groups.map((name) => chip("checkbox", name, shown.includes(name), () => toggle(name)));
  const active = [...byId("metrics").querySelectorAll("input")].indexOf(document.activeElement);
  for (const box of boxes) box.firstChild.disabled = shown.length >= MOST_STRIPS && !box.firstChild.checked;
  byId("metrics").replaceChildren(...boxes);
  if (active >= 0) boxes[active]?.firstChild.focus();
});

function drawMetrics(run) {
  const groups = metricGroups(run.id);
  const shown = chosenGroups(run.id);
  fillMetrics([groups, shown], groups, shown);
  byId("metric-choice").hidden = !groups.length;
}

export function drawChoices() {
  drawRuns();
  drawAbout();
  const run = current();
  const isEmpty = byId("connection").dataset.state === "open" && !runs.size;
  const hasRecords = run !== null && recordsOf(run.id).length > 0;
  byId("empty").hidden = !isEmpty;
  byId("waiting").hidden = !run || run.snapshots > 0;
  byId("shown").hidden = !hasRecords;
  if (!hasRecords) return;
  drawMethods(run);
  for (const radio of document.querySelectorAll("[name=size]")) radio.checked = radio.value === state.size;
  drawImages(run);
  drawMetrics(run);
  document.querySelector("#cards").dataset.count = chosenImages(run).length;
}

export function drawFocusBar() {
  const run = current();
  if (run && !byId("shown").hidden) drawFocus(run);
}

// A click outside a menu or the Escape key closes the menu.
document.addEventListener("pointerdown", (event) => {
  for (const menu of document.querySelectorAll("details[open]")) if (!menu.contains(event.target)) menu.open = false;
});
