// Draws the image and the maps, and reads the values under the pointer.

import { byId, make, onceFor, setText } from "./elements.js";
import { nameOfImage } from "./images.js";
import { maps, picture, retry } from "./maps.js";
import { methodOf } from "./methods.js";
import { cellAt, drawnValue } from "./npy.js";
import { changed, set, sides, state } from "./settings.js";
import { value } from "./words.js";

// Over a gray image, the colors have the weight alpha**power, as in tfviz.overlay.
const POWERS = [1.4, 0.3];
let styles = {};
const point = { x: null, y: null }; // from 0 to 1, on all panels at once

export function startStage(model) {
  styles = model.styles;
}

const panel = (side) => byId(`panel-${side}`);

function weightsOf(style) {
  const alpha = state.alpha / 100;
  return Float32Array.from({ length: 256 }, (_, place) => {
    if (!state.gray) return alpha;
    const distance = style === "heatmap" ? place / 255 : Math.abs((2 * place) / 255 - 1);
    return alpha ** (POWERS[0] + (POWERS[1] - POWERS[0]) * distance);
  });
}

function blended(image, map, style) {
  const { ramp } = styles[style];
  const weights = weightsOf(style);
  const [from, places] = [image.data, map.data];
  const made = new ImageData(image.width, image.height);
  const to = made.data;
  for (let at = 0; at < to.length; at += 4) {
    const place = places[at];
    const weight = weights[place];
    const color = ramp[place];
    const gray = state.gray ? Math.round(0.299 * from[at] + 0.587 * from[at + 1] + 0.114 * from[at + 2]) : null;
    for (let channel = 0; channel < 3; channel += 1) {
      to[at + channel] = Math.round(weight * color[channel] + (1 - weight) * (gray ?? from[at + channel]));
    }
    to[at + 3] = 255;
  }
  return made;
}

