// Loss and metrics over the snapshots: one strip per metric and its "val_" twin, as wide as the slider.

import { byId, make, makeSvg, onceFor } from "./elements.js";
import { compared, continuations, current, recordsOf } from "./runs.js";
import { changed, set, state } from "./state.js";
import { continued, step, value } from "./words.js";

const EDGES = { wide: [56, 216], narrow: [44, 10] }; // margins of the plot on the left and right, as in style.css
const SHOWN_AT_FIRST = { wide: 2, narrow: 1 };
export const MOST_STRIPS = 6;
const TWIN = "val_";
const LABEL_PX = 70; // room for a mark's label
const FEW_POINTS = 40; // up to this number, each point is marked

const series = new Map(); // run id -> { records, count, metrics: Map(name -> { at, of, least, greatest }) }

// Returns the values of each metric. Each call reads only the records added since the last one.
function seriesOf(id) {
  const records = recordsOf(id);
  let known = series.get(id);
  if (!known || known.records !== records || known.count > records.length) {
    known = { records, count: 0, metrics: new Map() };
    series.set(id, known);
  }
  for (; known.count < records.length; known.count++) {
    for (const [name, number] of Object.entries(records[known.count].logs)) {
      if (number === null) continue;
      if (!known.metrics.has(name)) known.metrics.set(name, { at: [], of: [], least: Infinity, greatest: -Infinity });
      const points = known.metrics.get(name);
      points.at.push(known.count);
      points.of.push(number);
      points.least = Math.min(points.least, number);
      points.greatest = Math.max(points.greatest, number);
    }
  }
  return known.metrics;
}

const base = (name) => (name.startsWith(TWIN) ? name.slice(TWIN.length) : name);

export function metricGroups(id) {
  const found = new Set([...seriesOf(id).keys()].map(base));
  return [...found].sort((a, b) => (b === "loss") - (a === "loss"));
}

export function chosenGroups(id) {
  const all = metricGroups(id);
  const chosen = state.metrics ? all.filter((name) => state.metrics.includes(name)) : all.slice(0, SHOWN_AT_FIRST[isNarrow() ? "narrow" : "wide"]);
  return chosen.slice(0, MOST_STRIPS);
}

// Returns the last value at or before a snapshot.
function valueAt({ at, of }, number) {
  let low = 0;
  let high = at.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at[middle] <= number) low = middle + 1;
    else high = middle;
  }
  return low ? of[low - 1] : null;
}

// Returns the positions of the other run's snapshots on this run's axis, matched by step.
function positionsOf(records, others) {
  let index = 0;
  return others.map((other) => {
    while (index + 1 < records.length && records[index + 1].step <= other.step) index++;
    const from = records[index];
    const to = records[index + 1];
    if (!to) return other.step > from.step ? null : index;
    return index + Math.max(0, (other.step - from.step) / (to.step - from.step));
  });
}

// Returns a path with at most four points per pixel: the first, lowest, highest and last values that fall into it. The path
// is interrupted at `gaps`, where training continued with different weights.
function path({ at, of }, x, y, gaps) {
  const parts = [];
  let column = null;
  let startsPath = true;
  let passed = 0;
  const close = () => {
    if (!column) return;
    const { least, greatest, first, last, pixel } = column;
    const values = least === greatest ? [first] : [first, least, greatest, last];
    for (const number of values) {
      parts.push(`${startsPath ? "M" : "L"}${pixel.toFixed(1)} ${y(number).toFixed(1)}`);
      startsPath = false;
    }
    column = null;
  };
  for (let i = 0; i < at.length; i++) {
    if (at[i] === null) continue;
    if (passed < gaps.length && at[i] >= gaps[passed]) {
      close();
      startsPath = true;
      while (passed < gaps.length && at[i] >= gaps[passed]) passed++;
    }
    const pixel = Math.round(x(at[i]) * 2) / 2;
    const number = of[i];
    if (column?.pixel === pixel) {
      column.least = Math.min(column.least, number);
      column.greatest = Math.max(column.greatest, number);
      column.last = number;
    } else {
      close();
      column = { pixel, least: number, greatest: number, first: number, last: number };
    }
  }
  close();
  return parts.join("");
}

const container = byId("curves");
let strips = []; // the strips that mark the current moment
let width = 0;
new ResizeObserver((entries) => {
  const now = Math.round(entries[0].contentRect.width);
  if (now === width) return;
  width = now;
  changed();
}).observe(container);

const isNarrow = () => matchMedia("(max-width: 760px)").matches;
const edges = () => EDGES[isNarrow() ? "narrow" : "wide"];

const redraw = onceFor((run, other, groups, height) => {
  const records = recordsOf(run.id);
  const [left, right] = edges();
  const scale = records.length > 1 ? (width - left - right) / (records.length - 1) : 0;
  const x = (index) => left + index * scale;
  strips = groups.map((group) => strip(group, run, other, x, height));
  container.replaceChildren(...strips.map((one) => one.element), ...(strips.length ? [axis(records, x)] : []));
});

export function drawCurves() {
  const run = current();
  if (!run || !width) return;
  const records = recordsOf(run.id);
  const other = compared();
  const groups = chosenGroups(run.id);
  const height = isNarrow() ? 46 : (groups.length > 2 ? 50 : 62) + (other ? 16 : 0);
  const key = [run.id, records.length, other?.id, other && recordsOf(other.id).length, groups, width, height];
  redraw(key, run, other, groups, height);
  for (const one of strips) one.mark(Math.min(state.at, records.length - 1));
}

