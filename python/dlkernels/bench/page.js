const NS = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function svg(name, attributes, parent, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
}

function duration(s) {
  for (const [unit, scale] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6]]) if (s >= scale) return `${(s / scale).toPrecision(3)} ${unit}`;
  return `${(s * 1e9).toPrecision(3)} ns`;
}
const short = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));

// Powers of ten, with 2 and 5 between where the axis is short.
function ticks(low, high) {
  const decades = Math.log10(high / low), found = [];
  const steps = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5];
  for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++)
    for (const m of steps) { const v = m * 10 ** k; if (v >= low * 0.999 && v <= high * 1.001) found.push(v); }
  return found;
}
const label = (v) => (v >= 1e4 || v < 0.001 ? v.toExponential(0) : String(Number(v.toPrecision(2))));

// --- horizontal bars around 1 on a logarithmic axis ---------------------------------------------------------------------------
// items: {title, ratio, note, mark?, low?, high?}
function bars(where, items, axis) {
  if (!items.length) { where.textContent = "None."; return; }
  const left = 380, right = 200, width = 1140, each = 24, top = 8, height = top + items.length * each + 48;
  const shown = items.flatMap((d) => [d.ratio, d.mark || d.ratio, d.low || d.ratio, d.high || d.ratio]);
  const low = Math.min(0.8, ...shown) / 1.1, high = Math.max(1.25, ...shown) * 1.1;
  const x = (v) => left + ((width - left - right) * Math.log(v / low)) / Math.log(high / low);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": axis }, where);
  const bottom = top + items.length * each;
  for (const v of ticks(low, high)) {
    svg("line", { x1: x(v), x2: x(v), y1: top, y2: bottom, class: "axis" }, root);
    svg("text", { x: x(v), y: bottom + 17, "text-anchor": "middle", class: "soft" }, root, label(v));
  }
  svg("text", { x: (left + width - right) / 2, y: bottom + 38, "text-anchor": "middle", class: "soft" }, root, axis);
  items.forEach((d, i) => {
    const y = top + i * each, group = svg("g", {}, root), from = Math.min(x(1), x(d.ratio));
    svg("title", {}, group, `${d.title}: ${short(d.ratio)} ${d.note || ""}`);
    const name = d.title.length > 52 ? d.title.slice(0, 51) + "…" : d.title;
    svg("text", { x: left - 8, y: y + 16, "text-anchor": "end" }, group, name);
    const color = d.ratio < 1 ? "var(--bad)" : "var(--good)";
    svg("rect", { x: from, y: y + 4, width: Math.max(1.5, Math.abs(x(d.ratio) - x(1))), height: each - 8, fill: color, rx: 2 }, group);
    if (d.low) svg("line", { x1: x(d.low), x2: x(d.high), y1: y + each / 2, y2: y + each / 2, stroke: "var(--mark)", "stroke-width": 1.5 }, group);
    if (d.mark) svg("line", { x1: x(d.mark), x2: x(d.mark), y1: y + 1, y2: y + each - 1, stroke: "var(--mark)", "stroke-width": 3 }, group);
    svg("text", { x: width - right + 8, y: y + 16 }, group, `${short(d.ratio)} ${d.note || ""}`);
  });
  svg("line", { x1: x(1), x2: x(1), y1: top, y2: bottom, class: "one" }, root);
}

const bytes = (b) => (b >= 1 << 20 ? `${b >> 20} MiB` : `${b >> 10} KiB`);

// --- the roofline -------------------------------------------------------------------------------------------------------------
const SHAPES = [
  (x, y, r) => `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  (x, y, r) => `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (x, y, r) => `M${x},${y - 1.3 * r}l${1.3 * r},${2.3 * r}h${-2.6 * r}z`,
  (x, y, r) => `M${x},${y - 1.4 * r}l${1.4 * r},${1.4 * r}l${-1.4 * r},${1.4 * r}l${-1.4 * r},${-1.4 * r}z`,
  (x, y, r) => `M${x},${y + 1.3 * r}l${1.3 * r},${-2.3 * r}h${-2.6 * r}z`,
  (x, y, r) => `M${x - r},${y - r / 3}h${2 * r}v${(2 * r) / 3}h${-2 * r}z`,
];
const CLASSES = { activations: 0, piecewise: 0, slopes: 0, gates: 0, random: 0, fused: 1, norms: 1, rows: 2, tempered: 2, class_losses: 2, optimizers: 4 };
const GROUPS = ["elementwise", "norms and fusions", "softmax and class losses", "other losses", "optimizers"];
const group = (row) => CLASSES[row.family] ?? 3;

