"use strict";
// The view of all pictures (image, heatmap, outline), and the enlarged picture.
(() => {
  const viewer = document.getElementById("viewer");
  const find = selector => viewer.querySelector(selector);
  const views = ["image", "heat", "outline"];
  let at = null;

  const shots = () => [...document.querySelectorAll(".shot")].filter(
    shot => shot.checkVisibility ? shot.checkVisibility() : shot.offsetParent);

  function show(view) {
    document.body.dataset.view = view;
    for (const radio of document.querySelectorAll(".views input")) {
      radio.checked = radio.value === view;
    }
  }

  function draw() {
    const all = shots(), stack = at.querySelector(".stack").cloneNode(true);
    const ratio = Number(at.dataset.ratio) || 1;
    stack.style.cssText = `aspect-ratio: ${ratio}; width: min(100%, calc((100dvh - 15rem) * ${ratio}))`;
    for (const image of stack.querySelectorAll("img")) image.loading = "eager";
    find(".stage").replaceChildren(stack);
    find("h2").textContent = at.dataset.name;
    find(".said").textContent = at.dataset.said || "";
    find(".place").textContent = `${all.indexOf(at) + 1} of ${all.length}`;
    find(".back").disabled = at === all[0];
    find(".on").disabled = at === all[all.length - 1];
  }

  function go(step) {
    const all = shots(), next = all[all.indexOf(at) + step];
    if (!next) return;
    at = next;
    const focused = document.activeElement;
    draw();
    if (focused.disabled) find(".close").focus();
  }

  document.addEventListener("click", event => {
    const shot = event.target.closest(".shot");
    if (shot) {
      at = shot;
      draw();
      viewer.showModal();
    } else if (event.target === viewer) viewer.close();
  });
  document.addEventListener("change", event => {
    if (event.target.closest(".views")) show(event.target.value);
  });
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.matches("input[type=search], select")) return;
    if (views["123".indexOf(event.key)]) show(views["123".indexOf(event.key)]);
    if (!viewer.open || event.target.matches("input")) return;
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  find(".back").addEventListener("click", () => go(-1));
  find(".on").addEventListener("click", () => go(1));
  find(".close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", () => { if (at && at.isConnected) at.focus(); });
  show(document.body.dataset.view);
})();
