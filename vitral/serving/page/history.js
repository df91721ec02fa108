// What was asked before, in this browser's own storage; the server keeps nothing.

import { called, make, percent } from "./dom.js";

const PLACE = "vitral-history";
const MOST = 60;
const SIDE = 96;

/** Earlier answers, newest first: [{name, when, model, answer, probability, thumb}]. */
export function past() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => typeof one?.name === "string") : [];
  } catch {
    return [];
  }
}

/** Remember an answer; the oldest make room, also where the browser's storage is full. */
export async function remember(picture, model, answer) {
  const [first] = answer;
  const entry = { name: picture.name, when: Date.now(), model: model.name, answer: called(first), probability: first.probability };
  entry.thumb = await thumbnail(picture.file);
  let kept = [entry, ...past()].slice(0, MOST);
  while (kept.length) {
    try {
      localStorage.setItem(PLACE, JSON.stringify(kept));
      return;
    } catch {
      kept = kept.slice(0, Math.floor(kept.length / 2));
    }
  }
}

/** Forget everything. */
export function forget() {
  localStorage.removeItem(PLACE);
}

/** A list of what was asked. */
export function draw(list) {
  const entries = past();
  list.replaceChildren(
    ...entries.map((one) => {
      const safe = typeof one.thumb === "string" && one.thumb.startsWith("data:image/jpeg;base64,");
      const image = make("img", { alt: "", src: safe ? one.thumb : "/page/icon.svg" });
      const when = new Date(Number(one.when)).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
      const said = make("div", {}, make("strong", {}, String(one.answer)), ` ${percent(Number(one.probability))}`, make("br"), make("span", { className: "soft small" }, `${one.name} · ${one.model} · ${when}`));
      return make("li", {}, image, said);
    }),
  );
  return entries.length;
}

async function thumbnail(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = SIDE / Math.min(bitmap.width, bitmap.height);
    const canvas = make("canvas", { width: SIDE, height: SIDE });
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    canvas.getContext("2d").drawImage(bitmap, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
    bitmap.close();
    return canvas.toDataURL("image/jpeg", 0.8);
  } catch {
    return "";
  }
}