function roofline(where, legend) {
  const points = DATA.rows.filter((r) => r.ours && r.bytes && r.operations && r.variant === "warm" && r.size !== "call");
  if (!points.length) { where.textContent = "No rows with operations."; return; }
  const at = points.map((r) => ({ r, x: r.operations / r.bytes, y: r.operations / r.ours / 1e9 }));
  const bound = (values, side) => (side < 0 ? Math.min(...values) / 1.4 : Math.max(...values) * 1.4);
  const [x0, x1] = [bound(at.map((p) => p.x), -1), bound(at.map((p) => p.x), 1)];
  const [y0, y1] = [bound(at.map((p) => p.y), -1), bound(at.map((p) => p.y), 1)];
  const width = 1140, height = 520, left = 80, right = 30, top = 16, base = height - 60;
  const X = (v) => left + ((width - left - right) * Math.log(v / x0)) / Math.log(x1 / x0);
  const Y = (v) => base - ((base - top) * Math.log(v / y0)) / Math.log(y1 / y0);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "roofline" }, where);
  const clip = svg("clipPath", { id: "inside" }, root);
  svg("rect", { x: left, y: top, width: width - left - right, height: base - top }, clip);
  for (const v of ticks(x0, x1)) {
    svg("line", { x1: X(v), x2: X(v), y1: top, y2: base, class: "axis" }, root);
    svg("text", { x: X(v), y: base + 18, "text-anchor": "middle", class: "soft" }, root, label(v));
  }
  for (const v of ticks(y0, y1)) {
    svg("line", { x1: left, x2: width - right, y1: Y(v), y2: Y(v), class: "axis" }, root);
    svg("text", { x: left - 8, y: Y(v) + 4, "text-anchor": "end", class: "soft" }, root, label(v));
  }
  svg("text", { x: (left + width - right) / 2, y: height - 14, "text-anchor": "middle" }, root, "operations of the definition for each minimal byte");
  svg("text", { x: 18, y: (top + base) / 2, "text-anchor": "middle", transform: `rotate(-90 18 ${(top + base) / 2})` }, root, "10⁹ operations a second");
  const warm = Object.entries(DATA.roof.warm || {}).map(([b, s]) => [Number(b), Number(b) / s / 1e9]);
  const roofs = warm.length ? [[`copy of ${bytes(warm[warm.length - 1][0])}`, warm[warm.length - 1][1], ""], ["the fastest copy, in a cache", Math.max(...warm.map((w) => w[1])), "6 4"]] : [];
  roofs.forEach(([name, speed, dash]) => {
    svg("line", { x1: X(x0), y1: Y(speed * x0), x2: X(x1), y2: Y(speed * x1), class: "roof", "stroke-dasharray": dash, "clip-path": "url(#inside)" }, root);
    const item = document.createElement("span"), mark = svg("svg", { viewBox: "0 0 14 14" }, item);
    svg("line", { x1: 0, y1: 12, x2: 14, y2: 2, class: "roof", "stroke-dasharray": dash && "4 2" }, mark);
    item.append(`${name}, ${speed.toFixed(0)} GB/s`);
    legend.append(item);
  });
  for (const p of at) {
    const g = group(p.r);
    const path = svg("path", { d: SHAPES[g](X(p.x), Y(p.y), 4), fill: `var(--c${g})`, "fill-opacity": 0.75, "clip-path": "url(#inside)" }, root);
    svg("title", {}, path, `${p.r.title} [${p.r.size}]\n${duration(p.r.ours)}, ${short(p.y)}·10⁹ op/s, ${short(p.x)} op/byte, ${short(p.r.bytes / p.r.ours / 1e9)} GB/s`);
  }
  GROUPS.forEach((name, g) => {
    const item = document.createElement("span"), mark = svg("svg", { viewBox: "0 0 14 14" }, item);
    svg("path", { d: SHAPES[g](7, 7, 5), fill: `var(--c${g})` }, mark);
    item.append(name);
    legend.append(item);
  });
}

