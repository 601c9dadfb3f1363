// Keyboard shortcuts. Single keys are ignored while one types, and can be switched off (WCAG 2.1.4).
import { act, action } from "./events.js";
import { closeDrawer, open } from "./dialogs.js";

const OFF = "nexus-shortcuts-off";
const GO_WITHIN = 1200; // milliseconds from the g to its letter
let went = 0;

const typing = (element) => element?.closest?.("input, textarea, select, [contenteditable]");

function move(step) {
  const drawn = document.querySelector(step > 0 ? "#drawer [data-drawer-next]" : "#drawer [data-drawer-previous]");
  if (drawn) return drawn.click();
  const rows = [...document.querySelectorAll("main a.stretch, main a[data-row]")];
  const at = rows.indexOf(document.activeElement);
  rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1)]?.focus();
}

function toggleSidebar() {
  const side = document.getElementById("side");
  if (matchMedia("(max-width: 860px)").matches) side?.togglePopover();
  else document.querySelector(".app")?.classList.toggle("wide");
}

const KEYS = {
  "/": () => document.querySelector("[data-search]")?.focus() ?? open("palette"),
  "?": () => act("help"),
  j: () => move(1),
  k: () => move(-1),
  r: () => act("refresh"),
  t: () => act("theme"),
  "[": toggleSidebar,
};
action("help", () => open("kbd-help"));

document.addEventListener("keydown", (event) => {
  if ((event.metaKey || event.ctrlKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    return open("palette");
  }
  if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.key === "Escape" && !document.querySelector("dialog[open], :popover-open")) return void closeDrawer();
  if (typing(event.target) || document.querySelector("dialog[open]") || localStorage.getItem(OFF)) return;
  if (Date.now() - went < GO_WITHIN) {
    went = 0;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  if (event.key === "g") { went = Date.now(); return; }
  const run = KEYS[event.key];
  if (!run) return;
  event.preventDefault();
  run();
});

const choice = document.getElementById("shortcuts-on");
if (choice) {
  choice.checked = !localStorage.getItem(OFF);
  choice.addEventListener("change", () => {
    if (choice.checked) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
  });
}
