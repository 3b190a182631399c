// Review by keyboard. The next parts are fetched ahead, images included, so that a key shows the
// next one at once; the decision travels meanwhile, and its part comes back if that fails.
"use strict";

const AHEAD = 8;
const DEFAULTS = { good: "g", defective: "d", unsure: "u", undo: "z", heatmap: "h",
                   back: "ArrowLeft", skip: "ArrowRight" };
const STORED = "mambaad-review-keys";
const get = id => document.getElementById(id);
const page = get("reviewing");
if (page) start();

function start() {
  const texts = page.dataset, picture = get("picture"), items = JSON.parse(get("first").textContent);
  const images = new Map(), decided = [];
  let at = 0, isFetching = false, isComplete = false, waiting = items.waiting;
  const queue = items.parts;
  let keys = loadKeys();

  function loadKeys() {
    try {
      return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(STORED) || "{}") };
    } catch {
      return { ...DEFAULTS };
    }
  }

  function preload() {
    for (const part of queue.slice(at, at + AHEAD)) {
      for (const source of [part.image, part.heatmap]) {
        if (source && !images.has(source)) {
          const image = new Image();
          image.src = source;
          image.decode?.().catch(() => {});
          images.set(source, image);
        }
      }
    }
    while (images.size > 6 * AHEAD) images.delete(images.keys().next().value);
    if (!isComplete && !isFetching && queue.length - at < AHEAD) more();
  }

  async function more() {
    isFetching = true;
    try {
      const last = queue.at(-1);
      const answer = await fetch(`${texts.queue}?after=${encodeURIComponent(last ? last.id : "")}`,
                                 { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.status);
      const found = await answer.json();
      const known = new Set(queue.map(part => part.id));
      const fresh = found.parts.filter(part => !known.has(part.id));
      const wasAtEnd = at >= queue.length;
      queue.push(...fresh);
      isComplete = !fresh.length;
      if (wasAtEnd && fresh.length) show();
    } catch {
      setTimeout(() => preload(), 2000);
    } finally {
      isFetching = false;
    }
    preload();
  }

  function element(tag, attributes, space) {
    const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function drawn(part) {  // as the macro "picture" does, without regions
    if (!part.image) {
      const none = element("p", { class: "none" });
      none.textContent = part.alt;
      return none;
    }
    if (!part.size) return element("img", { src: part.image, alt: part.alt });
    const [width, height] = part.size, svg = "http://www.w3.org/2000/svg";
    const made = element("svg", { class: "layers", viewBox: `0 0 ${width} ${height}`, role: "img",
                                  "aria-label": part.alt }, svg);
    made.append(element("image", { href: part.image, width, height }, svg));
    if (part.heatmap) {
      made.append(element("image", { class: "over", href: part.heatmap, width, height,
                                     preserveAspectRatio: "none" }, svg));
    }
    return made;
  }

  function show() {
    const part = queue[at];
    get("empty").hidden = Boolean(part);
    page.hidden = !part;
    get("waiting").textContent = new Intl.NumberFormat(document.documentElement.lang).format(
      Math.max(waiting, 0));
    if (!part) return;
    get("decide").elements.holds.value = part.holds;
    get("decide").action = texts.decide.replace("{id}", encodeURIComponent(part.id));
    picture.replaceChildren(drawn(part));
    const field = name => page.querySelector(`[data-field="${name}"]`);
    field("serial").textContent = part.serial || "–";
    field("product").textContent = part.product || "–";
    const time = element("time", { datetime: part.time });
    time.textContent = part.time;
    field("time").replaceChildren(time);
    localTimes(field("time"));
    field("link").href = `/parts/${encodeURIComponent(part.id)}`;
    page.dataset.id = part.id;
    preload();
  }

  function say(text) {
    get("said").textContent = "";
    get("said").textContent = text;
  }

  function failed(reason) {
    get("why").textContent = reason;
    get("failed").hidden = false;
  }

  async function send(path, content) {
    const answer = await fetch(path, {
      method: "POST", keepalive: true,
      headers: { "Content-Type": "application/x-www-form-urlencoded", Accept: "application/json" },
      body: new URLSearchParams({ csrf_token: texts.token, ...content }),
    });
    if (!answer.ok) throw new Error(`(${answer.status})`);
    return answer.json();
  }

  async function decide(word) {
    const part = queue[at];
    if (!part) return;
    get("failed").hidden = true;
    const entry = { part, sent: null };
    decided.push(entry);
    at += 1;
    waiting -= part.decided ? 0 : 1;
    part.decided = word;
    show();
    say(`${texts.decided}: ${texts[word]}`);
    entry.sent = send(texts.decide.replace("{id}", encodeURIComponent(part.id)),
      { decision: word, holds: part.holds });
    try {
      part.holds = (await entry.sent).holds;
    } catch (error) {
      decided.splice(decided.indexOf(entry), 1);
      part.decided = null;
      waiting += 1;
      at = queue.indexOf(part);
      show();
      failed(error.message);
    }
  }

  async function undo() {
    const entry = decided.pop();
    if (!entry) { get("undo-form").submit(); return; }
    at = queue.indexOf(entry.part);
    waiting += 1;
    entry.part.decided = null;
    show();
    try {
      await entry.sent;  // a decision on its way cannot be withdrawn yet
      const undone = await send(texts.undo, { part: entry.part.id, holds: entry.part.holds });
      entry.part.holds = undone.holds;
      say(texts.undone);
    } catch (error) {
      failed(error.message);
    }
  }

  function move(step) {
    if (at + step < 0 || at + step > queue.length) return;
    at += step;
    show();
  }

  function heatmap() {
    const isHidden = picture.classList.toggle("no-heatmap");
    page.querySelector('[data-action="heatmap"]').setAttribute("aria-pressed", String(!isHidden));
  }

  const actions = { good: () => decide("good"), defective: () => decide("defective"),
    unsure: () => decide("unsure"), undo, heatmap, back: () => move(-1), skip: () => move(1) };

  function label(key) {
    return { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "␣" }[key]
      || (key.length === 1 ? key.toUpperCase() : key);
  }

  function showKeys() {
    for (const button of page.querySelectorAll("[data-action]")) {
      button.querySelector("kbd").textContent = label(keys[button.dataset.action]);
    }
    for (const input of document.querySelectorAll("[data-key-of]")) {
      input.value = label(keys[input.dataset.keyOf]);
    }
  }

  function bind(action, key) {
    const other = Object.keys(keys).find(name => keys[name] === key);
    if (other) keys[other] = keys[action];  // two actions trade keys: none is left without one
    keys[action] = key;
    localStorage.setItem(STORED, JSON.stringify(keys));
    showKeys();
  }

  for (const button of page.querySelectorAll("[data-action]")) {
    button.hidden = false;
    button.addEventListener("click", event => {
      event.preventDefault();
      actions[button.dataset.action]();
    });
  }
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || get("keys").open) return;
    if (event.target.closest("input, select, textarea")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = Object.keys(keys).find(name => keys[name] === key);
    if (!action) return;
    event.preventDefault();
    actions[action]();
  });
  for (const input of document.querySelectorAll("[data-key-of]")) {
    input.addEventListener("keydown", event => {
      if (["Tab", "Escape", "Shift", "Control", "Alt", "Meta", "Enter"].includes(event.key)) return;
      event.preventDefault();
      bind(input.dataset.keyOf, event.key.length === 1 ? event.key.toLowerCase() : event.key);
    });
  }
  get("rebind").hidden = false;
  get("rebind").addEventListener("click", () => get("keys").showModal());
  get("keys-done").addEventListener("click", () => get("keys").close());
  get("keys-reset").addEventListener("click", () => {
    keys = { ...DEFAULTS };
    localStorage.removeItem(STORED);
    showKeys();
  });
  showKeys();
  page.dataset.id = queue[0].id;
  preload();
  page.dataset.ready = "yes";
}
