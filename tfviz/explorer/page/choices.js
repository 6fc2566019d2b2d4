// The methods, the classes and the layers of the active map.

import { byId, make, onceFor, setText } from "./elements.js";
import { maps, ranking } from "./maps.js";
import { layersOf, loadLayers, methodOf, usableMethods } from "./methods.js";
import { say } from "./requests.js";
import { active, choose, onChange, set, state, toggleCompare } from "./settings.js";
import { value } from "./words.js";

let model = { methods: [], classes: 0, kind: "output" };

export function startChoices(given) {
  model = given;
  byId("methods").replaceChildren(...model.methods.map(tab));
  setText(byId("model-name"), model.name);
  const size = model.size ? `${model.size[1]}×${model.size[0]} pixels` : "any size";
  const classes = model.classes === null ? "not a classifier" : `${model.classes} ${model.classes === 1 ? "class" : "classes"}`;
  const warning = model.is_preprocessing_known ? "" : " · preprocessing unknown: RGB in 0–255";
  setText(byId("model-about"), `${size} · ${classes}${warning}`);
  byId("classes-about").hidden = model.classes !== null;
  setText(byId("classes-about"), "The model is not a classifier with one output, so there are no classes to choose.");
  for (const id of ["rivals", "class-hint"]) byId(id).hidden = !(model.classes > 1);
}

function tab(method) {
  const button = make("button", {
    type: "button", role: "tab", id: `tab-${method.key}`, "aria-controls": "panels", "aria-disabled": method.reason ? "true" : false, tabindex: "-1",
    title: method.reason ? `Not available: ${method.reason}` : method.question,
  }, method.title);
  button.addEventListener("click", () => openMethod(method.key));
  button.addEventListener("focus", () => explain(method));
  button.addEventListener("blur", () => explain(methodOf(active().method)));
  return button;
}

function explain(method) {
  const rows = method?.rows > 1 ? ` Runs the network ${method.rows} times per image.` : "";
  byId("question").classList.toggle("is-reason", Boolean(method?.reason));
  setText(byId("question"), method?.reason ? `${method.title} is not available. ${method.reason}` : `${method?.question ?? ""}${rows}`);
}

export function openMethod(key) {
  const method = methodOf(key);
  explain(method);
  if (!method.reason) choose({ method: key }); // the layer stays if the new method supports it
}

export function stepMethod(by) {
  const usable = usableMethods();
  const at = usable.findIndex((one) => one.key === active().method);
  openMethod(usable[(at + by + usable.length) % usable.length].key);
}

byId("methods").addEventListener("keydown", (event) => {
  const tabs = [...byId("methods").children];
  const at = tabs.indexOf(document.activeElement);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  tabs[(to + tabs.length) % tabs.length].focus();
});

const drawTabs = onceFor(() => {
  for (const one of model.methods) {
    const button = byId(`tab-${one.key}`);
    const isChosen = one.key === active().method;
    button.setAttribute("aria-selected", String(isChosen));
    button.tabIndex = isChosen ? 0 : -1;
    // On a narrow page, the tabs scroll.
    if (isChosen) button.parentElement.scrollTo({ left: button.offsetLeft - button.parentElement.clientWidth / 2 });
  }
  explain(methodOf(active().method));
});

// Classes

function row(one, place) {
  const isTarget = one.class === explainedClass();
  const box = make("input", { type: "radio", name: "class", value: one.class, checked: isTarget });
  box.addEventListener("change", () => openClass(one.class));
  const share = model.kind === "probability" && one.score !== null ? one.score : 0;
  const label = make("label", { class: "prediction", title: one.name }, box,
    make("span", { class: "rank", "aria-hidden": "true" }, place < 10 ? String((place + 1) % 10) : ""),
    make("span", { class: "label" }, one.name), make("span", { class: "number" }, value(one.score)));
  label.style.setProperty("--share", share);
  const versus = make("button", {
    type: "button", class: "versus", "aria-pressed": String(active().against === one.class), disabled: isTarget,
    "aria-label": `vs ${one.name}: subtract it`, title: `Show what sets the class apart from ${one.name}`,
  }, "vs");
  versus.addEventListener("click", () => choose({ against: active().against === one.class ? null : one.class }));
  return make("div", { class: "class-row" }, label, model.classes > 1 ? versus : null);
}

