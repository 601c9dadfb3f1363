// Tables to which new rows are added at the top: asks for what came after the first row, and keeps the table short.
import { HTMX } from "./events.js";

const MOST = 200; // rows, where the table does not say

document.addEventListener(HTMX.asked, ({ detail }) => {
  if (!detail.elt.matches?.("[data-live-rows]")) return;
  detail.parameters.after = detail.elt.querySelector("tbody tr")?.dataset.id ?? "";
});
document.addEventListener(HTMX.settled, (event) => {
  const list = event.target.closest?.("[data-live-rows]");
  if (!list) return;
  for (const old of [...list.querySelectorAll("tbody tr")].slice(Number(list.dataset.liveRows) || MOST)) old.remove();
  if (list.querySelector("tbody tr")) list.querySelector(".none")?.remove();
});
