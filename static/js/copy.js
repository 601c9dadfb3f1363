// Copy buttons. Without a clipboard (plain http) the text is selected and the key is named.
import { HTMX, on } from "./events.js";
import { toast } from "./toasts.js";

const DONE = 1600; // milliseconds
let uncopied = null; // a secret that nobody has copied yet

async function copy(text, source, button) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), DONE);
      return true;
    } catch (error) {
      if (error.name !== "NotAllowedError") throw error;
    }
  }
  if (source) {
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
  }
  toast(`Press ${/Mac/.test(navigator.platform) ? "⌘" : "Ctrl "}C to copy.`);
  return false;
}

on("click", "[data-copy]", async (event, button) => {
  const source = document.getElementById(button.dataset.copy);
  await copy(source.value ?? source.textContent, source, button);
  if (button.closest("[data-leave]")) uncopied = null;
});
on("click", "[data-copy-text]", (event, button) => copy(new URL(button.dataset.copyText, location.href).href, null, button));
on("copy", "[data-leave]", () => { uncopied = null; });

uncopied = document.querySelector("[data-leave]");
// What a form has answered is not to be asked for again: a reload goes to another address.
const address = document.querySelector("[data-address]")?.dataset.address;
if (address) history.replaceState(null, "", address);
addEventListener("beforeunload", (event) => {
  if (uncopied?.isConnected) event.preventDefault();
});
document.addEventListener(HTMX.settled, (event) => {
  uncopied = event.target.closest?.("[data-leave]") ?? event.target.querySelector?.("[data-leave]") ?? uncopied;
});
