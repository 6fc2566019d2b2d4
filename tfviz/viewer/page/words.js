// The page's texts.

const MEANINGS = {
  heatmap: "zero to the strongest value of each map",
  signed: "negative to positive, dark is zero",
  grey: "negative to positive, gray is zero",
};

export function noun(run) {
  return run.kind ?? "image";
}

export function nameOf(run, image) {
  return `${noun(run)[0].toUpperCase()}${noun(run).slice(1)} ${image + 1}`;
}

// Signals are black lines, so their maps have light colors.
export function isLight(run) {
  return noun(run) === "signal";
}

export function meaning(run, style) {
  return isLight(run) ? MEANINGS[style].replace("dark is zero", "white is zero") : MEANINGS[style];
}

const whole = new Intl.NumberFormat("en");
const DIGITS = 4;

export function count(number, noun) {
  return `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

export function value(number) {
  if (number === null || number === undefined) return "–";
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size >= 1e6 || size < 1e-3) return number.toExponential(2);
  return Number(number.toPrecision(DIGITS)).toString();
}

export function moment(record) {
  if (record.when === "start") return record.step ? `Continued at step ${whole.format(record.step)}` : "Before training";
  const batch = record.batch === null ? "" : ` · batch ${whole.format(record.batch)}`;
  const end = record.when === "end" ? " · end of training" : "";
  return `Epoch ${whole.format(record.epoch + 1)}${batch} · step ${whole.format(record.step)}${end}`;
}

export function continued(isOther) {
  return isOther ? "Training continued with different weights than in the previous snapshot" : "Training continued";
}

export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function day(seconds) {
  return new Date(seconds * 1000).toLocaleString([], { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

export function ago(seconds) {
  const past = Math.max(0, Date.now() / 1000 - seconds);
  if (past < 5) return "just now";
  if (past < 90) return `${Math.round(past)} s ago`;
  if (past < 5400) return `${Math.round(past / 60)} min ago`;
  return day(seconds);
}

export function step(number) {
  return whole.format(number);
}

export function label(run, index) {
  return (run.labels && run.labels[index]) || `class ${index}`;
}
