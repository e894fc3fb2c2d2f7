"use strict";
// Layers of boxes: ranks by the longest path, long lines through a place of their own in each rank they pass, order by
// the mean of neighbours (Sugiyama, Tagawa and Toda 1981), places by what neighbours wish and widths allow.
const layered = (boxes, lines) => {
  const SIDE = 18, BELOW = 30, SWEEPS = 6, FAN = 6, LONG = 3;
  const items = boxes.map((box, i) => ({ ...box, i, up: [], down: [], rank: 0 }));
  const fan = new Map();
  for (const [from] of lines) fan.set(from, (fan.get(from) || 0) + 1);
  const ahead = lines.filter(([from, to]) => from < to);
  const heads = items.map(() => []), tails = items.map(() => []);
  for (const [from, to] of ahead) { heads[to].push(from); tails[from].push(to); }
  for (const item of items) item.rank = heads[item.i].reduce((most, from) => Math.max(most, items[from].rank + 1), 0);
  for (const item of [...items].reverse()) {
    if (heads[item.i].length || !tails[item.i].length) continue;
    item.rank = Math.max(0, Math.min(...tails[item.i].map((to) => items[to].rank)) - 1);
  }
  const all = [...items];
  const paths = [];
  const join = (a, b) => { a.down.push(b); b.up.push(a); };
  for (const [from, to] of lines) {
    const a = items[from], b = items[to], span = b.rank - a.rank;
    const far = span <= 0 || (span > LONG && fan.get(from) >= FAN);
    const path = { from, to, far, through: [a] };
    if (!far) {
      for (let rank = a.rank + 1; rank < b.rank; rank += 1) {
        const place = { w: 6, h: 1, rank, up: [], down: [] };
        all.push(place);
        join(path.through.at(-1), place);
        path.through.push(place);
      }
      join(path.through.at(-1), b);
    }
    path.through.push(b);
    paths.push(path);
  }
  const rows = [];
  for (const item of all) (rows[item.rank] ||= []).push(item);
  const places = () => rows.forEach((row) => row.forEach((item, at) => { item.at = at; }));
  const mean = (found, of) => found.reduce((sum, item) => sum + of(item), 0) / found.length;
  places();
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const side = sweep % 2 ? "down" : "up";
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      for (const item of row) item.key = item[side].length ? mean(item[side], (other) => other.at) : item.at;
      row.sort((a, b) => a.key - b.key);
      row.forEach((item, at) => { item.at = at; });
    }
  }
  for (const row of rows) {
    let x = 0;
    for (const item of row) { item.x = x + item.w / 2; x += item.w + SIDE; }
  }
  for (let sweep = 0; sweep < 2 * SWEEPS; sweep += 1) {
    const side = sweep % 2 ? "down" : "up";
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      const wish = row.map((item) => (item[side].length ? mean(item[side], (other) => other.x) : item.x));
      const right = [], left = [];
      row.forEach((item, k) => {
        right[k] = k ? Math.max(wish[k], right[k - 1] + (row[k - 1].w + item.w) / 2 + SIDE) : wish[k];
      });
      for (let k = row.length - 1; k >= 0; k -= 1) {
        const next = row[k + 1];
        left[k] = next ? Math.min(wish[k], left[k + 1] - (next.w + row[k].w) / 2 - SIDE) : wish[k];
      }
      row.forEach((item, k) => { item.x = (right[k] + left[k]) / 2; });
    }
  }
  let y = 0;
  for (const row of rows) {
    const high = Math.max(...row.map((item) => item.h));
    for (const item of row) { item.y = y; item.high = high; }
    y += high + BELOW;
  }
  const least = Math.min(...all.map((item) => item.x - item.w / 2));
  for (const item of all) item.x -= least;
  const width = Math.max(...all.map((item) => item.x + item.w / 2));
  return { boxes: items.map(({ x, y: top, w }) => ({ x: x - w / 2, y: top })), w: width, h: y - BELOW, paths };
};
