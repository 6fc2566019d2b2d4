// The model's methods, and the layers that each of them supports.

import { address, askJson } from "./requests.js";
import { changed } from "./settings.js";

let methods = [];
let canContrast = false; // whether the model has several classes
const requested = new Map(); // per method: the promise of its layers
const arrived = new Map(); // per method: { default, layers }

export function startMethods(model) {
  methods = model.methods;
  canContrast = model.classes > 1;
}

export const usableMethods = () => methods.filter((one) => !one.reason);
export const methodOf = (key) => methods.find((one) => one.key === key);
export const layersOf = (key) => arrived.get(key);

export function loadLayers(key) {
  if (!requested.has(key)) requested.set(key, request(key));
  return requested.get(key);
}

async function request(key) {
  try {
    arrived.set(key, await askJson(address("layers", { method: key })));
    changed();
  } catch (error) {
    requested.delete(key);
    throw error;
  }
}

// The default layer needs no check.
export const needsLayers = ({ method, layer }) => Boolean(layer || methodOf(method)?.needs_layer) && !layersOf(method);

// Removes choices that the server would refuse. Clicks may combine the choices of two methods, because the page redraws
// only once per frame and the layers arrive later.
export function settle(setting) {
  if (!methodOf(setting.method) || methodOf(setting.method).reason) setting.method = usableMethods()[0]?.key ?? setting.method;
  if (!canContrast || setting.against === setting.target) setting.against = null;
  if (!methodOf(setting.method)?.takes_layer) setting.layer = "";
  const known = layersOf(setting.method);
  if (!known) return;
  if (!known.layers.some((one) => one.path === setting.layer)) setting.layer = "";
  if (!setting.layer && known.default === null) setting.layer = known.layers.at(-1)?.path ?? "";
}
