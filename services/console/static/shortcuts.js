// Single keys: "/" searches, "j" and "k" go through a list, "?" lists them. They can be switched off there.
const dialog = document.getElementById("shortcuts");

function isTyping(target) {
  return target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row.checkVisibility());
  if (!rows.length) return;
  const focused = rows.indexOf(document.activeElement);
  const current = focused >= 0 ? focused : rows.findIndex((row) => row.hasAttribute("aria-current"));
  const next = current < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(current + by, 0), rows.length - 1);
  rows[next].focus();
}

const ACTIONS = {
  "/": () => [...document.querySelectorAll("[data-search]")].find((field) => field.checkVisibility())?.focus(),
  j: () => step(1),
  k: () => step(-1),
  "?": () => dialog.showModal(),
};

if (dialog) {
  for (const button of document.querySelectorAll("[data-opens=shortcuts]")) {
    button.hidden = false;
    button.addEventListener("click", () => dialog.showModal());
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || dialog.open) return;
    if (!(event.key in ACTIONS) || "noShortcuts" in document.body.dataset) return;
    event.preventDefault();
    ACTIONS[event.key]();
  });
}
