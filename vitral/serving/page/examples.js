// Pictures that whoever serves offers to try: small buttons that add one as if it had been chosen from the disk.

import * as api from "./api.js";
import { byId, make } from "./dom.js";

/** Show them, once; without any, nothing is shown. */
export async function offer(add, say) {
  const list = byId("tries");
  if (list.childElementCount) return;
  let names = [];
  try {
    names = await api.examples();
  } catch {
    return;
  }
  for (const [place, name] of names.entries()) {
    const button = make("button", { type: "button", "aria-label": `Try ${name}` });
    list.append(make("li", {}, button));
    const fetched = api.example(place, name);
    fetched.then((file) => button.append(make("img", { alt: "", src: URL.createObjectURL(file) }))).catch(() => button.append(name));
    button.addEventListener("click", () => fetched.then((file) => add([file])).catch((error) => say(`${name}: ${error.message}`)));
  }
  byId("examples").hidden = !names.length;
}