function explainedClass() {
  return active().target ?? ranking.classes[0]?.class ?? null;
}

export function openClass(index) {
  choose({ target: index, against: active().against === index ? null : active().against });
}

export function openRank(place) {
  const one = ranking.classes[place];
  if (one && methodOf(active().method)?.takes_target) openClass(one.class);
}

// A link may name a class that is not among the ten highest.
function listedClasses() {
  const info = maps[state.active].image === state.image ? maps[state.active].info : null;
  const others = [info?.class, info?.against].filter((one) => one?.name && !ranking.classes.some((known) => known.class === one.class));
  return [...ranking.classes, ...others];
}

const fillClasses = onceFor((listed) => {
  const focused = document.activeElement?.closest?.("#classes input") ? document.activeElement.value : null;
  byId("classes").replaceChildren(...listed.map(row));
  if (focused !== null) byId("classes").querySelector(`input[value="${focused}"]`)?.focus();
});

function drawClasses() {
  const takesTarget = methodOf(active().method)?.takes_target ?? true;
  byId("classes").classList.toggle("is-off", !takesTarget);
  fillClasses([listedClasses(), active().target, active().against, explainedClass()], listedClasses());
  for (const one of byId("classes").querySelectorAll("input, button")) {
    one.disabled = !takesTarget || (one.tagName === "BUTTON" && one.parentElement.querySelector("input").checked);
  }
  byId("rivals").disabled = !takesTarget;
  byId("rivals").setAttribute("aria-pressed", String(active().against === "rivals"));
  setText(byId("class-hint"), takesTarget ? "Choose the class to explain. “vs” subtracts another class from it." : "This method does not depend on the class.");
}

byId("rivals").addEventListener("click", () => choose({ against: active().against === "rivals" ? null : "rivals" }));

// Layers

function layerChip(path, name, about, isDefault) {
  const box = make("input", { type: "radio", name: "layer", value: path });
  box.addEventListener("change", () => choose({ layer: path }));
  const words = make("span", {}, make("span", { class: "path" }, name), make("span", { class: "shape" }, about, isDefault ? " · default" : ""));
  return make("label", { title: name }, box, words);
}

const fillLayers = onceFor((known) => {
  if (!known) return byId("layers").replaceChildren(make("span", { class: "hint" }, "Loading …"));
  const chips = known.layers.map((one) => layerChip(one.path === known.default ? "" : one.path, one.path, one.shape, one.path === known.default));
  if (known.default === "image") chips.unshift(layerChip("", "image", "the input", true));
  return byId("layers").replaceChildren(...chips);
});

function chosenLayer(known) {
  const { layer } = active();
  return layer === known.default ? "" : layer;
}

const scrollToLayer = onceFor((label) => {
  const strip = byId("layers");
  strip.scrollTo({ left: label.offsetLeft - strip.clientWidth / 2 + label.clientWidth / 2 });
});

function drawLayers() {
  const method = methodOf(active().method);
  byId("layer-field").hidden = !method?.takes_layer;
  if (!method?.takes_layer) return;
  const known = layersOf(method.key);
  fillLayers([method.key, !known], known);
  // the first map takes precedence
  if (!known && maps[state.active].isLoading === false) loadLayers(method.key).catch((error) => say(error.message));
  if (!known) return;
  for (const box of byId("layers").querySelectorAll("input")) {
    box.checked = box.value === chosenLayer(known);
    if (box.checked) scrollToLayer([method.key, box.value, state.active], box.parentElement);
  }
}

export function stepLayer(by) {
  const boxes = [...byId("layers").querySelectorAll("input")];
  const at = boxes.findIndex((one) => one.checked);
  const next = boxes[at + by];
  if (next && !byId("layer-field").hidden) choose({ layer: next.value });
}

byId("compare").addEventListener("click", toggleCompare);
export const swap = () => state.compare && set({ active: state.active === "a" ? "b" : "a" });

onChange(() => drawTabs([active().method, model.methods.length, byId("workspace").hidden]));
onChange(drawClasses);
onChange(drawLayers);