// --- the table ----------------------------------------------------------------------------------------------------------------
const COLUMNS = [
  ["row", (r) => r.title, (v) => v], ["size", (r) => r.size, (v) => v],
  ["ours", (r) => r.ours, duration], ["20 %", (r) => r.low, duration], ["80 %", (r) => r.high, duration],
  ["GB/s", (r) => (r.bytes && r.ours ? r.bytes / r.ours / 1e9 : null), (v) => v.toFixed(1)],
  ["% of copy", (r) => (r.roof && r.ours ? (100 * r.roof) / r.ours : null), (v) => v.toFixed(0)],
  ["best peer", (r) => r.best, (v) => v], ["its time", (r) => (r.best ? r.peers[r.best] : null), duration],
  ["ratio", (r) => r.ratio, short], ["verdict", (r) => r.verdict, (v) => v],
  ["bytes", (r) => r.bytes || null, (v) => v.toLocaleString("en")], ["operations", (r) => r.operations || null, (v) => v.toLocaleString("en")],
  ["error", (r) => r.error, (v) => v.toExponential(0)],
];
let sorted = [9, 1];

function draw() {
  const text = byId("text").value.toLowerCase(), behind = byId("behind").checked;
  const wanted = Object.fromEntries(["family", "size", "dtype", "part"].map((id) => [id, byId(id).value]));
  const rows = DATA.rows.filter((r) => r.title.toLowerCase().includes(text) && (!behind || r.ratio < 1)
    && Object.entries(wanted).every(([key, value]) => !value || r[key] === value));
  const [column, sign] = sorted, of = COLUMNS[column][1], none = (v) => v === null || v === undefined || v === "";
  rows.sort((a, b) => {
    const [p, q] = [of(a), of(b)];
    if (none(p) || none(q)) return none(p) - none(q);
    return sign * (typeof p === "string" ? p.localeCompare(q) : p - q);
  });
  byId("count").textContent = `${rows.length} of ${DATA.rows.length} rows`;
  const table = byId("table"), body = document.createElement("tbody");
  for (const row of rows) {
    const line = body.insertRow();
    for (const [name, get, show] of COLUMNS) {
      const cell = line.insertCell(), value = get(row);
      cell.textContent = none(value) ? "" : show(value);
      if ((name === "ratio" || name === "verdict") && row.ratio) cell.className = row.verdict;
    }
  }
  const head = document.createElement("thead"), line = head.insertRow();
  COLUMNS.forEach(([name], i) => {
    const cell = document.createElement("th"), button = document.createElement("button");
    button.textContent = name + (i === column ? (sign > 0 ? " ↑" : " ↓") : "");
    button.onclick = () => { sorted = [i, i === column ? -sign : 1]; draw(); };
    cell.scope = "col";
    cell.append(button);
    line.append(cell);
  });
  table.replaceChildren(head, body);
}

for (const id of ["family", "size", "dtype", "part"]) {
  const options = ["", ...new Set(DATA.rows.map((r) => r[id]).filter(Boolean))].map((value) => new Option(value || "all", value));
  byId(id).append(...options);
}
for (const id of ["text", "family", "size", "dtype", "part", "behind"]) byId(id).addEventListener("input", draw);

const behind = DATA.rows.filter((r) => r.ratio !== null && r.ratio < 1).sort((a, b) => a.ratio - b.ratio);
const compared = DATA.rows.filter((r) => r.ratio !== null).length;
byId("slower-title").textContent = `Where the best peer is faster: ${behind.length} of ${compared} rows`;
const most = 40;
bars(byId("slower"), behind.slice(0, most).map((r) => ({
  title: r.title, ratio: r.ratio, note: `${r.best}`, low: r.peers[r.best] / r.high, high: r.peers[r.best] / r.low,
})), `their time / our time${behind.length > most ? `; the worst ${most}, the others are in the table` : ""}`);
bars(byId("asked"), DATA.asked.map((d) => ({ title: d.title, ratio: d.ratio, note: `${d.ratio < d.asked ? "missed" : ""}`, mark: d.asked })), "ratio; the mark is what was asked");
bars(byId("families"), DATA.means.filter((m) => m.peer === "best").sort((a, b) => (b.family === "all") - (a.family === "all") || a.family.localeCompare(b.family) || a.size.localeCompare(b.size))
  .map((m) => ({ title: `${m.family}, ${m.size}`, ratio: m.ratio, note: `(${m.rows})` })), "their time / our time, geometric mean");
roofline(byId("roofline"), byId("legend"));
draw();