function strip(group, run, other, x, height) {
  const lines = linesOf(group, run, other);
  const all = lines.flatMap((line) => [line.least, line.greatest]);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const [top, bottom] = [8, height - 6];
  const [left, right] = edges();
  const y = (number) => (high > low ? bottom - ((number - low) / (high - low)) * (bottom - top) : (top + bottom) / 2);
  const svg = makeSvg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", class: "strip" });
  const rule = (at) => makeSvg("line", { x1: left, x2: width - right, y1: at, y2: at, class: "rule" });
  const text = (at, number) => makeSvg("text", { x: left - 8, y: at + 4, "text-anchor": "end", class: "tick" }, value(number));
  svg.append(rule(top), rule(bottom), ...(high > low ? [text(top, high), text(bottom, low)] : [text((top + bottom) / 2, low)]));
  const stops = continuations(run.id);
  svg.append(...stops.flatMap(({ index, isOther }) => continuationMark(x(index), top, bottom, isOther)));
  for (const line of lines) {
    const gaps = line.kind.startsWith("own") ? stops.filter((stop) => stop.isOther).map((stop) => stop.index) : [];
    svg.append(makeSvg("path", { d: path(line.points, x, y, gaps), class: `line ${line.kind}` }));
    if (line.points.at.length <= FEW_POINTS) svg.append(...dots(line, x, y));
  }
  const marker = makeSvg("line", { y1: top - 4, y2: bottom + 4, class: "now" });
  const points = lines.map((line) => makeSvg("circle", { r: 3.5, class: `point ${line.kind}` }));
  svg.append(marker, ...points);
  const captions = lines.map((line) => make("b", { class: "value" }, ""));
  const legend = make("p", { class: "names", "aria-hidden": "true" }, ...lines.map((line, index) => name(line, captions[index])));
  return {
    element: make("div", { class: "curve" }, legend, svg),
    mark(number) {
      const place = x(number);
      marker.setAttribute("x1", place);
      marker.setAttribute("x2", place);
      const descriptions = lines.map((line, index) => {
        const now = valueAt(line.points, number);
        points[index].setAttribute("visibility", now === null ? "hidden" : "visible");
        points[index].setAttribute("cx", place);
        points[index].setAttribute("cy", y(now ?? low));
        captions[index].textContent = value(now);
        return `${line.name} now ${value(now)}, lowest ${value(line.least)}, highest ${value(line.greatest)}`;
      });
      svg.setAttribute("aria-label", descriptions.join("; "));
    },
  };
}

function continuationMark(place, top, bottom, isOther) {
  const title = makeSvg("title");
  title.textContent = continued(isOther);
  const line = makeSvg("line", { x1: place, x2: place, y1: top - 4, y2: bottom + 4, class: "stop" }, title);
  const isLate = place > width - LABEL_PX;
  const side = isLate ? { x: place - 4, "text-anchor": "end" } : { x: place + 4 };
  const text = makeSvg("text", { ...side, y: top + 6, class: "tick" });
  text.textContent = isOther ? "new weights" : "continued";
  return [line, text];
}

function linesOf(group, run, other) {
  const found = [];
  const add = (id, kind, suffix, move) => {
    for (const [key, twin] of [[group, ""], [TWIN + group, " twin"]]) {
      const points = seriesOf(id).get(key);
      if (!points) continue;
      const { least, greatest } = points;
      found.push({ name: key + suffix, points: move(points), kind: kind + twin, least, greatest });
    }
  };
  add(run.id, "own", "", (points) => points);
  if (other && recordsOf(other.id).length) {
    const moved = positionsOf(recordsOf(run.id), recordsOf(other.id));
    add(other.id, "other", ` · ${other.name}`, ({ at, of }) => ({ at: at.map((index) => moved[index]), of }));
  }
  return found;
}

function dots(line, x, y) {
  const inside = line.points.at.map((at, index) => [at, line.points.of[index]]).filter(([at]) => at !== null);
  return inside.map(([at, number]) => makeSvg("circle", { cx: x(at), cy: y(number), r: 1.8, class: `dot ${line.kind}` }));
}

function name(line, caption) {
  const sample = makeSvg("svg", { width: 18, height: 8, "aria-hidden": "true" });
  sample.append(makeSvg("line", { x1: 0, x2: 18, y1: 4, y2: 4, class: `line ${line.kind}` }));
  return make("span", { class: "key" }, sample, make("span", { class: "metric" }, line.name), caption);
}

function axis(records, x) {
  const [left] = edges();
  const svg = makeSvg("svg", { width, height: 16, viewBox: `0 0 ${width} 16`, class: "axis", "aria-hidden": "true" });
  svg.append(makeSvg("text", { x: left - 8, y: 12, "text-anchor": "end", class: "tick" }, "step"));
  const most = Math.max(2, Math.min(9, Math.floor((width - left) / 90)));
  const places = new Set(Array.from({ length: most }, (_, i) => Math.round((i * (records.length - 1)) / (most - 1))));
  for (const index of places) {
    const anchor = index === 0 ? "start" : index === records.length - 1 ? "end" : "middle";
    svg.append(makeSvg("text", { x: x(index), y: 12, "text-anchor": anchor, class: "tick" }, step(records[index].step)));
  }
  return svg;
}

// Pressing or dragging on the curves moves through time.
function seek(event) {
  const count = recordsOf(state.run).length;
  const [left, right] = edges();
  const share = (event.clientX - container.getBoundingClientRect().left - left) / (width - left - right);
  set({ at: Math.round(Math.min(1, Math.max(0, share)) * (count - 1)), live: false, playing: false });
}
container.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !strips.length) return;
  container.setPointerCapture(event.pointerId);
  seek(event);
});
container.addEventListener("pointermove", (event) => {
  if (container.hasPointerCapture(event.pointerId)) seek(event);
});
