// Refreshes parts of a page by htmx: quickly what moves, slowly the rest, and nothing in a tab that is not seen.
// The feed's waits follow one another by themselves; here they only begin anew after a failure.
const QUICK = 2000;
const SLOW = 30000;
const LONGEST_PAUSE = 30000;
let beats = 0;
let pause = 1000;

setInterval(() => {
  beats += 1;
  const everything = beats % (SLOW / QUICK) === 0;
  if (document.hidden) return;
  for (const part of document.querySelectorAll(everything ? "[data-refreshes]" : "[data-live]")) {
    part.dispatchEvent(new CustomEvent("refresh"));
  }
}, QUICK);

// A failure must not take the place of what the page shows.
document.addEventListener("htmx:before:swap", (event) => {
  const status = event.detail.ctx?.response?.raw?.status ?? 200;
  if (status >= 400 && event.target.closest?.("[data-refreshes], [data-tail]")) event.preventDefault();
});

function say(word) {
  const state = document.querySelector("#tail-state span");
  if (state && state.textContent !== word) state.textContent = word;
}

function beginAnew(event) {
  const tail = document.querySelector("[data-tail]");
  if (!tail || !event.target.closest?.("[data-tail]")) return;
  say("Reconnecting");
  setTimeout(() => tail.dispatchEvent(new CustomEvent("again")), pause);
  pause = Math.min(pause * 2, LONGEST_PAUSE);
}

document.addEventListener("htmx:error", beginAnew);
document.addEventListener("htmx:response:error", beginAnew);
document.addEventListener("htmx:after:swap", () => {
  if (!document.querySelector("[data-tail]")) return;
  pause = 1000;
  say("Following");
});
