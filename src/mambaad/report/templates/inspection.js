// The gallery of an inspection: cards of the data above, filtered, sorted and in pages.
(() => {
  const PAGE = 48, MISTAKES = ["missed", "false alarm"];
  const all = JSON.parse(document.getElementById("data").textContent);
  const get = id => document.getElementById(id);
  const filters = ["outcome", "verdict", "product"].filter(get);
  let shown = [], page = 0;

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function choices(id) {
    const counts = new Map();
    for (const card of all) counts.set(card[id], (counts.get(card[id]) || 0) + 1);
    for (const [value, count] of [...counts].sort()) {
      const option = element("option", `${value || "-"} (${count})`);
      option.value = `=${value}`;  // "=", since a value may be empty, and "" stands for all
      get(id).append(option);
    }
  }

  function picture(file, alternative, className) {
    const image = element("img", "", className);
    image.loading = "lazy";
    image.src = file;
    image.alt = alternative;
    return image;
  }

  function shot(card) {
    if (!card.shot) return element("div", "no picture available", "none");
    const button = element("button", "", "shot"), stack = element("span", "", "stack");
    button.type = "button";
    button.dataset.name = card.name;
    button.dataset.said = [card.verdict, card.what, card.where].filter(Boolean).join(" · ");
    button.dataset.ratio = card.shot.ratio;
    stack.style.aspectRatio = card.shot.ratio;
    stack.style.width = `${Math.min(100, 100 * card.shot.ratio)}%`;
    stack.append(picture(card.shot.image, `Enlarge ${card.name}`, "image"));
    for (const layer of ["heat", "outline", "truth"]) {
      if (card.shot[layer]) stack.append(picture(card.shot[layer], "", layer));
    }
    button.append(stack);
    return button;
  }

  function drawn(card) {
    const isMistake = MISTAKES.includes(card.outcome);
    const box = element("article", "", isMistake ? "card mistake" : "card");
    box.append(shot(card));
    const first = element("p", "", "first");
    if (isMistake) first.append(element("span", card.outcome.toUpperCase(), "verdict missed"));
    if (card.verdict) first.append(element("span", card.verdict, `verdict ${card.verdict.split(" ")[0]}`));
    first.append(element("span", card.product));
    box.append(first);
    if (card.what) box.append(element("p", card.what));
    const facts = element("dl");
    const fact = (name, value) => facts.append(element("dt", name), element("dd", value));
    if (card.where) fact("Where", card.where);
    if (card.sure) fact("How sure", card.sure);
    if (card.truth !== null) fact("Labelled", card.truth);
    if (!card.verdict && card.score !== null) fact("Score", card.score.toFixed(4));
    if (facts.children.length) box.append(facts);
    box.append(element("p", card.name, "name"));
    if (card.details.length || card.near) {
      const more = element("details");
      more.append(element("summary", "Details"));
      for (const [file, words] of [[card.near, card.near_words], ["", ""], [card.scales, card.scales_words]]) {
        if (file) more.append(picture(file, words, "strip"), element("p", words));
        if (!file && !words) for (const line of card.details) more.append(element("p", line));
      }
      if (card.verdict && card.score !== null) more.append(element("p", `Score: ${card.score.toFixed(4)}.`));
      box.append(more);
    }
    return box;
  }

  function show() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    get("cards").replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(drawn));
    get("where").textContent = `${shown.length} images, page ${page + 1} of ${pages}`;
    get("back").disabled = page === 0;
    get("on").disabled = page === pages - 1;
  }

  function select() {
    const order = get("order").value, name = get("name").value.toLowerCase();
    shown = all.filter(c => filters.every(id => !get(id).value || get(id).value === `=${c[id]}`)
                            && c.name.toLowerCase().includes(name));
    const severity = c => c.severity === null ? Infinity : c.severity;
    const bySeverity = (a, b) => severity(b) > severity(a) ? 1 : severity(b) < severity(a) ? -1 : 0;
    const rank = c => { const at = MISTAKES.indexOf(c.outcome); return at < 0 ? MISTAKES.length : at; };
    if (order === "name") shown.sort((a, b) => a.name < b.name ? -1 : 1);
    if (order === "worst") shown.sort((a, b) => rank(a) - rank(b) || bySeverity(a, b));
    if (order === "severity") shown.sort(bySeverity);
    if (order === "best") shown.sort((a, b) => bySeverity(b, a));
    page = 0;
    show();
  }

  for (const id of filters) choices(id);
  for (const id of [...filters, "order", "name"]) get(id).addEventListener("input", select);
  get("back").addEventListener("click", () => { page -= 1; show(); });
  get("on").addEventListener("click", () => { page += 1; show(); });
  select();
})();
