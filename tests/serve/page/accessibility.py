"""What an accessibility checker would call serious, looked for in a page by a script of our own."""

CHECK = r"""
() => {
  const found = [], say = (rule, element) =>
    found.push(`${rule}: ${element.outerHTML.replace(/\s+/g, " ").slice(0, 120)}`);
  const shown = element => {
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    return style.visibility !== "hidden" && style.display !== "none"
      && box.width > 0 && box.height > 0 && !element.closest("[hidden], dialog:not([open])");
  };
  const all = selector => [...document.querySelectorAll(selector)].filter(shown);
  const named = element => (element.getAttribute("aria-label") || "").trim()
    || (element.getAttribute("aria-labelledby") || "").split(" ").map(id =>
      document.getElementById(id)?.textContent || "").join("").trim()
    || element.textContent.trim() || element.querySelector("img[alt]:not([alt=''])");

  if (!document.documentElement.lang) say("html without lang", document.documentElement);
  if (!document.title.trim()) say("no title", document.head);
  if (document.querySelectorAll("main").length !== 1) say("not one main", document.body);
  if (document.querySelectorAll("h1").length !== 1) say("not one h1", document.body);
  let level = 0;
  for (const heading of all("h1, h2, h3, h4")) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) say("heading skips a level", heading);
    level = next;
  }
  const ids = new Set();
  for (const element of document.querySelectorAll("[id]")) {
    if (ids.has(element.id)) say("id twice", element);
    ids.add(element.id);
  }
  for (const label of document.querySelectorAll("[aria-labelledby]")) {
    for (const id of label.getAttribute("aria-labelledby").split(" ")) {
      if (!document.getElementById(id)) say("labelled by nothing", label);
    }
  }
  for (const image of all("img")) if (!image.hasAttribute("alt")) say("no alt", image);
  for (const svg of all("svg")) {
    if (svg.getAttribute("aria-hidden") !== "true" && !named(svg)) say("svg without name", svg);
  }
  for (const field of all("input:not([type=hidden]), select, textarea")) {
    const label = [...(field.labels || [])].map(l => l.textContent.trim()).join("");
    if (!label && !field.getAttribute("aria-label")) say("field without label", field);
  }
  for (const control of all("button, a[href], summary")) {
    if (!named(control)) say("control without name", control);
    const box = control.getBoundingClientRect();
    const inline = getComputedStyle(control).display === "inline";
    const isSkip = control.matches(".skip");
    if (!inline && !isSkip && (box.width < 24 || box.height < 24)) say("small target", control);
  }
  for (const table of all("table")) if (!table.querySelector("th")) say("no header", table);
  for (const element of document.querySelectorAll("[aria-hidden=true] :is(a, button, input)")) {
    say("hidden control", element);
  }
  for (const element of document.querySelectorAll("[tabindex]")) {
    if (Number(element.getAttribute("tabindex")) > 0) say("positive tabindex", element);
  }

  const parse = colour => {
    const canvas = parse.canvas ||= new OffscreenCanvas(1, 1).getContext(
      "2d", { willReadFrequently: true });
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v =>
      v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return parse(getComputedStyle(document.body).backgroundColor);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !shown(element)) continue;
    if (element.matches("script, option, :disabled")) continue;
    if (element.closest(".unseen, .skip")) continue;
    const style = getComputedStyle(element), isSvg = element.closest("svg");
    const colour = parse(isSvg ? style.fill : style.color), behind = ground(element);
    const [light, dark] = [luminance(colour), luminance(behind)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize), isBold = Number(style.fontWeight) >= 700;
    const least = size >= 24 || (size >= 18.66 && isBold) ? 3 : 4.5;
    if (contrast < least) say(`contrast ${contrast.toFixed(2)} below ${least}`, element);
  }
  if (document.documentElement.scrollWidth > innerWidth) {
    const wide = all("body *").find(e => e.getBoundingClientRect().right > innerWidth + 1);
    say(`wider than the window (${document.documentElement.scrollWidth})`, wide || document.body);
  }
  return found;
}
"""

TABBABLE = r"""
() => [...document.querySelectorAll(
  "a[href], button, input, select, textarea, summary, [tabindex='0']")].filter(e =>
  !e.disabled && e.type !== "hidden" && !e.closest("[hidden], dialog:not([open])")
  && (e.type !== "radio" || e.checked)).length
"""
"""The number of elements that Tab reaches: of a group of radio buttons it is one."""