function put(canvas, pixels) {
  if (canvas.width !== pixels.width || canvas.height !== pixels.height) {
    Object.assign(canvas, { width: pixels.width, height: pixels.height });
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

const drawPicture = onceFor(() => put(byId("canvas-image"), picture.pixels));
const drawMaps = Object.fromEntries(
  ["a", "b"].map((side) => [
    side,
    onceFor((own) => {
      const isDrawn = own.info.style !== "grey";
      put(panel(side).querySelector("canvas"), isDrawn ? blended(picture.pixels, own.positions, own.info.style) : own.positions);
    }),
  ]),
);

export function targetWords(info) {
  if (!info.class) return "";
  if (!info.against) return info.class.name;
  return `${info.class.name} against ${info.against.name ?? "the most similar classes"}`;
}

export function titleOf(info) {
  return methodOf(info.method)?.title ?? info.method;
}

function scale(info) {
  const low = info.style === "heatmap" ? "0" : value(-info.limit);
  const bar = make("span", { class: `ramp ${info.style}`, "aria-hidden": "true" });
  return make("span", { class: "scale", title: styles[info.style].meaning }, low, bar, value(info.limit));
}

const drawCaptions = Object.fromEntries(
  ["a", "b"].map((side) => [
    side,
    onceFor((info) => {
      const target = targetWords(info);
      const score = info.class && !info.against ? `score ${value(info.class.score)}` : "";
      const about = [target, score, info.layer && info.layer !== "image" ? `at ${info.layer}` : ""].filter(Boolean).join(" · ");
      const parts = [make("span", { class: "what" }, about || "no target class")];
      if (info.words) parts.push(make("strong", { class: info.is_empty || info.is_nearly_empty ? "weak" : "" }, info.words));
      if (!info.is_empty) parts.push(scale(info));
      parts.push(make("span", { class: "value" }));
      if (info.note) parts.push(make("span", { class: "note" }, info.note));
      panel(side).querySelector("figcaption").replaceChildren(...parts);
      const words = `${titleOf(info)}${target ? ` for ${target}` : ""}, ${nameOfImage()}${info.words ? `: ${info.words}` : ""}`;
      panel(side).querySelector("canvas").setAttribute("aria-label", words);
      setText(byId("news"), words);
    }),
  ]),
);

function coverOf(own, side) {
  if (own.failure) return own.failure;
  if (!own.isLoading) return "";
  const rows = methodOf(state[side].method)?.rows ?? 1;
  return rows > 1 ? `Computing ${rows} forward passes …` : "Computing …";
}

function drawSide(side) {
  const own = maps[side];
  const element = panel(side);
  const cover = coverOf(own, side);
  const isShown = own.info && own.image === picture.id && picture.pixels;
  const isSameSize = isShown && own.positions.width === picture.pixels.width && own.positions.height === picture.pixels.height;
  setText(element.querySelector(".title"), methodOf(state[side].method)?.title ?? state[side].method);
  element.classList.toggle("is-loading", Boolean(own.isLoading));
  element.classList.toggle("is-failed", Boolean(own.failure));
  element.setAttribute("aria-busy", String(Boolean(own.isLoading)));
  element.querySelector(".cover").hidden = !cover;
  setText(element.querySelector(".cover span"), cover);
  element.querySelector(".cover button").hidden = !own.failure;
  element.querySelector("canvas").classList.toggle("is-old", !isSameSize || Boolean(own.failure));
  if (!isSameSize) {
    if (own.failure) element.querySelector("figcaption").replaceChildren();
    return;
  }
  drawMaps[side]([own.done, state.alpha, state.gray], own);
  drawCaptions[side]([own.done, own.info], own.info);
}

export function drawStage() {
  panel("b").hidden = !state.compare;
  byId("panels").classList.toggle("is-comparing", state.compare);
  for (const button of document.querySelectorAll(".letter")) {
    button.hidden = !state.compare;
    button.setAttribute("aria-pressed", String(button.dataset.side === state.active));
    button.closest("figure").classList.toggle("is-active", state.compare && button.dataset.side === state.active);
  }
  if (picture.pixels) {
    drawPicture(picture.id);
    byId("canvas-image").setAttribute("aria-label", nameOfImage());
    byId("canvas-image").classList.remove("is-old");
  } else {
    byId("canvas-image").classList.add("is-old");
  }
  for (const side of sides()) drawSide(side);
  byId("panels").style.setProperty("--ratio", picture.pixels ? picture.pixels.width / picture.pixels.height : 1);
  const isBlended = sides().some((side) => maps[side].info?.style !== "grey");
  Object.assign(byId("alpha"), { value: state.alpha, disabled: !isBlended });
  byId("alpha").style.setProperty("--share", state.alpha / 100);
  setText(byId("alpha-value"), isBlended ? `${state.alpha}%` : "drawn without the image");
  byId("gray").setAttribute("aria-pressed", String(state.gray));
  byId("compare").setAttribute("aria-pressed", String(state.compare));
  byId("scale-hint").hidden = !state.compare;
  drawReadout();
}

function shownValue(own) {
  const cell = cellAt(own.array, point.x, point.y);
  const drawn = drawnValue(cell.values, own.info.style);
  const share = own.info.limit ? ` · ${Math.round((100 * drawn) / own.info.limit)}% of the scale` : "";
  const where = `row ${cell.row}, column ${cell.column}`;
  if (own.info.style === "grey" && cell.values.length === 3) return `${cell.values.map(value).join(" / ")} (RGB) · ${where}`;
  return `${value(drawn)}${share} · ${where}`;
}

function drawReadout() {
  const isOn = point.x !== null && picture.pixels;
  for (const mark of document.querySelectorAll(".crosshair")) {
    mark.hidden = !isOn;
    if (isOn) Object.assign(mark.style, { left: `${100 * point.x}%`, top: `${100 * point.y}%` });
  }
  for (const side of sides()) {
    const element = panel(side).querySelector("figcaption .value");
    const own = maps[side];
    if (element) setText(element, isOn && own.array && !own.isLoading ? shownValue(own) : "");
  }
  if (!isOn) return setText(byId("pixel"), "Point at a map to read its values");
  const { width, height } = picture.pixels;
  return setText(byId("pixel"), `pixel ${Math.floor(point.x * width)}, ${Math.floor(point.y * height)} of ${width}×${height}`);
}

const clipped = (number) => Math.min(0.9999, Math.max(0, number));

function pointAt(x, y) {
  Object.assign(point, { x: clipped(x), y: clipped(y) });
  drawReadout();
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// One step is a cell of the map, or a pixel of the image.
function stepPoint(event, side) {
  if (!STEPS[event.key] || !picture.pixels) return;
  event.preventDefault();
  event.stopPropagation();
  const [height, width] = maps[side]?.array?.shape ?? [picture.pixels.height, picture.pixels.width];
  const [right, down] = STEPS[event.key];
  const place = (at, size) => (Math.floor((at ?? 0.5) * size) + 0.5) / size;
  const isNew = point.x === null;
  pointAt(place(point.x, width) + (isNew ? 0 : right / width), place(point.y, height) + (isNew ? 0 : down / height));
  const shown = [...document.querySelectorAll("figcaption .value")].map((one) => one.textContent);
  setText(byId("news"), shown.filter(Boolean).join("; "));
}

for (const canvas of document.querySelectorAll(".canvas canvas")) {
  const figure = canvas.closest("figure");
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    pointAt((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  });
  canvas.addEventListener("pointerleave", () => {
    if (document.activeElement === canvas) return;
    Object.assign(point, { x: null, y: null });
    drawReadout();
  });
  canvas.addEventListener("keydown", (event) => stepPoint(event, figure.dataset.side ?? "a"));
  canvas.addEventListener("click", () => {
    if (state.compare && figure.dataset.side) set({ active: figure.dataset.side });
  });
}
for (const button of document.querySelectorAll(".letter")) {
  button.addEventListener("click", () => set({ active: button.dataset.side }));
}
for (const button of document.querySelectorAll(".cover button")) button.addEventListener("click", retry);
byId("alpha").addEventListener("input", (event) => set({ alpha: Number(event.target.value) }));
byId("gray").addEventListener("click", () => set({ gray: !state.gray }));
addEventListener("resize", changed);
