// Theme, time zone, times that pass, and refreshing a page by itself.
import { HTMX, action, cookie, hasCookie, on } from "./events.js";

const root = document.documentElement;
const NEXT = { system: "light", light: "dark", dark: "system" };

function chooseTheme(theme) {
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  cookie("theme", theme === "system" ? "" : theme, theme === "system" ? 0 : 365);
  const button = document.getElementById("theme-button");
  if (!button) return;
  button.value = NEXT[theme];
  button.setAttribute("aria-label", `Theme: ${theme}. Switch to ${NEXT[theme]}`);
}
action("theme", () => chooseTheme(NEXT[root.dataset.theme ?? "system"]));
on("submit", "[data-theme-form]", (event) => {
  event.preventDefault();
  chooseTheme(event.submitter?.value ?? NEXT[root.dataset.theme ?? "system"]);
});

// The server writes times in the viewer's zone from the second page on.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !hasCookie("tz", zone)) cookie("tz", zone);

const UNITS = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"]];
function ago(seconds) {
  if (seconds >= 0 && seconds < 5) return "just now";
  const unit = UNITS.find(([below]) => Math.abs(seconds) < below);
  if (!unit) return null; // a date, which does not change
  const told = `${Math.floor(Math.abs(seconds) / unit[1])} ${unit[2]}`;
  return seconds < 0 ? `in ${told}` : `${told} ago`;
}
function passTime() {
  if (document.hidden) return;
  for (const each of document.querySelectorAll("time[data-ago]")) {
    const told = ago((Date.now() - Date.parse(each.dateTime)) / 1000);
    if (told && told !== each.textContent) each.textContent = told;
  }
  for (const each of document.querySelectorAll("time[data-countdown]")) {
    const left = Math.max(0, Math.round((Date.parse(each.dateTime) - Date.now()) / 1000));
    each.textContent = `${String(Math.floor(left / 60)).padStart(2, "0")}:${String(left % 60).padStart(2, "0")}`;
  }
}
setInterval(passTime, 1000);
passTime();

// Refresh: the page as it is at this address; only its middle is put in, and the focus stays on what has an id.
function refresh() {
  if (!document.getElementById("main") || !window.htmx) return location.reload();
  const headers = { "HX-Boosted": "true" }; // the whole page is wanted, not a fragment of it
  window.htmx.ajax("GET", location.pathname + location.search, { target: "#main", select: "#main", swap: "outerHTML", headers });
}
action("refresh", refresh);

let timer;
function refreshEvery(seconds) {
  clearInterval(timer);
  if (seconds > 0) timer = setInterval(() => document.hidden || document.querySelector("dialog[open], :popover-open, #main :focus-within:is(input, textarea, select)") || refresh(), seconds * 1000);
}
on("click", "[data-refresh]", (event, choice) => {
  cookie("refresh", choice.dataset.refresh);
  choice.closest("[popover]").hidePopover();
  const button = document.getElementById("refresh-button");
  button.firstChild.textContent = choice.textContent.trim();
  button.setAttribute("aria-label", `Refresh by itself: ${choice.textContent.trim()}`);
  for (const each of document.querySelectorAll("[data-refresh]")) each.setAttribute("aria-pressed", each === choice);
  refreshEvery(Number(choice.dataset.refresh));
});
refreshEvery(Number(document.querySelector("[data-refresh-every]")?.dataset.refreshEvery ?? 0));

// ⌘ on a Mac, Ctrl elsewhere.
if (/Mac|iPhone|iPad/.test(navigator.platform)) {
  for (const each of document.querySelectorAll("[data-mod]")) each.textContent = "⌘K";
}
document.addEventListener(HTMX.settled, passTime);
