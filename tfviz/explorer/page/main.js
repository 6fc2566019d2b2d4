// The entry point: restores the view from the address, then loads the model's description.

import { startChoices } from "./choices.js";
import "./exports.js";
import { drawImages, fillImages } from "./images.js";
import "./keys.js";
import { loadAll } from "./maps.js";
import { startMethods } from "./methods.js";
import { askJson, say } from "./requests.js";
import { changed, onChange, readHash } from "./settings.js";
import { drawStage, startStage } from "./stage.js";

readHash();
try {
  const model = await askJson("api/model");
  document.title = `${model.name} · tfviz explorer`;
  startMethods(model);
  startStage(model);
  startChoices(model);
  fillImages(model);
  onChange(drawImages);
  onChange(loadAll);
  onChange(drawStage);
  changed();
  addEventListener("hashchange", () => {
    readHash();
    changed();
  });
} catch (error) {
  say(error.message);
}
