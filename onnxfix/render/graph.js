"use strict";
// The graph folded into its torch modules: boxes that open in place, lines between what is drawn, and where findings are.
(() => {
  const view = document.getElementById("graph");
  if (!view) return;
  const data = JSON.parse(document.getElementById("plan").textContent);
  const { reads, kinds, types, findings } = data.graph;
  const text = (i) => data.texts[i];
  const ops = data.nodes.map((row) => text(row[1]));
  const places = data.nodes.map((row) => row[3]);
  const scopes = data.nodes.map((row) => text(row[5]));
  const PIECE = 150, FIRST = 30, WRAPS = 0.6;
  const LOOSE = "(no scope)";
  const HUES = { float32: 210, float16: 150, bfloat16: 100, int8: 20, uint8: 40, int64: 280, int32: 300, bool: 340 };
  const hue = (kind) => (kind in HUES ? `hsl(${HUES[kind]} 55% 50%)` : "hsl(0 0% 55%)");

  // A tree of modules; what names none is cut into pieces, as in the strip.
  const module = (name, parent) => ({ name, parent, modules: new Map(), nodes: [], all: [], open: false });
  const root = module("", null);
  const home = [];
  const inside = (parent, name) => {
    if (!parent.modules.has(name)) parent.modules.set(name, module(name, parent));
    return parent.modules.get(name);
  };
  let loose = 0;
  scopes.forEach((scope, i) => {
    let at = root;
    for (const part of scope ? scope.split(".") : [`${LOOSE} ${1 + Math.floor(loose++ / PIECE)}`]) at = inside(at, part);
    at.nodes.push(i);
    home[i] = at;
    for (; at; at = at.parent) at.all.push(i);
  });
  const walk = function* (at) { for (const m of at.modules.values()) { yield m; yield* walk(m); } };
  const title = (m) => (/^\d+$/.test(m.name) && m.parent.name ? `${m.parent.name}.${m.name}` : m.name);
  const children = (m) => [...[...m.modules.values()].map((inner) => ({ m: inner, order: inner.all[inner.all.length >> 1] })),
    ...m.nodes.map((node) => ({ node, order: node }))].sort((a, b) => a.order - b.order);
  // Wrappers are open from the start, and as much more as can be taken in at once.
  root.open = true;
  const shown = () => [...walk(root)].reduce((n, m) => n + (m.parent.open ? 1 : 0), 0);
  const wrapper = (m) => m.parent.open && !m.open && m.all.length > WRAPS * data.nodes.length;
  for (let next; (next = [...walk(root)].find(wrapper)) && shown() + next.modules.size + next.nodes.length <= 4 * FIRST;) next.open = true;
  if (root.all.length <= FIRST) for (const m of walk(root)) m.open = true;

  const copied = new Set();
  data.copies.forEach((row) => { if (row[2] >= 0) copied.add(row[2]); });
  const RANK = ["note", "warning", "error"];
  const marks = new Map();
  for (const [code, severity, at] of findings) for (const i of at) {
    const old = marks.get(i) || { count: 0, worst: "note", codes: new Set() };
    old.count += 1;
    old.codes.add(code);
    if (RANK.indexOf(severity) > RANK.indexOf(old.worst)) old.worst = severity;
    marks.set(i, old);
  }

  const NS = "http://www.w3.org/2000/svg";
  const make = (tag, attributes, content) => {
    const element = document.createElementNS(NS, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (content !== undefined) element.textContent = content;
    return element;
  };
  const svg = make("svg", { role: "presentation" });
  const layer = make("g", {});
  svg.append(layer);
  view.append(svg);

  let colour = "provider";
  const paint = (i) => (colour === "type" ? hue(kinds[types[i]]) : `var(--${places[i] === "moved" ? "cpu" : places[i]}, var(--other))`);
  const wide = (words, least) => Math.max(least, words.length * 7.3 + 20);
  const PAD = 14, HEAD = 26;

  // Measures and lays out a module's inside; lines join its children, whatever of them reads whatever of another.
  const sized = (item) => {
    if (item.node !== undefined) return { ...item, w: wide(ops[item.node], 54), h: 24 };
    const { m } = item;
    if (!m.open) return { ...item, w: wide(title(m), 130), h: 42 };
    const inner = laid(m);
    return { ...item, inner, w: Math.max(inner.w, wide(title(m), 0)) + 2 * PAD, h: inner.h + HEAD + PAD };
  };
  const laid = (m) => {
    const boxes = children(m).map(sized);
    const owner = new Map();
    boxes.forEach((box, k) => (box.node === undefined ? box.m.all : [box.node]).forEach((i) => owner.set(i, k)));
    const found = new Map();
    for (const i of m.all) for (const maker of reads[i]) {
      const from = owner.get(maker), to = owner.get(i);
      if (from === undefined || from === to) continue;
      const key = from * boxes.length + to;
      found.set(key, found.get(key) || copied.has(i) || copied.has(maker));
    }
    const lines = [...found.keys()].map((key) => [Math.floor(key / boxes.length), key % boxes.length]);
    const made = layered(boxes, lines);
    return { ...made, boxes: boxes.map((box, k) => ({ ...box, ...made.boxes[k] })), copies: [...found.values()] };
  };

  const curve = (path, at) => {
    const points = path.through.map((p, k) => {
      if (k === 0) return [p.x, at[path.from].y + at[path.from].h];
      return k === path.through.length - 1 ? [p.x, at[path.to].y] : [p.x, p.y + p.high / 2];
    });
    let d = `M${points[0].map(Math.round)}`;
    for (let k = 1; k < points.length; k += 1) {
      const [x0, y0] = points[k - 1], [x1, y1] = points[k], middle = (y0 + y1) / 2;
      d += `C${[x0, middle, x1, middle, x1, y1].map(Math.round)}`;
    }
    return d;
  };
  const badge = (group, nodes, x, y) => {
    const here = nodes.map((i) => marks.get(i)).filter(Boolean);
    if (!here.length) return;
    const worst = here.reduce((a, b) => (RANK.indexOf(b.worst) > RANK.indexOf(a) ? b.worst : a), "note");
    const count = here.reduce((sum, each) => sum + each.count, 0);
    group.append(make("circle", { class: `badge ${worst}`, cx: x, cy: y, r: 9 }));
    group.append(make("text", { class: "count", x, y: y + 3.5 }, count > 99 ? "99+" : count));
  };
  const bar = (group, nodes, x, y, w) => {
    const shares = new Map();
    for (const i of nodes) shares.set(paint(i), (shares.get(paint(i)) || 0) + 1);
    for (const [fill, n] of [...shares].sort((a, b) => b[1] - a[1])) {
      const part = (w * n) / nodes.length;
      const rect = make("rect", { x, y, width: part, height: 4 });
      rect.style.fill = fill;
      group.append(rect);
      x += part;
    }
  };
  const boxOf = new Map();
  const draw = (inner, group) => {
    const touching = inner.boxes.map(() => []);
    inner.paths.forEach((path, k) => {
      const kind = inner.copies[k] ? "edge copied" : path.far ? "edge far" : "edge";
      const line = make("path", { class: kind, d: curve(path, inner.boxes) });
      touching[path.from].push(line);
      touching[path.to].push(line);
      group.append(line);
    });
    for (const [k, box] of inner.boxes.entries()) {
      const at = make("g", { transform: `translate(${Math.round(box.x)} ${Math.round(box.y)})` });
      group.append(at);
      at.addEventListener("pointerenter", () => touching[k].forEach((line) => line.classList.add("near")));
      at.addEventListener("pointerleave", () => touching[k].forEach((line) => line.classList.remove("near")));
      if (box.node !== undefined) {
        const rect = make("rect", { class: "op", width: box.w, height: box.h, rx: 5, "data-node": box.node });
        rect.style.stroke = paint(box.node);
        at.append(rect, make("text", { x: 10, y: 16 }, ops[box.node]));
        badge(at, [box.node], box.w, 0);
        boxOf.set(box.node, rect);
        continue;
      }
      const { m } = box;
      const head = { "data-module": order.get(m), tabindex: 0, role: "button", "aria-expanded": m.open, "aria-label": title(m) };
      if (m.open) {
        at.append(make("rect", { class: "opened", width: box.w, height: box.h, rx: 9 }));
        at.append(make("rect", { class: "head", width: box.w, height: HEAD - 4, rx: 9, ...head }));
        at.append(make("text", { x: 11, y: 16 }, title(m)));
        const within = make("g", { transform: `translate(${PAD} ${HEAD})` });
        at.append(within);
        draw(box.inner, within);
      } else {
        at.append(make("rect", { class: "module", width: box.w, height: box.h, rx: 7, ...head }));
        at.append(make("text", { x: 10, y: 17 }, title(m)));
        at.append(make("text", { class: "under", x: 10, y: 31 }, `${m.all.length} node${m.all.length > 1 ? "s" : ""}`));
        bar(at, m.all, 8, box.h - 7, box.w - 16);
        badge(at, m.all, box.w, 0);
      }
    }
  };
  const every = [...walk(root)];
  const order = new Map(every.map((m, k) => [m, k]));

  // Where the eye is: shift and scale of the layer.
  let at = { x: 0, y: 0, k: 1 }, size = { w: 1, h: 1 };
  const move = () => layer.setAttribute("transform", `translate(${at.x} ${at.y}) scale(${at.k})`);
  const zoom = (factor, x = view.clientWidth / 2, y = view.clientHeight / 2) => {
    const k = Math.min(3, Math.max(0.03, at.k * factor));
    at = { k, x: x - ((x - at.x) * k) / at.k, y: y - ((y - at.y) * k) / at.k };
    move();
  };
  const fit = () => {
    const k = Math.min(1, Math.max(0.25, (view.clientWidth - 40) / size.w));
    at = { k, x: (view.clientWidth - size.w * k) / 2, y: 20 };
    move();
  };
  const redraw = () => {
    boxOf.clear();
    const inner = laid(root);
    const group = document.createElementNS(NS, "g");
    draw(inner, group);
    layer.replaceChildren(group);
    size = inner;
  };
  // What is pressed stays where it is when its inside unfolds.
  const toggle = (m) => {
    const before = layer.querySelector(`[data-module="${order.get(m)}"]`).getBoundingClientRect();
    m.open = !m.open;
    for (let only = m; m.open && only.modules.size === 1 && !only.nodes.length; only.open = true) [only] = only.modules.values();
    redraw();
    const after = layer.querySelector(`[data-module="${order.get(m)}"]`).getBoundingClientRect();
    at.x += before.left - after.left;
    at.y += before.top - after.top;
    move();
  };
  const lead = (indices) => {
    for (const i of indices.slice(0, 40)) for (let m = home[i]; m; m = m.parent) m.open = true;
    redraw();
    move();
    const rect = boxOf.get(indices[0]);
    at.k = Math.max(at.k, 0.8);
    move();
    const frame = view.getBoundingClientRect(), there = rect.getBoundingClientRect();
    at.x += frame.left + frame.width / 2 - there.left - there.width / 2;
    at.y += frame.top + frame.height / 2 - there.top;
    move();
    for (const i of indices) boxOf.get(i)?.classList.add("lit");
    view.scrollIntoView({ block: "center" });
  };

  let moved = 0;
  const fingers = new Map();
  view.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, event); moved = 0; });
  view.addEventListener("pointermove", (event) => {
    const old = fingers.get(event.pointerId);
    if (!old) return;
    const [dx, dy] = [event.clientX - old.clientX, event.clientY - old.clientY];
    if (fingers.size === 2) {
      const [other] = [...fingers.values()].filter((finger) => finger.pointerId !== event.pointerId);
      const span = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
      const frame = view.getBoundingClientRect();
      zoom(span(event) / (span(old) || 1), other.clientX - frame.left, other.clientY - frame.top);
    } else if (moved + Math.abs(dx) + Math.abs(dy) > 3) {
      view.setPointerCapture(event.pointerId);
      view.classList.add("held");
      at.x += dx;
      at.y += dy;
      move();
    }
    moved += Math.abs(dx) + Math.abs(dy);
    if (fingers.size === 2 || view.classList.contains("held")) fingers.set(event.pointerId, event);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    view.addEventListener(kind, (event) => { fingers.delete(event.pointerId); view.classList.remove("held"); });
  }
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const frame = view.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), event.clientX - frame.left, event.clientY - frame.top);
  }, { passive: false });
  const pressed = (event) => event.target.closest("[data-module]");
  view.addEventListener("click", (event) => { if (moved < 4 && pressed(event)) toggle(every[pressed(event).dataset.module]); });
  view.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (step) { at.x += step[0]; at.y += step[1]; move(); }
    else if (event.key === "+" || event.key === "=") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if ((event.key === "Enter" || event.key === " ") && pressed(event)) {
      const m = every[pressed(event).dataset.module];
      toggle(m);
      layer.querySelector(`[data-module="${order.get(m)}"]`).focus({ preventScroll: true });
    } else return;
    event.preventDefault();
  });
  const acts = {
    in: () => zoom(1.4), out: () => zoom(1 / 1.4), fit,
    fold: () => { for (const m of every) m.open = false; redraw(); fit(); },
    open: () => { for (const m of every) m.open = true; redraw(); fit(); },
  };
  for (const button of document.querySelectorAll("[data-act]")) button.addEventListener("click", acts[button.dataset.act]);
  const legend = document.querySelector(".graph-bar .types");
  for (const button of document.querySelectorAll("[data-colour]")) {
    button.addEventListener("click", () => {
      colour = button.dataset.colour;
      for (const other of document.querySelectorAll("[data-colour]")) other.setAttribute("aria-pressed", String(other === button));
      legend.replaceChildren(...(colour === "type" ? kinds : []).flatMap((kind) => {
        const [mark, name] = [document.createElement("i"), document.createElement("span")];
        mark.style.background = hue(kind);
        name.textContent = kind;
        return [mark, name];
      }));
      redraw();
    });
  }
  for (const button of document.querySelectorAll("[data-goto]")) {
    button.addEventListener("click", () => lead(button.dataset.goto.split(",").map(Number)));
  }
  redraw();
  fit();
})();
