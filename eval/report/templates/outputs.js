"use strict";
// The page of outputs: loads a data set and the chosen systems, orders the MRs, shows one of them.
const MOST = 4;
const waiting = {};
const loaded = {};
const state = { set: null, index: null, systems: [], order: [], at: 0, turn: 0 };
const el = id => document.getElementById(id);

// Files of data are scripts (file:// lets a page load nothing else); each calls this with its content.
report.receive = async (key, text) => {
  const bytes = Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  waiting[key].resolve(JSON.parse(await new Response(stream).text()));
};

function load(key) {
  loaded[key] ??= new Promise((resolve, reject) => {
    waiting[key] = { resolve };
    const script = document.createElement("script");
    script.src = `outputs/${key}.js`;
    script.onerror = () => reject(new Error(`outputs/${key}.js is missing; run make report again`));
    document.head.append(script);
  });
  return loaded[key];
}

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text) element.textContent = text; // never as HTML: texts are what a system wrote
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// While a file loads something else may be chosen: of two choices the later one counts.
async function chooseSet(name, wanted = []) {
  const turn = ++state.turn, index = await load(name);
  if (turn !== state.turn) return;
  Object.assign(state, { set: name, index });
  const known = state.index.systems.map(system => system.name);
  const chosen = wanted.filter(system => known.includes(system));
  const boxes = state.index.systems.map(system => {
    const box = make("input", "", { type: "checkbox", value: system.name });
    box.checked = chosen.length ? chosen.includes(system.name) : known.indexOf(system.name) < MOST;
    const label = make("label");
    label.append(box, make("span", `${system.label} · ${system.kind}`));
    return label;
  });
  el("systems").replaceChildren(make("legend", "up to four systems"), ...boxes);
  el("how").textContent = `Slots are found by ${state.index.how}.`;
  el("credit").textContent = state.index.credit;
  el("references").hidden = !state.index.refs;
  await chooseSystems();
}

async function chooseSystems() {
  const turn = ++state.turn;
  const boxes = [...el("systems").querySelectorAll("input")];
  const chosen = boxes.filter(box => box.checked);
  for (const box of boxes) box.disabled = !box.checked && chosen.length >= MOST;
  const systems = chosen.map(box => state.index.systems.find(system => system.name === box.value));
  const contents = await Promise.all(systems.map(system => load(`${state.set}/${system.name}`)));
  if (turn !== state.turn) return;
  state.systems = systems.map((system, i) => ({ ...system, ...contents[i] }));
  const before = el("metric").value;
  const names = [...new Set(state.systems.flatMap(system => Object.keys(system.scores)))];
  el("metric").replaceChildren(...names.map(name => make("option", name)));
  if (names.includes(before)) el("metric").value = before;
  order();
}

const errorsOf = marks => marks.filter(([, , , kind]) => kind !== "right").length;

// How far apart the systems are on an MR: by the metric if all have it, else by the number of slot errors.
function disagreement(i) {
  const scores = state.systems.map(system => system.scores[el("metric").value]);
  const values = state.systems.map((system, place) => scores.every(Boolean) ? scores[place][i] : errorsOf(system.marks[i]));
  return values.length ? Math.max(...values) - Math.min(...values) : 0;
}

function keyOf(kind) {
  const metric = el("metric").value, first = state.systems[0];
  const sign = /SER|TER/.test(metric) ? -1 : 1;
  return {
    test: i => i,
    disagreement: i => -disagreement(i),
    worst: i => first ? (first.scores[metric] ? sign * first.scores[metric][i] : -errorsOf(first.marks[i])) : i,
    errors: i => -state.systems.reduce((sum, system) => sum + errorsOf(system.marks[i]), 0),
  }[kind];
}

function order() {
  const words = el("words").value.toLowerCase(), key = keyOf(el("order").value);
  const has = i => !words || state.index.mrs[i].flat().join(" ").toLowerCase().includes(words) ||
    state.systems.some(system => system.texts[i].toLowerCase().includes(words));
  const keyed = state.index.mrs.map((_, i) => [key(i), i]).filter(([, i]) => has(i));
  keyed.sort(([a, i], [b, j]) => a - b || i - j);
  state.order = keyed.map(([, i]) => i);
  el("count").textContent = `${state.order.length} of ${state.index.mrs.length} MRs`;
  el("mrs").replaceChildren(...state.order.map((i, place) => {
    const button = make("button", `${i + 1}. ${state.index.mrs[i][0].slice(-1)[0]}`, { type: "button" });
    button.append(make("small", state.index.mrs[i].slice(1, 4).map(slot => slot.slice(-1)[0]).join(" · ")));
    button.addEventListener("click", () => show(place));
    const item = make("li");
    item.append(button);
    return item;
  }));
  show(0);
}

