// htmx 2 calls its events by these names; htmx 4 calls some of them otherwise. They stand here and nowhere else.
export const HTMX = {
  asked: "htmx:configRequest",
  before: "htmx:beforeRequest",
  after: "htmx:afterRequest",
  settled: "htmx:afterSettle",
  refused: "htmx:responseError",
  unreachable: "htmx:sendError",
};

// Actions by name, for buttons (data-action), for the palette and for shortcuts.
const actions = new Map();
export const action = (name, run) => actions.set(name, run);
export const act = (name) => actions.get(name)?.();

export const on = (name, selector, run) =>
  document.addEventListener(name, (event) => {
    const found = event.target.closest?.(selector);
    if (found) run(event, found);
  });

on("click", "[data-action]", (event, button) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  button.closest("[popover]")?.hidePopover();
  button.closest("dialog")?.close();
  act(button.dataset.action);
});

export const cookie = (name, value, days = 365) => {
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${name}=${encodeURIComponent(value)}; path=/; max-age=${days * 86400}; samesite=lax${secure}`;
};
export const hasCookie = (name, value) =>
  document.cookie.split("; ").includes(`${name}=${encodeURIComponent(value)}`);
