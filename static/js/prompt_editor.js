// Marks {{variables}} behind a text field. Both lie in one grid cell and wrap alike; the box around them scrolls.
import { HTMX } from "./events.js";

const TAG = /\\\{\{|\{\{\s*[A-Za-z_]\w*\s*(?:\|[^{}]*)?\}\}|\{\{[^\n]*?(?:\}\}|(?=\n|$))/g;
const GOOD = /^\{\{\s*[A-Za-z_]\w*\s*(?:\|[^{}]*)?\}\}$/;

function draw(editor) {
  const [below, field] = [editor.querySelector("pre"), editor.querySelector("textarea")];
  const text = field.value;
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(TAG)) {
    if (match[0].startsWith("\\")) continue; // an escaped one is plain text
    parts.push(text.slice(from, match.index));
    const mark = document.createElement("mark");
    mark.textContent = match[0];
    mark.classList.toggle("wrong", !GOOD.test(match[0]));
    parts.push(mark);
    from = match.index + match[0].length;
  }
  below.replaceChildren(...parts, `${text.slice(from)}\n`); // a last empty line takes room in the field too
}

function adopt(root) {
  for (const editor of root.querySelectorAll("[data-prompt-editor]:not([data-drawn])")) {
    editor.dataset.drawn = "";
    editor.addEventListener("input", () => draw(editor));
    draw(editor);
  }
}
adopt(document);
document.addEventListener(HTMX.settled, () => adopt(document));
