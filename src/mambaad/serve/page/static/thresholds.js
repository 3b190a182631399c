// Thresholds on the histogram: sliders and grips, and the rates that the server states for them.
"use strict";

const plot = document.getElementById("plot");
if (plot) {
  const form = document.getElementById("what-if");
  const effect = document.getElementById("effect");
  const save = document.getElementById("save");
  const low = Number(plot.dataset.low), high = Number(plot.dataset.high);
  const LEFT = 20, WIDTH = 760;  // of the plot's axis, as in plots.py
  const names = ["review", "fail"];
  let timer = 0, asked = 0;

  const field = name => document.getElementById(name);
  const range = name => document.getElementById(`${name}-range`);

  function place(name, value) {
    const x = LEFT + WIDTH * Math.min(Math.max((value - low) / (high - low), 0), 1);
    plot.querySelector(`[data-limit="${name}"]`).setAttribute("transform", `translate(${x} 0)`);
  }

  function set(name, value) {
    value = Math.min(Math.max(value, low), high);
    const review = name === "review" ? value : Math.min(Number(field("review").value), value);
    const fail = name === "fail" ? value : Math.max(Number(field("fail").value), value);
    for (const [other, its] of [["review", review], ["fail", fail]]) {
      field(other).value = String(Number(its.toPrecision(6)));
      range(other).value = its;
      place(other, its);
      if (save) save.elements[other].value = field(other).value;
    }
    clearTimeout(timer);
    timer = setTimeout(state, 120);
  }

  async function state() {
    const number = ++asked;
    const query = new URLSearchParams({ review: field("review").value, fail: field("fail").value });
    const answer = await fetch(`${form.dataset.fragment}?${query}`);
    if (answer.ok && number === asked) effect.innerHTML = await answer.text();
  }

  for (const name of names) {
    range(name).hidden = false;
    range(name).addEventListener("input", () => set(name, Number(range(name).value)));
    field(name).addEventListener("change", () => {
      if (field(name).value !== "") set(name, Number(field(name).value));
    });
    const group = plot.querySelector(`[data-limit="${name}"]`);
    group.addEventListener("pointerdown", event => {
      event.preventDefault();
      group.setPointerCapture(event.pointerId);
      const drag = move => {
        const box = plot.getBoundingClientRect();
        const x = (move.clientX - box.left) / box.width * 800;
        set(name, low + (x - LEFT) / WIDTH * (high - low));
      };
      group.addEventListener("pointermove", drag);
      group.addEventListener("pointerup", () => group.removeEventListener("pointermove", drag),
                             { once: true });
    });
  }
  form.querySelector("button").hidden = true;
  form.addEventListener("submit", event => { event.preventDefault(); state(); });
}
