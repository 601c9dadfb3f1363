// Polled regions: silent in hidden tabs, at once when one comes back, slower and openly stale after failures.
import { HTMX } from "./events.js";

const SLOWER = [0, 0, 10_000, 30_000]; // milliseconds between tries after so many failures in a row
const regions = new WeakMap(); // by id where there is one: an outerHTML swap replaces the element
const byId = new Map();
const polls = (element) => /\bevery\b/.test(element.getAttribute?.("hx-trigger") ?? "");

function stateOf(element) {
  const fresh = { failures: 0, tried: 0, good: Date.now() };
  if (element.id) return byId.get(element.id) ?? byId.set(element.id, fresh).get(element.id);
  return regions.get(element) ?? regions.set(element, fresh).get(element);
}

document.addEventListener(HTMX.before, (event) => {
  const element = event.detail.elt;
  if (!polls(element)) return;
  const state = stateOf(element);
  const pause = SLOWER[Math.min(state.failures, SLOWER.length - 1)];
  const reading = element.matches("[data-pausable]") && element.matches(":hover, :focus-within");
  if (document.hidden || reading || element.closest("[data-paused]") || Date.now() - state.tried < pause) {
    event.preventDefault();
    return;
  }
  state.tried = Date.now();
});

document.addEventListener(HTMX.after, ({ detail }) => {
  const element = detail.elt;
  if (!polls(element)) return;
  const state = stateOf(element);
  state.failures = detail.successful ? 0 : state.failures + 1;
  if (detail.successful) state.good = Date.now();
  show(document.getElementById(element.id) ?? element, state);
});

function show(element, state) {
  const stale = state.failures >= 2;
  element.toggleAttribute("data-stale", stale);
  const live = element.querySelector("[data-live]");
  const text = live?.querySelector("[data-live-text]");
  if (!text) return;
  const clock = new Date(state.good).toTimeString().slice(0, 8);
  text.textContent = stale ? `Last updated ${clock}, retrying` : live.dataset.live;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || !window.htmx) return;
  for (const element of document.querySelectorAll("[hx-trigger*='every']")) {
    stateOf(element).tried = 0;
    window.htmx.ajax("GET", element.getAttribute("hx-get"), { source: element });
  }
});
