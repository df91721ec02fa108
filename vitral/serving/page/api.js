// Questions to the server that this page came from.

const KEY = "vitral-key";

/** An answer that is an error: `status` of HTTP, `code` for programs, a sentence for people. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Keep a key for as long as this tab lives. */
export function unlock(key) {
  sessionStorage.setItem(KEY, key);
}

/** Ask; an overloaded server is asked again after the time that it names. */
export async function ask(path, options = {}, attempts = 8) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch {
    throw new Refused(0, "unreachable", "The server does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  const wait = Number(answer.headers.get("retry-after"));
  if ((answer.status === 429 || answer.status === 503) && wait && attempts > 0) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * wait * (0.5 + Math.random())));
    return ask(path, options, attempts - 1);
  }
  let error = {};
  try {
    error = (await answer.json()).error;
  } catch {
    // Not from vitral, so there is no sentence in it.
  }
  throw new Refused(answer.status, error.code ?? "unknown", error.message ?? `The server answered ${answer.status}.`);
}

const words = (given) => {
  const kept = Object.entries(given).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return new URLSearchParams(kept).toString();
};

const picture = (file, headers = {}) => ({
  method: "POST",
  body: file,
  headers: { "content-type": "application/octet-stream", ...headers },
});

/** Every model that is served. */
export async function models() {
  return (await (await ask("/v1/models")).json()).models;
}

/** One model with its classes and card. */
export async function model(name) {
  return (await ask(`/v1/models/${encodeURIComponent(name)}`)).json();
}

/** The likeliest classes of a picture: [{label, description, probability}]. */
export async function classify(file, name, top) {
  const answer = await ask(`/v1/classify?${words({ model: name, top })}`, picture(file));
  return (await answer.json()).results[0].predictions;
}

/** Where the answer comes from: {picture, map}, two pictures of one size. */
export async function explain(file, options) {
  return (await ask(`/v1/explain?${words(options)}`, picture(file, { accept: "application/json" }))).json();
}

/** Names of the pictures that may be tried, in order. */
export async function examples() {
  return (await (await ask("/v1/examples")).json()).examples;
}

/** One of them, as if it had been chosen from the disk. */
export async function example(place, name) {
  return new File([await (await ask(`/v1/examples/${place}`)).blob()], name);
}
