// Loads the image and the maps of both sides. A newer request replaces an older one.

import { forget } from "./images.js";
import { loadLayers, needsLayers, settle } from "./methods.js";
import { parsed } from "./npy.js";
import { address, ask, askJson, asker, mapParameters, say } from "./requests.js";
import { changed, sides, state } from "./settings.js";

export const picture = { id: null, pixels: null, hasFailed: false }; // the image, as ImageData
export const ranking = { id: null, classes: [] };
// Per side: the requested map's key, and whether it is loading or has failed; and the loaded map's key
// (`done`), image, info, values and positions.
export const maps = { a: {}, b: {} };

async function pixelsAt(url, signal) {
  const bitmap = await createImageBitmap(await (await ask(url, { signal })).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

async function loadImage() {
  const id = state.image;
  Object.assign(picture, { id, pixels: null, hasFailed: false });
  Object.assign(ranking, { id, classes: [] });
  try {
    const pixels = await pixelsAt(address("image.png", { image: id }));
    if (picture.id !== id) return;
    picture.pixels = pixels;
    changed();
    const { classes } = await askJson(address("classes", { image: id }));
    if (ranking.id === id) ranking.classes = classes;
  } catch (error) {
    if (picture.id !== id) return;
    picture.hasFailed = true;
    say(error.message);
    if (error.status === 404) forget(id);
  }
  changed();
}

const keyOf = (image, setting) => JSON.stringify(mapParameters(image, setting));

async function loadMap(side, key) {
  const own = maps[side];
  own.abort?.abort();
  own.abort = new AbortController();
  const { signal } = own.abort;
  const image = state.image;
  const setting = { ...state[side] };
  const chosen = mapParameters(image, setting);
  Object.assign(own, { key, isLoading: true, failure: null });
  changed();
  try {
    if (needsLayers(setting)) {
      await loadLayers(setting.method);
      settle(setting);
      if (own.key !== key || keyOf(image, setting) !== key) return; // the redraw requests the possible map
    }
    const info = await askJson(address("map", { ...chosen, ...asker(side) }), { signal });
    const [array, positions] = await Promise.all([
      ask(address("map.npy", chosen), { signal }).then((response) => response.arrayBuffer()).then(parsed),
      pixelsAt(address("map.png", chosen), signal),
    ]);
    if (own.key === key) Object.assign(own, { done: key, image, info, array, positions, isLoading: false });
  } catch (error) {
    if (own.key !== key || error.name === "AbortError") return;
    Object.assign(own, { done: null, info: null, array: null, positions: null, isLoading: false, failure: error.message });
  }
  changed();
}

export function loadAll() {
  if (!state.image) return;
  if (picture.id !== state.image) loadImage();
  for (const side of sides()) {
    settle(state[side]);
    const key = keyOf(state.image, state[side]);
    if (maps[side].key !== key) loadMap(side, key);
  }
}

// Requests again what has failed.
export function retry() {
  if (picture.hasFailed) picture.id = null;
  say("");
  for (const side of sides()) if (maps[side].failure) maps[side].key = null;
  changed();
}
