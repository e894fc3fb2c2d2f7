"use strict";
// Draws the strip from the data block: one element a node, arrows for copies, one card that says what is pointed at.
(() => {
  const strip = document.getElementById("strip");
  const card = document.getElementById("card");
  const data = JSON.parse(document.getElementById("plan").textContent);
  const NODE = ["name", "op", "provider", "kind", "reason", "scope", "source"];
  const COPY = ["value", "direction", "at", "side", "severity", "cause", "where", "size", "time", "node"];
  const record = (keys, row) => Object.fromEntries(keys.map((key, i) => [key, row[i]]));
  const text = (i) => data.texts[i];
  const nodes = data.nodes.map((row) => {
    const n = record(NODE, row);
    return { ...n, op: text(n.op), provider: text(n.provider), reason: text(n.reason), scope: text(n.scope) };
  });
  const copies = data.copies.map((row) => {
    const c = record(COPY, row);
    return { ...c, cause: text(c.cause), where: text(c.where) };
  });

  const make = (tag, className, content) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (content !== undefined) element.textContent = content;
    return element;
  };
  const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  const copyCount = (n) => count(n, "copy", "copies");

  const nodeFacts = (n) => [
    ["name", n.name], ["in", n.scope], ["runs on", n.provider], ["why", n.reason], ["made of", n.source],
  ];
  const copyFacts = (c) => [
    ["value", c.value], ["size", c.size], ["time", c.time && `${c.time} (estimate)`], ["cause", c.cause],
    ["at", c.node], ["in", c.where],
  ];
  const PROSE = new Set(["runs on", "why", "size", "time", "cause"]);
  const nodeTitle = (n) => n.op;
  const copyTitle = (c) => `Memcpy ${c.direction}`;
  const label = (title, facts) => [title, ...facts.filter((f) => f[1]).map((f) => `${f[0]} ${f[1]}`)].join(", ");

  const cell = (i) => {
    const element = make("i", `cell ${nodes[i].kind}`);
    element.dataset.node = i;
    element.setAttribute("aria-label", label(nodeTitle(nodes[i]), nodeFacts(nodes[i])));
    return element;
  };
  const arrow = (i) => {
    const c = copies[i];
    const element = make("i", `copy ${c.direction === "to host" ? "down" : "up"} ${c.severity}`);
    element.dataset.copy = i;
    element.setAttribute("aria-label", label(copyTitle(c), copyFacts(c)));
    return element;
  };

  const beside = { before: new Map(), after: new Map() };
  copies.forEach((c, i) => {
    if (c.at < 0) return;
    const found = beside[c.side].get(c.at) || [];
    beside[c.side].set(c.at, [...found, i]);
  });
  const items = [];
  const draw = (title, indices, bytes, loose) => {
    const row = make("div", "row");
    const cells = make("div", "cells");
    const arrows = [];
    const add = (element) => {
      element.setAttribute("role", "img");
      element.tabIndex = -1;
      cells.append(element);
      items.push(element);
    };
    const put = (list) => list.forEach((i) => { arrows.push(i); add(arrow(i)); });
    for (const i of indices) {
      put(beside.before.get(i) || []);
      add(cell(i));
      put(beside.after.get(i) || []);
    }
    put(loose);
    const name = make("div", "label");
    name.append(make("bdi", "", title));
    name.title = title;
    const side = make("div", "side");
    const harm = arrows.some((i) => copies[i].severity === "error") ? "harm" : "";
    side.append(make("span", "", String(indices.length)));
    side.append(make("span", harm, arrows.length || ""), make("span", harm, bytes));
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", `${title}: ${count(indices.length, "node", "nodes")}, ${copyCount(arrows.length)}`);
    row.append(name, cells, side);
    return row;
  };

  const heads = make("div", "row heads");
  const titles = make("div", "side");
  for (const title of copies.length ? ["nodes", "copies", "bytes"] : ["nodes"]) titles.append(make("span", "", title));
  heads.append(make("div", "label", ""), make("div", "cells"), titles);
  heads.setAttribute("aria-hidden", "true");
  const rows = document.createDocumentFragment();
  rows.append(heads);
  for (const [title, indices, bytes] of data.rows) rows.append(draw(title, indices, bytes, []));
  const loose = copies.flatMap((c, i) => (c.at < 0 ? [i] : []));
  if (loose.length) rows.append(draw("(graph inputs and outputs)", [], "", loose));
  if (nodes.length > 2500) strip.classList.add("dense");
  strip.append(rows);

  // One card for the item under the pointer, in focus, or touched.
  let shown = null;
  const hide = () => {
    if (shown) shown.classList.remove("on");
    shown = null;
    card.hidden = true;
  };
  const place = (element) => {
    const at = element.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, at.left - 16), width - card.offsetWidth - 8);
    const below = at.bottom + 8;
    const fits = below + card.offsetHeight < window.innerHeight;
    card.style.left = `${Math.max(8, left)}px`;
    card.style.top = `${fits ? below : Math.max(8, at.top - card.offsetHeight - 8)}px`;
  };
  const show = (element) => {
    hide();
    const isNode = "node" in element.dataset;
    const item = isNode ? nodes[element.dataset.node] : copies[element.dataset.copy];
    const facts = (isNode ? nodeFacts(item) : copyFacts(item)).filter((f) => f[1]);
    const list = make("dl");
    for (const [key, value] of facts) list.append(make("dt", "", key), make("dd", PROSE.has(key) ? "" : "code", value));
    const head = make("div", "head");
    head.append(make("i", isNode ? `cell ${item.kind}` : element.className), make("b", "", isNode ? nodeTitle(item) : copyTitle(item)));
    card.replaceChildren(head, list);
    card.hidden = false;
    shown = element;
    element.classList.add("on");
    place(element);
  };

  const item = (event) => event.target.closest("[data-node], [data-copy]");
  const choose = (element) => {
    for (const old of strip.querySelectorAll('[tabindex="0"]')) old.tabIndex = -1;
    element.tabIndex = 0;
    element.focus({ preventScroll: false });
  };
  for (const drawn of [strip, document.getElementById("graph")].filter(Boolean)) {
    drawn.addEventListener("pointerover", (event) => { if (item(event)) show(item(event)); else if (drawn !== strip) hide(); });
    drawn.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
  }
  strip.addEventListener("click", (event) => { if (item(event)) choose(item(event)); });
  strip.addEventListener("focusin", (event) => { if (item(event)) show(item(event)); });
  strip.addEventListener("focusout", hide);
  document.addEventListener("pointerdown", (event) => { if (!item(event)) hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  window.addEventListener("scroll", () => { if (shown) place(shown); }, { passive: true });

  // The strip is one stop of the Tab key; arrow keys walk it, up and down by rows.
  const inRow = (element, step) => {
    const row = element.closest(".row");
    const other = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    const column = [...element.parentElement.children].indexOf(element);
    const there = other ? [...other.querySelector(".cells").children] : [];
    return there[Math.min(column, there.length - 1)];
  };
  strip.addEventListener("keydown", (event) => {
    const now = item(event);
    if (!now) return;
    const at = items.indexOf(now);
    const next = {
      ArrowRight: () => items[at + 1], ArrowLeft: () => items[at - 1], Home: () => items[0], End: () => items.at(-1),
      ArrowDown: () => inRow(now, 1), ArrowUp: () => inRow(now, -1),
    }[event.key];
    if (!next) return;
    event.preventDefault();
    if (next()) choose(next());
  });
  if (items.length) items[0].tabIndex = 0;

  // A legend entry dims everything else.
  for (const button of document.querySelectorAll("[data-only]")) {
    button.addEventListener("click", () => {
      const on = strip.dataset.only !== button.dataset.only;
      strip.dataset.only = on ? button.dataset.only : "";
      for (const other of document.querySelectorAll("[data-only].key")) {
        other.setAttribute("aria-pressed", String(on && other === button));
      }
      for (const element of items) element.classList.toggle("dim", on && !element.matches(button.dataset.only));
    });
  }
})();
