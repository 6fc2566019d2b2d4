// Downloads, the link and the Python code of the active map.

import { byId, setText } from "./elements.js";
import { nameOfImage } from "./images.js";
import { maps } from "./maps.js";
import { address, mapParameters } from "./requests.js";
import { active, link, onChange, state } from "./settings.js";

const SHOWN_MS = 2500;

function fileName(end) {
  const { info } = maps[state.active];
  const stem = nameOfImage().replace(/^.*\//, "").replace(/\.\w+$/, "");
  const words = [stem, info.method, info.class?.name.split(",")[0], info.against ? `against ${info.against.name?.split(",")[0] ?? "rivals"}` : ""];
  return `${words.filter(Boolean).join("-").replace(/[^\w.-]+/gu, "_")}.${end}`;
}

// While the map is loading, there is nothing to export.
function drawExports() {
  const { info, key, done } = maps[state.active];
  const isReady = Boolean(info) && key === done;
  const look = { alpha: state.alpha / 100, gray: state.gray ? "1" : "0" };
  const chosen = mapParameters(state.image, active());
  for (const [id, path, more, end] of [["download-png", "overlay.png", look, "png"], ["download-npy", "map.npy", {}, "npy"]]) {
    const anchor = byId(id);
    if (isReady) {
      anchor.href = address(path, { ...chosen, ...more });
      anchor.download = fileName(end);
    } else {
      anchor.removeAttribute("href");
    }
  }
  setText(byId("exported"), state.compare ? `Map ${state.active.toUpperCase()}:` : "");
  byId("copy-python").disabled = !isReady;
  setText(byId("code"), isReady ? info.python : "");
  byId("code-box").hidden = !isReady;
}

// Without TLS, browsers allow clipboard access only on localhost.
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  return isDone;
}

let timer = null;
async function copyAndSay(text, what) {
  const isDone = await copy(text);
  setText(byId("copied"), isDone ? `${what} copied` : "The browser does not allow copying");
  clearTimeout(timer);
  timer = setTimeout(() => setText(byId("copied"), ""), SHOWN_MS);
}

export const copyPython = () => byId("copy-python").disabled || copyAndSay(byId("code").textContent, "Python code");

byId("copy-python").addEventListener("click", copyPython);
byId("copy-link").addEventListener("click", () => copyAndSay(link(), "Link"));
onChange(drawExports);
