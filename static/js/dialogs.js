// Dialogs and the drawer. Dialogs open and close by `command` attributes, of which older browsers know nothing.
import { HTMX, on } from "./events.js";

export function open(id) {
  const dialog = document.getElementById(id);
  if (!dialog || dialog.open) return;
  document.querySelectorAll(":popover-open").forEach((each) => each.hidePopover());
  dialog.showModal();
  dialog.querySelector("[hx-trigger*='nexus:opened']")?.dispatchEvent(new CustomEvent("nexus:opened", { bubbles: true }));
}

on("click", "[data-dialog]", (event, link) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab gets the page
  event.preventDefault();
  open(link.dataset.dialog);
});
if (!("command" in HTMLButtonElement.prototype)) {
  on("click", "button[commandfor]", (event, button) => {
    const dialog = document.getElementById(button.getAttribute("commandfor"));
    if (button.getAttribute("command") === "close") dialog.close();
    else open(dialog.id);
  });
}
// A click beside a dialog closes it. The dialog itself has no padding, so it is the target only outside its parts.
document.addEventListener("click", (event) => {
  if (event.target instanceof HTMLDialogElement && event.target.open) event.target.close();
});

// The drawer: the focus goes to its title when another thing opens in it, not on each poll, and back when it closes.
let opener = null;
let shown = "";
const drawer = () => document.getElementById("drawer");

on("click", "a[hx-target='#drawer']", (event, link) => { opener = link.dataset.opener ?? link.id; });
document.addEventListener(HTMX.settled, (event) => {
  const place = drawer();
  if (!place?.contains(event.target)) return;
  const title = place.querySelector("[data-drawer-title]");
  const name = title?.dataset.drawerTitle || title?.textContent;
  if (title && name !== shown) title.focus();
  shown = name ?? "";
  document.querySelectorAll("tr.sel").forEach((row) => row.classList.remove("sel"));
  document.getElementById(opener)?.closest("tr")?.classList.add("sel");
});

export function closeDrawer() {
  const place = drawer();
  const close = place?.querySelector("[data-drawer-close]");
  if (!close) return false;
  history.pushState(null, "", close.href);
  place.replaceChildren();
  shown = "";
  document.querySelectorAll("tr.sel").forEach((row) => row.classList.remove("sel"));
  (document.getElementById(opener) ?? document.getElementById("main"))?.focus();
  return true;
}
on("click", "[data-drawer-close]", (event) => {
  event.preventDefault();
  closeDrawer();
});
