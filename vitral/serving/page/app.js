// The page: pictures come in, answers are asked for a few at a time, and what is chosen is shown.

import * as api from "./api.js";
import * as camera from "./camera.js";
import { card } from "./card.js";
import { byId, called, make, percent } from "./dom.js";
import * as examples from "./examples.js";
import * as history from "./history.js";
import { Panel } from "./panel.js";
import { snippets } from "./snippets.js";
import * as table from "./table.js";

const AT_A_TIME = 4;
const TOP = 5;

const state = {
  models: [], // as /v1/models says
  chosen: [], // one or two of them
  pictures: [], // {name, file, url, answers: {model name: predictions or Error}}
  current: null,
  panels: [],
  waiting: [],
  working: 0,
  locked: false,
  language: "curl",
};

const settings = { shown: true, opacity: 55, method: null, layer: null, head: null };

// Models ---------------------------------------------------------------------------------------------

async function connect() {
  try {
    state.models = await api.models();
  } catch (error) {
    const locked = error.status === 401;
    state.locked ||= locked;
    byId("lock").hidden = !locked;
    byId("drop").hidden = locked;
    if (locked) byId("key").focus();
    status(locked ? "Locked" : error.message, "bad");
    if (!locked) setTimeout(connect, 2000);
    return;
  }
  byId("lock").hidden = true;
  byId("drop").hidden = false;
  const loaded = state.models.every((model) => model.ready);
  status(loaded ? "Ready" : "Loading the model …", loaded ? "ready" : "");
  if (!loaded) {
    setTimeout(connect, 1000);
    return;
  }
  const two = state.models.length > 1;
  byId("comparing").hidden = !two;
  const options = () => state.models.map((model) => make("option", { value: model.name }, model.name));
  byId("model").replaceChildren(...options());
  byId("other").replaceChildren(make("option", { value: "" }, "none"), ...options());
  if (two) byId("other").value = state.models[1].name;
  choose();
  examples.offer(add, say);
}

function status(words, kind) {
  byId("state").textContent = words;
  byId("state").className = `state ${kind}`;
}

function choose() {
  const names = [byId("model").value, byId("other").value].filter((name, k, all) => name && all.indexOf(name) === k);
  state.chosen = names.map((name) => state.models.find((model) => model.name === name));
  byId("served").textContent = state.models.map((model) => model.name).join(", ");
  state.panels = state.chosen.map((model) => new Panel(model, settings, (anew) => state.panels.forEach((panel) => panel.update(anew))));
  byId("panels").replaceChildren(...state.panels.map((panel) => panel.element));
  byId("panels").classList.toggle("two", state.panels.length > 1);
  for (const picture of state.pictures) enqueue(picture);
  draw();
  drawSnippet();
  about(state.chosen[0]);
}

