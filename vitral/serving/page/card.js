// A model card's Markdown as elements. Only what cards use is known; whatever else stays text, and links stay words.

import { make } from "./dom.js";

/** Elements of a card, without the settings that stand before it. */
export function card(markdown) {
  const text = markdown.replace(/^---\n[\s\S]*?\n---\n/, "");
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const made = [];
  while (lines.length) made.push(block(lines));
  return made.filter(Boolean);
}

function block(lines) {
  const line = lines.shift();
  if (!line.trim()) return null;
  const heading = /^(#{1,6}) (.*)/.exec(line);
  if (heading) return make(`h${Math.min(6, heading[1].length + 2)}`, {}, ...inline(heading[2]));
  if (line.startsWith("```")) {
    const code = [];
    while (lines.length && !lines[0].startsWith("```")) code.push(lines.shift());
    lines.shift();
    return make("pre", { tabIndex: 0 }, code.join("\n"));
  }
  if (line.startsWith("|")) return table([line, ...taken(lines, (next) => next.startsWith("|"))]);
  if (/^[-*] /.test(line)) {
    const items = [line, ...taken(lines, (next) => /^([-*] |  )/.test(next))];
    return make("ul", {}, ...items.map((item) => make("li", {}, ...inline(item.replace(/^([-*] |  +)/, "")))));
  }
  const rest = taken(lines, (next) => next.trim() && !/^(#|```|\||[-*] )/.test(next));
  return make("p", {}, ...inline([line, ...rest].join(" ")));
}

function taken(lines, fits) {
  const found = [];
  while (lines.length && fits(lines[0])) found.push(lines.shift());
  return found;
}

function table(lines) {
  const rows = lines.map((line) => line.replace(/^\||\|\s*$/g, "").split(/(?<!\\)\|/).map((text) => text.trim().replaceAll("\\|", "|")));
  const isRule = (cells) => cells.every((text) => /^:?-+:?$/.test(text));
  const body = rows.filter((cells) => !isRule(cells));
  const head = rows.length > 1 && isRule(rows[1]) ? body.shift() : null;
  const line = (cells, tag) => make("tr", {}, ...cells.map((text) => make(tag, {}, ...inline(text))));
  return make("table", {}, head && make("thead", {}, line(head, "th")), make("tbody", {}, ...body.map((cells) => line(cells, "td"))));
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).filter(Boolean).map((part) => {
    if (part.startsWith("`") && part.length > 1) return make("code", {}, part.slice(1, -1));
    if (part.startsWith("**") && part.length > 4) return make("strong", {}, part.slice(2, -2));
    return part.replace(/\[([^[\]]+)\]\(([^()]+)\)/g, "$1 ($2)");
  });
}
