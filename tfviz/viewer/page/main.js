// The entry point: restores the view from the address, then connects to the server.

import { drawAbout, drawChoices, drawFocusBar } from "./choices.js";
import { drawCards } from "./cards.js";
import { connect } from "./connection.js";
import { drawCurves } from "./curves.js";
import { byId } from "./elements.js";
import { load, runs } from "./runs.js";
import { changed, onChange, readHash, state } from "./state.js";
import { drawTimeline } from "./timeline.js";
import "./keyboard.js";

const AGE_EVERY_MS = 5000;

byId("example-here").textContent = `import tfviz

methods = ["grad_cam", "visual_backprop"]
snapshots = tfviz.SnapshotCallback(methods, images, log_dir="runs/first")
model.fit(x, y, callbacks=[snapshots])`;
byId("example-there").textContent = `tfviz.SnapshotCallback(..., viewer="${location.origin}", token=...)`;

// Chooses the run in the address, or the newest.
function chooseRun() {
  if (state.run && runs.has(state.run)) return;
  state.playing = false;
  const first = runs.keys().next().value ?? null;
  if (!first) return;
  if (state.run) Object.assign(state, { at: 0, live: true, focus: null, methods: null, images: null });
  state.run = first;
}

// Runs that are not shown are not kept up to date, so a run is loaded when it becomes visible.
let shown = [];
function loadShown() {
  const now = [state.run, state.compare].filter((id) => id && runs.has(id));
  for (const id of now) if (!shown.includes(id)) load(id);
  shown = now;
}

onChange(chooseRun);
onChange(loadShown);
onChange(drawTimeline);
onChange(drawChoices);
onChange(drawCards);
onChange(drawFocusBar);
onChange(drawCurves);

addEventListener("hashchange", () => {
  readHash();
  changed();
});
setInterval(drawAbout, AGE_EVERY_MS);

readHash();
changed();
connect();
