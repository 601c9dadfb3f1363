// The palette: the server finds, these keys choose. The focus stays in the field (aria-activedescendant).
import { HTMX } from "./events.js";

const dialog = document.getElementById("palette");
const field = document.getElementById("palette-q");
const options = () => [...dialog.querySelectorAll("[role='option']:not([aria-disabled])")];

function choose(index) {
  const all = options();
  all.forEach((each, number) => each.setAttribute("aria-selected", number === index));
  const chosen = all[index];
  if (!chosen) return field.removeAttribute("aria-activedescendant");
  field.setAttribute("aria-activedescendant", chosen.id);
  chosen.scrollIntoView({ block: "nearest" });
}

if (dialog && field) {
  const at = () => options().findIndex((each) => each.getAttribute("aria-selected") === "true");
  field.addEventListener("keydown", (event) => {
    const all = options();
    if (event.key === "ArrowDown") choose((at() + 1) % all.length);
    else if (event.key === "ArrowUp") choose((at() - 1 + all.length) % all.length);
    else if (event.key === "Enter") all[Math.max(at(), 0)]?.click();
    else return;
    event.preventDefault();
  });
  dialog.addEventListener(HTMX.settled, () => choose(0));
  dialog.addEventListener("pointermove", (event) => {
    const index = options().indexOf(event.target.closest("[role='option']"));
    if (index >= 0 && index !== at()) choose(index);
  });
  dialog.addEventListener("close", () => { field.value = ""; });
}
