// One model's answer to one picture: what it sees, where the answer comes from, and the bars.

import { explain } from "./api.js";
import { called, make, percent } from "./dom.js";

const NAMES = {
  rollout: "Attention rollout",
  attention: "Attention of a layer",
  relevance: "Relevance for the class",
  gradcam: "Grad-CAM for the class",
  occlusion: "Occlusion for the class",
};

let count = 0;

export class Panel {
  /** `settings` ({shown, opacity, method, layer, head}) are shared by all panels, and kept from picture to picture. */
  constructor(model, settings, changed) {
    this.model = model;
    this.settings = settings;
    this.changed = changed;
    this.id = `panel${(count += 1)}`;
    this.picture = null;
    this.label = null;
    this.asked = 0;
    this.seen = make("img", { alt: "" });
    this.map = make("img", { alt: "", className: "over", hidden: true });
    this.stack = make("div", { className: "stack" }, this.seen, this.map);
    this.note = make("p", { className: "soft small", "aria-live": "polite" });
    this.controls = make("div", { className: "controls" });
    this.answer = make("div", { className: "said" });
    const title = make("h3", { id: this.id }, model.name);
    const controls = make("div", { className: "below" }, this.controls, this.note);
    this.element = make("article", { className: "card panel", "aria-labelledby": this.id }, title, this.stack, this.answer, controls);
    this.offered = Object.keys(model.explanations?.methods ?? {});
    this.drawControls();
  }

  /** Show a picture ({file, url, name}) and this model's answer: predictions, an Error, or undefined while it is awaited. */
  show(picture, answer) {
    const another = this.picture !== picture;
    this.picture = picture;
    if (another) {
      this.label = null;
      this.plain();
    }
    this.seen.alt = picture.name;
    this.drawAnswer(answer);
    if (another || this.waiting) this.waiting = !Array.isArray(answer);
    if (Array.isArray(answer) && (another || !this.explainedFor)) this.explain();
  }

  plain() {
    this.asked += 1;
    this.explainedFor = null;
    this.stack.classList.remove("explained");
    this.map.hidden = true;
    this.note.textContent = "";
    this.seen.src = this.picture.url;
  }

  drawAnswer(answer) {
    if (answer instanceof Error) {
      this.answer.replaceChildren(make("p", { className: "trouble", role: "alert" }, answer.message));
      return;
    }
    if (!answer) {
      this.answer.replaceChildren(make("p", { className: "waiting" }, "Looking …"));
      return;
    }
    const [first] = answer;
    const sure = this.model.calibrated
      ? "Calibrated confidence: its temperature was fitted on pictures that were held out."
      : "The model's own confidence; it was not calibrated.";
    const several = this.model.multi_label ? " Each class is a question of its own, so they need not sum to 100%." : "";
    const bars = make("ol", { className: "bars", "aria-label": "Likeliest classes" }, ...answer.map((guess) => this.bar(guess)));
    const name = make("small", {}, `${percent(first.probability)} likely`);
    this.answer.replaceChildren(
      make("p", { className: "answer" }, called(first), name),
      bars,
      make("p", { className: "soft small" }, sure + several),
    );
  }

  bar(guess) {
    const fill = make("div", { className: "fill" });
    fill.style.width = `${100 * guess.probability}%`;
    const extra = guess.description ? make("small", {}, ` ${guess.label}`) : null;
    const button = make(
      "button",
      { type: "button", "aria-pressed": String(this.label === guess.label), title: "Show where this class is seen" },
      make("span", { className: "name" }, called(guess), extra),
      make("span", { className: "share" }, percent(guess.probability)),
      make("span", { className: "track", "aria-hidden": "true" }, fill),
    );
    button.addEventListener("click", () => this.choose(guess.label));
    return make("li", {}, button);
  }

