// Regions drawn on the image: drag for a rectangle, click corner after corner for a polygon. The
// same form takes numbers, so that nobody needs a mouse.
"use strict";

const canvas = document.getElementById("shapes");
const addShape = document.getElementById("add-shape");
if (canvas && addShape) {
  const line = document.getElementById("drawing");
  const CLOSE = 2.5;  // per cent of the image: so near to the first corner closes a polygon
  let corners = [], from = null;
  document.getElementById("draw-hint").hidden = false;

  function point(event) {
    const matrix = line.getScreenCTM().inverse();
    const there = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
    const inside = value => Math.min(Math.max(value, 0), 100);
    return [inside(there.x), inside(there.y)];
  }

  function rectangle([left, top], [right, bottom]) {
    return [[left, top], [right, top], [right, bottom], [left, bottom]];
  }

  function draw(points) {
    line.setAttribute("points", points.map(p => p.join(",")).join(" "));
  }

  function near(a, b) {
    return Math.hypot(a[0] - b[0], a[1] - b[1]) < CLOSE;
  }

  function send(points) {
    addShape.elements.points.value = JSON.stringify(points.map(p => p.map(v => v / 100)));
    addShape.submit();
  }

  canvas.addEventListener("pointerdown", event => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    from = point(event);
  });
  canvas.addEventListener("pointermove", event => {
    const here = point(event);
    if (from && !corners.length && !near(from, here)) draw([...rectangle(from, here), from]);
    else if (corners.length) draw([...corners, here]);
  });
  canvas.addEventListener("pointerup", event => {
    const here = point(event);
    if (!from) return;
    const isDrag = !near(from, here);
    if (isDrag && !corners.length) send(rectangle(from, here));
    else if (corners.length > 2 && near(corners[0], here)) send(corners);
    else { corners.push(here); draw(corners); }
    from = null;
  });
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    corners = [];
    from = null;
    draw([]);
  });
}