async function about(model) {
  const size = model.image_size.join(" × ");
  const facts = {
    Family: model.family,
    Parameters: model.parameters?.toLocaleString() ?? "in the graph",
    Classes: model.num_classes.toLocaleString(),
    Input: `${size} pixels`,
    Device: [model.device, model.backend === "torch" ? "" : model.backend, model.precision === "float32" ? "" : model.precision].filter(Boolean).join(", "),
    Calibration: model.calibrated ? `temperature ${model.temperature.toFixed(3)}` : "none",
    Version: model.sha256.slice(0, 12),
  };
  byId("facts").replaceChildren(...Object.entries(facts).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  try {
    const whole = await api.model(model.name);
    byId("card-box").hidden = !whole.card;
    byId("card").replaceChildren(...card(whole.card));
  } catch {
    byId("card-box").hidden = true;
  }
}

// Pictures -------------------------------------------------------------------------------------------

function add(files) {
  const added = [...files].map((file) => ({ name: file.name || "pasted picture", file, url: URL.createObjectURL(file), answers: Object.create(null) }));
  if (!added.length || !state.chosen.length) return;
  state.pictures.push(...added);
  for (const picture of added) enqueue(picture);
  select(added[0]);
  byId("drop").classList.add("small-drop");
  byId("drop-hint").textContent = "Drop or paste more pictures";
}

function enqueue(picture) {
  for (const model of state.chosen) {
    const known = picture.answers[model.name];
    const queued = state.waiting.some((one) => one.picture === picture && one.model === model);
    if (known === undefined && !queued) state.waiting.push({ picture, model });
  }
  work();
}

async function work() {
  if (state.working >= AT_A_TIME || !state.waiting.length) return;
  const { picture, model } = state.waiting.shift();
  state.working += 1;
  work();
  try {
    picture.answers[model.name] = await api.classify(picture.file, model.name, Math.min(TOP, model.num_classes));
    const [first] = picture.answers[model.name];
    if (picture === state.current) say(`${picture.name}: ${called(first)}, ${percent(first.probability)}, by ${model.name}`);
    if (model === state.chosen[0]) history.remember(picture, model, picture.answers[model.name]).then(drawHistory);
  } catch (error) {
    picture.answers[model.name] = error;
    if (picture === state.current) say(`${picture.name}: ${error.message}`);
    if (error.status === 401) connect();
  }
  state.working -= 1;
  if (state.pictures.includes(picture)) draw();
  work();
}

function select(picture) {
  state.current = picture;
  draw();
}

function step(by) {
  const at = state.pictures.indexOf(state.current);
  const next = state.pictures[at + by];
  if (next) select(next);
}

function empty() {
  for (const picture of state.pictures) URL.revokeObjectURL(picture.url);
  Object.assign(state, { pictures: [], waiting: [], current: null });
  byId("drop").classList.remove("small-drop");
  byId("drop-hint").textContent = "Drop pictures here, paste one, or";
  draw();
  byId("files").focus();
}

// Drawing --------------------------------------------------------------------------------------------

function draw() {
  byId("result").hidden = !state.current;
  byId("many").hidden = state.pictures.length < 2;
  if (state.current) {
    byId("result-title").textContent = state.current.name;
    for (const panel of state.panels) panel.show(state.current, state.current.answers[panel.model.name]);
  }
  if (byId("many").hidden) return;
  const done = state.pictures.filter((picture) => state.chosen.every((model) => picture.answers[model.name] !== undefined)).length;
  byId("many-title").textContent = `${state.pictures.length} pictures`;
  byId("progress").textContent = done < state.pictures.length ? `${done} of ${state.pictures.length}` : "";
  const focused = document.activeElement?.closest?.("tbody tr")?.rowIndex;
  byId("columns").replaceChildren(table.columns(state.chosen));
  byId("rows").replaceChildren(...state.pictures.map((picture) => table.row(picture, state.chosen, picture === state.current, () => select(picture))));
  if (focused) byId("rows").rows[focused - 1]?.querySelector("button").focus();
}

function drawHistory() {
  byId("past").hidden = !history.draw(byId("history"));
}

function drawSnippet() {
  const all = snippets(location.origin, state.chosen[0]?.name ?? "model", state.locked);
  byId("snippet").textContent = all[state.language];
  const tabs = Object.keys(all).map((language, k, names) => {
    const on = language === state.language;
    const tab = make("button", { type: "button", role: "tab", "aria-selected": String(on), "aria-controls": "snippet", tabIndex: on ? 0 : -1 }, language);
    const go = (name) => {
      state.language = name;
      drawSnippet();
      byId("languages").querySelector("[aria-selected=true]").focus();
    };
    tab.addEventListener("click", () => go(language));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: names.length - 1 }[event.key];
      if (by) go(names[(k + by) % names.length]);
    });
    return tab;
  });
  byId("languages").replaceChildren(...tabs);
}

function say(words) {
  byId("said").textContent = words;
}

// Events ---------------------------------------------------------------------------------------------

for (const id of ["files", "photograph"]) {
  byId(id).addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = "";
  });
}
document.addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  add([...(event.dataTransfer?.files ?? [])]);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, [role=tab], dialog, pre, .scroll");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowRight") step(1);
  if (event.key === "ArrowLeft") step(-1);
});
byId("camera").addEventListener("click", () => {
  camera.open((file) => add([file])).catch(() => say("The camera cannot be used here."));
});
byId("camera").hidden = !navigator.mediaDevices;
byId("model").addEventListener("change", choose);
byId("other").addEventListener("change", choose);
byId("csv").addEventListener("click", () => table.save(table.csv(state.pictures, state.chosen, TOP), "predictions.csv"));
byId("empty").addEventListener("click", empty);
byId("forget").addEventListener("click", () => {
  history.forget();
  drawHistory();
  say("The history is cleared.");
});
byId("copy").addEventListener("click", async () => {
  await navigator.clipboard?.writeText(byId("snippet").textContent);
  byId("copy").textContent = "Copied";
  setTimeout(() => (byId("copy").textContent = "Copy"), 1500);
});
byId("lock").addEventListener("submit", (event) => {
  event.preventDefault();
  api.unlock(byId("key").value.trim());
  byId("key").value = "";
  connect();
});

drawHistory();
connect();
