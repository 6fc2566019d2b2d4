// An image's predictions over time: the score as a line, and below it a ribbon in class colors.

import { make, makeSvg } from "./elements.js";

const COLUMNS = 160;
const HEIGHT = 30;
const RIBBON = 5;
const GOLDEN_ANGLE = 137.508; // gives neighboring numbers distinct colors

export function classColor(index) {
  return `hsl(${Math.round((210 + index * GOLDEN_ANGLE) % 360)} 62% 52%)`;
}

export function makeHistory() {
  const ribbon = makeSvg("g");
  const line = makeSvg("path", { class: "score" });
  const marker = makeSvg("line", { y1: 0, y2: HEIGHT, class: "now" });
  const svg = makeSvg("svg", { viewBox: `0 0 ${COLUMNS} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(ribbon, line, marker);
  const element = make("div", { class: "history" }, svg);
  let shape = { count: 1 };
  return {
    element,
    draw(records, image) {
      shape = shapeOf(records, image);
      ribbon.replaceChildren(...shape.bands.map(band));
      line.setAttribute("d", shape.path);
    },
    mark(number) {
      const x = shape.count > 1 ? (number / (shape.count - 1)) * COLUMNS : 0;
      marker.setAttribute("x1", x);
      marker.setAttribute("x2", x);
    },
  };
}

function shapeOf(records, image) {
  const columns = Math.min(COLUMNS, records.length);
  const taken = Array.from({ length: columns }, (_, i) => {
    const index = columns > 1 ? Math.round((i * (records.length - 1)) / (columns - 1)) : 0;
    return records[index].predictions[image];
  });
  const scores = taken.filter(Boolean).map((one) => one.score);
  const low = Math.min(0, ...scores);
  const high = Math.max(1, ...scores);
  const x = (i) => (columns > 1 ? (i / (columns - 1)) * COLUMNS : 0);
  const y = (score) => 2 + (1 - (score - low) / (high - low)) * (HEIGHT - RIBBON - 5);
  const points = taken.flatMap((one, i) => (one ? [`${x(i).toFixed(1)} ${y(one.score).toFixed(1)}`] : []));
  return { count: records.length, path: points.length ? `M${points.join("L")}` : "", bands: bandsOf(taken, x) };
}

// Merges neighbors of the same class into one band.
function bandsOf(taken, x) {
  const bands = [];
  const half = taken.length > 1 ? x(1) / 2 : COLUMNS;
  taken.forEach((one, i) => {
    const last = bands[bands.length - 1];
    const to = Math.min(COLUMNS, x(i) + half);
    if (!one) return;
    if (last && last.class === one.class && last.until === i - 1) Object.assign(last, { to, until: i });
    else bands.push({ class: one.class, from: Math.max(0, x(i) - half), to, until: i });
  });
  return bands;
}

function band({ class: index, from, to }) {
  return makeSvg("rect", { x: from, y: HEIGHT - RIBBON, width: to - from, height: RIBBON, fill: classColor(index) });
}
