// Requests to the server, and its errors.

import { byId } from "./elements.js";

// Identifies this page, so that the server drops only this page's older requests.
const PAGE = [...crypto.getRandomValues(new Uint8Array(8))].map((one) => one.toString(16).padStart(2, "0")).join("");

export class Failure extends Error {
  constructor(reason, status) {
    super(reason);
    this.status = status;
  }
}

export function address(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  return `api/${path}?${new URLSearchParams(given)}`;
}

export function mapParameters(image, setting) {
  return { image, method: setting.method, layer: setting.layer, target: setting.target, against: setting.against };
}

// Returns the parameters that make a request replace older ones from the same side.
export const asker = (side) => ({ page: PAGE, side });

export async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server is not responding. Is it still running?", 0);
  }
  if (response.ok) return response;
  const content = await response.json().catch(() => ({}));
  throw new Failure(content.detail ?? `The server answered with status ${response.status}.`, response.status);
}

export const askJson = async (url, options) => (await ask(url, options)).json();

export function say(text) {
  const element = byId("message");
  element.textContent = text;
  element.hidden = !text;
}
