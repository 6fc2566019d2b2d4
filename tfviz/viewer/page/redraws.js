// Redraws of a page after its choices changed.

// Returns functions that share `state`. All changes until the next frame cause one redraw, and `afterwards` runs after it.
export function redraws(state, afterwards) {
  const listeners = [];
  let isDue = false;

  function changed() {
    if (isDue) return;
    isDue = true;
    const redraw = () => {
      isDue = false;
      for (const listener of listeners) listener();
      afterwards();
    };
    if (document.hidden) setTimeout(redraw, 200);
    else requestAnimationFrame(redraw);
  }

  function onChange(listener) {
    listeners.push(listener);
  }

  function set(changes) {
    Object.assign(state, changes);
    changed();
  }

  return { changed, onChange, set };
}
