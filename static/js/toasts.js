// Toasts: of the page itself, of an answer's HX-Trigger, and for requests that failed.
import { HTMX, on } from "./events.js";

const STAY = 6000; // milliseconds

function arm(toast) {
  if (toast.classList.contains("error")) return; // stays until it is dismissed
  let timer = setTimeout(() => toast.remove(), STAY);
  const hold = () => clearTimeout(timer);
  const release = () => { hold(); timer = setTimeout(() => toast.remove(), STAY); };
  toast.addEventListener("pointerenter", hold);
  toast.addEventListener("focusin", hold);
  toast.addEventListener("pointerleave", release);
  toast.addEventListener("focusout", release);
}

export function toast(text, tone = "") {
  const template = document.getElementById("toast-template");
  const place = document.getElementById(tone === "error" ? "alerts" : "toasts");
  if (!template || !place) return;
  const made = template.content.cloneNode(true).querySelector("[data-toast]");
  if (tone) made.classList.add(tone);
  made.querySelector("p").textContent = text;
  place.append(made);
  arm(made);
}

// Says a change of state to those who do not see it.
export function announce(text) {
  const place = document.getElementById("announcer");
  if (place) place.textContent = text;
}

document.querySelectorAll("[data-toast]").forEach(arm);
on("click", "[data-toast-close]", (event, button) => button.closest("[data-toast]").remove());
document.addEventListener("toast", (event) => {
  for (const each of event.detail.items ?? []) toast(each.text, each.tone);
});

const polls = (element) => /\bevery\b/.test(element.getAttribute?.("hx-trigger") ?? "");
document.addEventListener(HTMX.refused, ({ detail }) => {
  if (polls(detail.elt) || detail.xhr.getResponseHeader("HX-Redirect")) return; // a poll shows that it is stale instead
  const id = detail.xhr.getResponseHeader("x-request-id");
  toast(`The server answered ${detail.xhr.status}.${id ? ` Request ${id}.` : ""}`, "error");
});
document.addEventListener(HTMX.unreachable, ({ detail }) => {
  if (!polls(detail.elt)) toast("The server cannot be reached. What you see is the last it said.", "error");
});
