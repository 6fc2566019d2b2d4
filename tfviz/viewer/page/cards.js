// The images, each beside its maps and predictions.

import { byId, make, onceFor, setText } from "./elements.js";
import { classColor, makeHistory } from "./history.js";
import { compared, current, imageAddress, pictureAddress, recordsOf } from "./runs.js";
import { set, state } from "./state.js";
import { label, moment, nameOf, value } from "./words.js";

const SMALL_PX = 128; // pictures up to this size are enlarged without smoothing
const HISTORY_PAUSE_MS = 500;

export function chosenMethods(run) {
  return run.methods.filter((method) => !state.methods || state.methods.includes(method.name));
}

// Returns whether an image is enlarged. The address may name an image that the run does not have.
export const isFocused = (run) => state.focus !== null && state.focus < run.images.length;

export function chosenImages(run) {
  const all = run.images.map((_, index) => index);
  if (isFocused(run)) return [state.focus];
  return state.images ? all.filter((index) => state.images.includes(index)) : all;
}

// Returns the other run's record at the same step, or the last one before it.
export function recordBeside(other, record) {
  const records = recordsOf(other.id);
  let low = 0;
  let high = records.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (records[middle].step <= record.step) low = middle + 1;
    else high = middle;
  }
  return records[Math.max(0, low - 1)] ?? null;
}

// Returns the addresses of all visible pictures of a snapshot, to preload them.
export function addressesAt(run, record) {
  const methods = chosenMethods(run).filter((method) => record.methods.includes(method.name));
  const images = visibleImages();
  return images.flatMap((image) => [
    ...(record.images ? [imageAddress(run, image, record)] : []),
    ...methods.map((method) => pictureAddress(run, record.number, method.name, image)),
  ]);
}

const container = byId("cards");
let cards = [];
let historyDrawnMs = 0;

const visible = new Set();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) visible.add(Number(target.dataset.image));
      else visible.delete(Number(target.dataset.image));
    }
  },
  { rootMargin: "200px" },
);
const visibleImages = () => cards.map((card) => card.image).filter((image) => visible.has(image));

const rebuild = onceFor((run, other, images, methods) => {
  const focused = document.activeElement?.closest?.("#cards .card")?.dataset.image;
  watcher.disconnect();
  visible.clear();
  cards = images.map((image) => makeCard(run, other, image, methods));
  container.replaceChildren(...cards.map((card) => card.element));
  container.classList.toggle("focused", isFocused(run));
  container.dataset.size = state.size;
  container.style.setProperty("--columns", methods.length + 1);
  for (const card of cards) watcher.observe(card.element);
  if (focused !== undefined) container.querySelector(`[data-image="${focused}"] button`)?.focus();
  historyDrawnMs = 0;
});

export function drawCards() {
  const run = current();
  const records = run ? recordsOf(run.id) : [];
  if (!records.length) return;
  const other = compared();
  const images = chosenImages(run);
  const methods = chosenMethods(run);
  rebuild([run.id, run.images, run.methods, run.labels?.length, other?.id, images, methods, state.focus, state.size], run, other, images, methods);
  const record = records[Math.min(state.at, records.length - 1)];
  const beside = other ? recordBeside(other, record) : null;
  const isDue = performance.now() - historyDrawnMs > HISTORY_PAUSE_MS || !state.live;
  if (isDue) historyDrawnMs = performance.now();
  for (const card of cards) card.show(record, beside, records, isDue);
}

function makeCard(run, other, image, methods) {
  const name = nameOf(run, image);
  const size = run.images[image];
  const isSmall = Math.max(size.width, size.height) <= SMALL_PX;
  const source = make("img", { src: imageAddress(run, image), alt: name, ...shape(size), loading: "lazy", class: isSmall ? "pixels" : "" });
  const enlarge = make("button", { type: "button", class: "picture", "aria-label": `Enlarge ${name.toLowerCase()}` }, source);
  enlarge.addEventListener("click", () => set({ focus: isFocused(run) ? null : image }));
  const word = name.split(" ")[0];
  const caption = make("figcaption", {}, word);
  const own = make("figure", {}, enlarge, caption);
  const figures = methods.map((method) => makeFigure(run, other, image, method, name, isSmall));
  const prediction = makePrediction(run);
  const otherPrediction = other && image < other.images.length ? makePrediction(other, other.name) : null;
  const truth = makeTruth(run, image);
  const explained = makeExplained(run);
  const history = makeHistory();
  const strip = make("div", { class: "strip" }, own, ...figures.map((figure) => figure.element));
  const id = `image-${image}`;
  const about = make("div", { class: "predicted" }, truth.element, prediction.element, otherPrediction?.element ?? null, explained.element, history.element);
  const element = make("article", { class: "card", "aria-labelledby": id, "data-image": image }, make("h2", { id }, name), strip, about);
  let drawn = -1;
  return {
    image,
    element,
    show(record, beside, records, isDue) {
      const address = imageAddress(run, image, record);
      if (source.getAttribute("src") !== address) source.src = address;
      setText(caption, record.images ? `${word} (no. ${record.images[image]} in the data)` : word);
      for (const figure of figures) figure.show(record, beside);
      prediction.show(record.predictions[image]);
      otherPrediction?.show(beside?.predictions[image] ?? null);
      truth.show(record, record.predictions[image]);
      explained.show(record.explained?.[image]);
      history.element.hidden = Boolean(record.images); // the history would mix different images
      if (drawn !== records.length && (isDue || drawn < 0)) {
        history.draw(records, image);
        drawn = records.length;
      }
      history.mark(Math.min(state.at, Math.max(drawn - 1, 0)));
    },
  };
}

