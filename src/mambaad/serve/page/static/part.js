// One part: its heatmap on and off, and the parts beside it by the arrow keys.
"use strict";

const picture = document.getElementById("picture");
const heatmap = document.getElementById("heatmap");

function toggleHeatmap() {
  const isHidden = picture.classList.toggle("no-heatmap");
  heatmap.setAttribute("aria-pressed", String(!isHidden));
}

if (heatmap) {
  heatmap.hidden = false;
  heatmap.addEventListener("click", toggleHeatmap);
}
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest("input, select, textarea")) return;
  if (event.key.toLowerCase() === "h" && heatmap) toggleHeatmap();
  if (event.key === "ArrowLeft") document.getElementById("older")?.click();
  if (event.key === "ArrowRight") document.getElementById("newer")?.click();
});
