// Elements with text that is never read as HTML: names of files and classes may hold anything.

export const byId = (id) => document.getElementById(id);

/** An element: properties (or attributes where there is a dash in the name), then children or texts. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A share in [0, 1] as people read it; small ones keep a digit that is not 0, and only what is certain is 100%. */
export function percent(share) {
  if (share > 0 && share < 0.0001) return "< 0.01%";
  if (share < 1 && share > 0.9999) return "> 99.99%";
  return `${(100 * share).toFixed(2)}%`;
}

/** What a class is called: its description where its name is an identifier. */
export const called = (guess) => guess.description ?? guess.label;
