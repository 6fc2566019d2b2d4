// The strip of images, and uploads.

import { byId, make } from "./elements.js";
import { address, askJson, say } from "./requests.js";
import { changed, set, state } from "./settings.js";

export const images = []; // { id, name }
let largest = Infinity;

export function fillImages(model) {
  largest = model.image_bytes;
  images.push(...model.images);
  if (state.image && !images.some((one) => one.id === state.image)) {
    if (state.image.startsWith("upload/")) images.unshift({ id: state.image, name: "Dropped image" });
    else say(`There is no image “${state.image.replace(/^file\//, "")}” here.`);
  }
  if (!images.some((one) => one.id === state.image)) state.image = images[0]?.id ?? null;
  if (model.left_out) byId("images").dataset.more = `and ${model.left_out} more that are not listed`;
  draw();
}

function thumbnail(one) {
  const box = make("input", { type: "radio", name: "image", value: one.id, "aria-label": one.name });
  box.addEventListener("change", () => openImage(one.id));
  return make("label", { title: one.name }, box, make("img", { src: address("thumbnail.png", { image: one.id }), alt: "", loading: "lazy" }));
}

function draw() {
  byId("images").replaceChildren(...images.map(thumbnail));
  byId("image-field").hidden = !images.length;
}

export function openImage(id) {
  say("");
  set({ image: id });
}

// Remove an image from the strip if the server no longer has it.
export function forget(id) {
  const place = images.findIndex((one) => one.id === id);
  if (place < 0 || !id.startsWith("upload/")) return;
  images.splice(place, 1);
  draw();
}

export function stepImage(by) {
  const at = images.findIndex((one) => one.id === state.image);
  if (images.length) openImage(images[(at + by + images.length) % images.length].id);
}

export function nameOfImage() {
  return images.find((one) => one.id === state.image)?.name ?? "image";
}

export async function upload(file) {
  if (!file) return;
  if (file.size > largest) {
    say(`${file.name} has ${file.size} bytes, but an image file may have at most ${largest}.`);
    return;
  }
  try {
    const made = await askJson(address("images", { name: file.name || "image" }), { method: "POST", body: file });
    if (!images.some((one) => one.id === made.id)) {
      images.unshift(made);
      draw();
    }
    openImage(made.id);
  } catch (error) {
    say(error.message);
  }
}

export function drawImages() {
  for (const box of byId("images").querySelectorAll("input")) {
    const isChosen = box.value === state.image;
    if (isChosen && !box.checked) box.parentElement.scrollIntoView({ block: "nearest", inline: "nearest" });
    box.checked = isChosen;
  }
  byId("empty").hidden = Boolean(state.image);
  byId("workspace").hidden = !state.image;
}

byId("file").addEventListener("change", (event) => {
  upload(event.target.files[0]);
  event.target.value = "";
});

let depth = 0;
const showDrop = (isOver) => {
  byId("drop").hidden = !isOver;
};
addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth += 1;
  showDrop(true);
});
addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  if (!depth) showDrop(false);
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  showDrop(false);
  const file = event.dataTransfer?.files[0];
  if (file) upload(file);
  else say("That is not a file. Drop an image file.");
  changed();
});
addEventListener("paste", (event) => upload(event.clipboardData?.files[0]));