  /** Ask for one class; a method that knows classes is taken where the chosen one does not. */
  choose(label) {
    this.label = this.label === label ? null : label;
    for (const button of this.answer.querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
    const labels = [...this.answer.querySelectorAll("li button")];
    const at = this.picture.answers[this.model.name]?.findIndex?.((guess) => guess.label === this.label) ?? -1;
    if (at >= 0) labels[at].setAttribute("aria-pressed", "true");
    const knows = (method) => this.model.explanations.methods[method].includes("class");
    if (this.label && this.offered.length && !knows(this.method())) {
      this.settings.method = this.offered.find(knows) ?? this.settings.method;
      this.settings.shown = true;
    }
    this.changed();
  }

  method() {
    return this.offered.includes(this.settings.method) ? this.settings.method : this.offered[0];
  }

  /** The controls that fit the chosen method. */
  drawControls() {
    if (!this.offered.length) {
      this.controls.replaceChildren();
      return;
    }
    const { methods, layers, heads } = this.model.explanations;
    const allowed = methods[this.method()];
    const shown = make("input", { type: "checkbox", checked: this.settings.shown, id: `${this.id}-shown` });
    shown.addEventListener("change", () => this.set({ shown: shown.checked }));
    const parts = [make("div", { className: "switch" }, shown, make("label", { for: shown.id }, "Show where the answer comes from"))];
    if (this.settings.shown) {
      const method = make("select", { id: `${this.id}-method` }, ...this.offered.map((name) => make("option", { value: name }, NAMES[name] ?? name)));
      method.value = this.method();
      method.addEventListener("change", () => this.set({ method: method.value }));
      parts.push(make("label", { for: method.id }, "Method"), method);
      parts.push(...this.range("Opacity", "opacity", 0, 100, 5, (value) => `${value}%`));
      if (allowed.includes("layer")) parts.push(...this.range("Layer", "layer", 1, layers, 1, (value) => `${value}`));
      if (allowed.includes("head")) {
        const many = heads[Math.min(this.layer(), layers) - 1] ?? 0;
        const names = [["", "mean of all"], ...Array.from({ length: many }, (_, k) => [String(k), `head ${k + 1}`])];
        const head = make("select", { id: `${this.id}-head` }, ...names.map(([value, name]) => make("option", { value }, name)));
        head.value = this.settings.head ?? "";
        head.addEventListener("change", () => this.set({ head: head.value === "" ? null : head.value }));
        parts.push(make("label", { for: head.id }, "Head"), head);
      }
    }
    const focused = document.activeElement?.id;
    this.controls.replaceChildren(...parts);
    if (focused?.startsWith(`${this.id}-`)) document.getElementById(focused)?.focus();
  }

  layer() {
    return this.settings.layer ?? this.model.explanations.layers;
  }

  range(name, setting, least, most, step, said) {
    const value = setting === "layer" ? Math.min(this.layer(), most) : this.settings[setting];
    const input = make("input", { type: "range", min: least, max: most, step, id: `${this.id}-${setting}` });
    input.value = value;
    const output = make("output", { for: input.id }, said(value));
    input.addEventListener("input", () => {
      output.textContent = said(input.value);
      if (setting === "opacity") this.set({ opacity: Number(input.value) }, false);
    });
    if (setting !== "opacity") input.addEventListener("change", () => this.set({ [setting]: Number(input.value) }));
    return [make("label", { for: input.id }, name), make("div", { className: "ranged" }, input, output)];
  }

  set(change, anew = true) {
    Object.assign(this.settings, change);
    this.changed(anew);
  }

  /** Fit the picture to the settings; `anew` asks for another map. */
  update(anew = true) {
    this.map.style.opacity = this.settings.opacity / 100;
    if (anew) {
      this.drawControls();
      if (this.picture) this.explain();
    }
  }

  async explain() {
    if (!this.offered.length || !Array.isArray(this.picture.answers[this.model.name])) return;
    if (!this.settings.shown) {
      this.plain();
      return;
    }
    const allowed = this.model.explanations.methods[this.method()];
    const options = { model: this.model.name, method: this.method() };
    if (allowed.includes("layer") && this.settings.layer !== null) options.layer = Math.min(this.layer(), this.model.explanations.layers) - 1;
    if (allowed.includes("head")) options.head = this.settings.head;
    if (allowed.includes("class")) options.label = this.label;
    const asked = (this.asked += 1);
    this.explainedFor = this.picture;
    this.note.textContent = "Looking into the network …";
    try {
      const answer = await explain(this.picture.file, options);
      if (asked !== this.asked) return;
      this.seen.src = answer.picture;
      this.map.src = answer.map;
      this.map.style.opacity = this.settings.opacity / 100;
      this.map.hidden = false;
      this.stack.classList.add("explained");
      this.note.textContent = `The picture as the network sees it, ${this.model.image_size.join(" × ")} pixels; light is where the answer comes from.`;
    } catch (error) {
      if (asked === this.asked) this.note.textContent = `No explanation: ${error.message}`;
    }
  }
}