// Shows the true class of the image, if it is known, and whether the network predicts it.
function makeTruth(run, image) {
  const name = make("span");
  const verdict = make("span", { class: "verdict" });
  const element = make("p", { class: "truth" }, name, verdict);
  return {
    element,
    show(record, prediction) {
      const index = (record.true_classes ?? run.true_classes)?.[image] ?? null;
      element.hidden = index === null;
      if (index === null) return;
      setText(name, `True class: ${label(run, index)}`);
      const isRight = prediction?.class === index;
      setText(verdict, prediction ? (isRight ? "✓ predicted" : "✗ not predicted") : "");
      verdict.classList.toggle("wrong", !isRight);
    },
  };
}

// Shows the explained class if it is not the top class.
function makeExplained(run) {
  const element = make("p", { class: "explained", hidden: true });
  return {
    element,
    show(explained) {
      element.hidden = !explained;
      if (explained) setText(element, `Maps explain: ${label(run, explained.class)} ${explained.score.toFixed(2)}`);
    },
  };
}

const shape = ({ width, height }) => ({ width, height });

function makeFigure(run, other, image, method, imageName, isSmall) {
  const views = [makeView(run, image, method, imageName, isSmall, other ? run.name : "")];
  if (other && image < other.images.length && other.methods.some((one) => one.name === method.name)) {
    views.push(makeView(other, image, method, imageName, isSmall, other.name));
  }
  const title = method.name === method.key ? method.title : `${method.title} (${method.name})`;
  const caption = make("figcaption", method.layer ? { title: `layer ${method.layer}` } : {}, title);
  return {
    element: make("figure", {}, ...views.map((view) => view.element), caption),
    show(record, beside) {
      views[0].show(record);
      views[1]?.show(beside);
    },
  };
}

function makeView(run, image, method, imageName, isSmall, runName) {
  const picture = make("img", { alt: "", ...shape(run.images[image]), loading: "lazy", class: isSmall ? "pixels" : "" });
  const fault = make("span", { class: "fault", hidden: true });
  const about = make("span", { class: "whose" }, runName); // with the strength of the map
  const element = make("div", { class: "map" }, picture, fault, about);
  picture.addEventListener("click", () => set({ focus: isFocused(run) ? null : image }));
  picture.addEventListener("error", () => picture.getAttribute("src") && say("The picture is missing."));
  picture.addEventListener("load", () => say(""));
  const say = (text) => {
    fault.hidden = !text;
    picture.classList.toggle("absent", Boolean(text));
    setText(fault, text);
  };
  let shown = null;
  return {
    element,
    show(record) {
      const number = record ? record.number : null;
      if (number === shown) return;
      shown = number;
      setText(about, [runName, record?.strengths?.[method.name]?.[image]].filter(Boolean).join(" · "));
      if (record?.methods.includes(method.name)) {
        picture.src = pictureAddress(run, number, method.name, image);
        picture.alt = `${method.title}, ${imageName}, ${runName ? `${runName}, ` : ""}${moment(record)}`;
      } else {
        picture.removeAttribute("src");
        picture.alt = "";
        say(record?.errors[method.name] ? `No map: ${record.errors[method.name]}` : "No map in this snapshot.");
      }
    },
  };
}

function makePrediction(run, whose = "") {
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  const name = make("span", { class: "label" });
  const score = make("span", { class: "number" });
  const element = make("p", { class: "prediction" }, swatch, name, score);
  return {
    element,
    show(prediction) {
      const known = prediction ? label(run, prediction.class) : "no class";
      setText(name, whose ? `${known} · ${whose}` : known);
      setText(score, prediction ? prediction.score.toFixed(2) : "");
      const isShare = prediction && prediction.score >= 0 && prediction.score <= 1;
      element.style.setProperty("--share", isShare ? prediction.score : 0);
      element.title = prediction ? `${known}: ${value(prediction.score)}` : "";
      swatch.style.backgroundColor = prediction ? classColor(prediction.class) : "transparent";
    },
  };
}
