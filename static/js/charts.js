// Shows a chart's numbers under the pointer. They come from its own table or its bars, so they are in the page once.
const put = (parent, tag, text) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
};

function show(figure, event) {
  const box = figure.querySelector(".area-box");
  const rows = figure.querySelectorAll(".hits a, .as-table tbody tr");
  if (!rows.length) return;
  const frame = box.getBoundingClientRect();
  const share = (event.clientX - frame.left) / frame.width;
  if (share < 0 || share >= 1) return hide(figure);
  const index = Math.floor(share * rows.length);
  const middle = (index + 0.5) / rows.length;
  const cross = box.querySelector(".cross");
  for (const end of ["x1", "x2"]) cross.setAttribute(end, `${middle * 100}%`);
  cross.setAttribute("visibility", "visible");
  const tip = figure.querySelector(".chart-tip");
  if (tip.dataset.index !== String(index)) fill(tip, figure, rows[index], index);
  tip.hidden = false;
  const outer = figure.querySelector(".plot").getBoundingClientRect();
  const x = frame.left - outer.left + middle * frame.width;
  const left = x + 14 + tip.offsetWidth > outer.width ? x - 14 - tip.offsetWidth : x + 14;
  tip.style.setProperty("transform", `translateX(${Math.max(left, 0)}px)`);
}

function fill(tip, figure, row, index) {
  tip.dataset.index = index;
  tip.replaceChildren();
  if (!row.cells) { // a bar: "14:00: 312 answered, 4 failed"
    const [when, ...told] = row.ariaLabel.split(": ");
    put(tip, "b", when);
    for (const each of told.join(": ").split(", ")) put(put(tip, "div"), "span", each);
    return;
  }
  put(tip, "b", row.cells[0].textContent);
  const heads = [...figure.querySelectorAll(".as-table thead th")];
  for (let at = heads.length - 1; at > 0; at -= 1) { // as they stand on one another
    const line = put(tip, "div");
    put(line, "i").className = `s${heads[at].dataset.slot}`;
    put(line, "span", heads[at].textContent);
    put(line, "b", row.cells[at].textContent);
  }
}

function hide(figure) {
  figure.querySelector(".chart-tip").hidden = true;
  figure.querySelector(".cross").setAttribute("visibility", "hidden");
}

document.addEventListener("pointermove", (event) => {
  const figure = event.target.closest?.("[data-chart]");
  const plot = event.target.closest?.(".plot");
  for (const each of document.querySelectorAll("[data-chart] .chart-tip:not([hidden])")) {
    if (!plot || each.closest("[data-chart]") !== figure) hide(each.closest("[data-chart]"));
  }
  if (figure && plot) show(figure, event);
});
