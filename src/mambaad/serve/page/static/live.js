// The live view: the server says that something happened, and the page fetches its middle again.
"use strict";

const live = document.getElementById("live");
const cut = document.getElementById("cut");
const pause = document.getElementById("pause");
const LEAST = 300;  // milliseconds between two fetches
const SETTLED = 2500;  // then the server's counts, which it keeps for a while, are those of now
let isPaused = false, isDue = false, isFetching = false, last = 0, settling = 0;

async function refresh() {
  if (isPaused || isFetching) { isDue = true; return; }
  const wait = last + LEAST - performance.now();
  isFetching = true;
  isDue = false;
  if (wait > 0) await new Promise(done => setTimeout(done, wait));
  last = performance.now();
  try {
    const answer = await fetch(live.dataset.fragment, { headers: { Accept: "text/html" } });
    if (answer.status === 401 || answer.status === 403) { location.reload(); return; }
    if (!answer.ok) throw new Error(answer.status);
    const text = await answer.text();
    if (!isPaused) {
      const focused = document.activeElement?.closest("#live a")?.getAttribute("href");
      live.innerHTML = text;  // from our own server's template, which escapes what it shows
      localTimes(live);
      if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    }
    cut.hidden = true;
  } catch {
    cut.hidden = false;
  } finally {
    isFetching = false;
    if (isDue) refresh();
  }
}

function changed() {
  clearTimeout(settling);
  settling = setTimeout(refresh, SETTLED);
  refresh();
}

function listen() {
  const events = new EventSource(live.dataset.events);
  for (const kind of ["inspection", "decision", "bundle_use"]) {
    events.addEventListener(kind, changed);
  }
  events.addEventListener("open", refresh);
  events.addEventListener("error", () => {
    cut.hidden = false;
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
}

pause.hidden = false;
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.textContent = isPaused ? pause.dataset.on : pause.dataset.off;
  if (!isPaused) refresh();
});
setInterval(refresh, 60000);  // counts of the last hours change without a new part, too
listen();