// A text with its marks; of marks that overlap the first one stays.
function marked(text, marks) {
  const parts = [];
  let place = 0;
  for (const [start, end, slot, kind] of [...marks].filter(mark => mark[0] >= 0).sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    if (start < place) continue;
    parts.push(text.slice(place, start));
    const mark = make("mark", text.slice(start, end), { class: kind, title: `${kind}: ${slot}` });
    mark.append(make("span", ` (${kind})`, { class: "unseen" }));
    parts.push(mark);
    place = end;
  }
  return [...parts, text.slice(place)];
}

function outputOf(system, i) {
  const section = make("section", "", { class: "output" });
  const head = make("h3");
  head.append(system.run ? make("a", system.label, { href: system.run }) : system.label, " ");
  head.append(make("span", system.kind, { class: `badge ${/no reproduction/.test(system.kind) ? "stand-in" : "plain"}` }));
  const text = make("p", "", { class: "said" });
  text.append(...marked(system.texts[i] || "(says nothing)", system.marks[i]));
  section.append(head, text);
  const missing = system.marks[i].filter(([start]) => start < 0);
  if (missing.length) {
    const line = make("p", "Missing: ");
    line.append(...missing.map(([, , slot]) => make("span", slot, { class: "missing" })));
    section.append(line);
  }
  const scores = Object.entries(system.scores).map(([name, values]) => `${name} ${values[i]}`).join(", ");
  section.append(make("p", scores || "no segment scores are kept", { class: "interval" }));
  return section;
}

function show(place) {
  const buttons = el("mrs").querySelectorAll("button");
  state.at = Math.min(Math.max(place, 0), Math.max(0, state.order.length - 1));
  buttons.forEach((button, i) => i === state.at ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current"));
  el("before").disabled = state.at === 0;
  el("next").disabled = state.at >= state.order.length - 1;
  el("texts").replaceChildren();
  el("slots").replaceChildren();
  if (!state.order.length) {
    el("place").textContent = "No MR has these words";
    return;
  }
  const i = state.order[state.at];
  buttons[state.at].scrollIntoView({ block: "nearest" });
  el("place").textContent = `MR ${i + 1} of ${state.index.mrs.length}`;
  el("slots").append(...state.index.mrs[i].map(slot => {
    const row = make("tr");
    row.append(make("th", slot.slice(0, -1).join(" → "), { scope: "row" }), make("td", slot.slice(-1)[0]));
    return row;
  }));
  el("texts").append(...state.systems.map(system => outputOf(system, i)));
  el("references").querySelector("ul").replaceChildren(...(state.index.refs?.[i] ?? []).map(text => make("li", text)));
  const hash = new URLSearchParams({ set: state.set, mr: i + 1, systems: state.systems.map(system => system.name).join(",") });
  history.replaceState(null, "", `#${hash}`);
}

async function begin() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const sets = [...el("set").options].map(option => option.value);
  el("set").value = sets.includes(wanted.get("set")) ? wanted.get("set") : sets[0];
  await chooseSet(el("set").value, (wanted.get("systems") ?? "").split(","));
  const place = state.order.indexOf(Number(wanted.get("mr")) - 1);
  if (place >= 0) show(place);
}

function told(work) {
  return () => work().catch(error => { el("place").textContent = error.message; });
}

if (el("set")) {
  el("set").addEventListener("change", told(() => chooseSet(el("set").value)));
  el("systems").addEventListener("change", told(chooseSystems));
  el("order").addEventListener("change", order);
  el("metric").addEventListener("change", order);
  el("words").addEventListener("input", order);
  el("choice").addEventListener("submit", event => event.preventDefault());
  el("before").addEventListener("click", () => show(state.at - 1));
  el("next").addEventListener("click", () => show(state.at + 1));
  told(begin)();
}
