// The same question from a program: copied, they run.

const quoted = (name) => `'${name.replaceAll("'", `'\\''`)}'`;

/** Languages, each with its text, for a server at `origin` that may want a key. */
export function snippets(origin, model, locked) {
  const where = `${origin}/v1/classify?model=${encodeURIComponent(model)}`;
  const key = locked ? `  -H "Authorization: Bearer $VITRAL_API_KEY" \\\n` : "";
  return {
    curl: `curl ${quoted(where)} \\\n${key}  -F picture=@picture.jpg`,
    Python: [
      "from vitral.serving.client import Client",
      "",
      locked ? "import os" : null,
      locked ? `client = Client(${JSON.stringify(origin)}, key=os.environ["VITRAL_API_KEY"])` : `client = Client(${JSON.stringify(origin)})`,
      `for answer in client.classify(["picture.jpg"], model=${JSON.stringify(model)}):`,
      "    best = answer.predictions[0]",
      '    print(answer.name, best.label, f"{best.probability:.2%}")',
    ].filter((line) => line !== null).join("\n"),
    JavaScript: [
      `const answer = await fetch(${JSON.stringify(where)}, {`,
      '  method: "POST",',
      "  body: file, // a File, Blob or ArrayBuffer",
      `  headers: { "content-type": "application/octet-stream"${locked ? ", authorization: `Bearer ${key}`" : ""} },`,
      "});",
      "const [{ predictions }] = (await answer.json()).results;",
    ].join("\n"),
  };
}
