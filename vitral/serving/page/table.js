// Many pictures: a table, and the same as CSV for a spreadsheet.

import { called, make, percent } from "./dom.js";

const FORMULA = /^[=+\-@\t\r]/;

/** A cell of CSV. Spreadsheets take what begins like a formula for one, so an apostrophe goes before it. */
export function cell(value) {
  let text = String(value ?? "");
  if (typeof value !== "number" && FORMULA.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** All answers, one line per picture and model. */
export function csv(pictures, models, top) {
  const places = Array.from({ length: top }, (_, k) => [`top${k + 1}`, `probability${k + 1}`]).flat();
  const lines = [["picture", "model", "sha256", "error", ...places]];
  for (const picture of pictures) {
    for (const model of models) {
      const answer = picture.answers[model.name];
      if (answer === undefined) continue;
      const failed = answer instanceof Error;
      const guesses = failed ? [] : answer.slice(0, top).flatMap((guess) => [called(guess), guess.probability]);
      lines.push([picture.name, model.name, model.sha256, failed ? answer.message : "", ...guesses]);
    }
  }
  return `${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** Hand a text to the browser as a file. */
export function save(text, name) {
  const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The head of the table. */
export function columns(models) {
  const names = models.length > 1 ? models.flatMap((model) => [model.name, ""]) : ["Answer", ""];
  return make("tr", {}, make("th", { scope: "col", "aria-label": "Thumbnail" }), make("th", { scope: "col" }, "Name"), ...names.map((name) => make("th", { scope: "col" }, name)));
}

/** One picture's row. */
export function row(picture, models, current, choose) {
  const button = make("button", { type: "button" }, picture.name);
  button.addEventListener("click", choose);
  const thumb = make("img", { src: picture.url, alt: "", loading: "lazy" });
  thumb.addEventListener("error", () => thumb.classList.add("broken"));
  const answers = models.map((model) => picture.answers[model.name]);
  const first = answers.map((answer) => (Array.isArray(answer) ? answer[0].label : null));
  const differs = first.length > 1 && first[0] !== null && first[1] !== null && first[0] !== first[1];
  const cells = answers.flatMap((answer) => cells_of(answer, differs));
  const line = make("tr", {}, make("td", { className: "thumb" }, thumb), make("td", {}, button), ...cells);
  if (current) line.setAttribute("aria-current", "true");
  return line;
}

function cells_of(answer, differs) {
  if (answer instanceof Error) return [make("td", { className: "trouble" }, answer.message), make("td", {})];
  if (!answer) return [make("td", { className: "waiting" }, "…"), make("td", {})];
  const [guess] = answer;
  const name = make("span", { className: "clamp" }, called(guess));
  return [make("td", { className: differs ? "differs" : "" }, name), make("td", { className: "number" }, percent(guess.probability))];
}
