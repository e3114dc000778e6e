// Sends a request to this very server and shows its answer.

// The most of an endless answer that is kept on the page, in characters.
const SHOWN_MAX = 200000;

// An element with properties and children: texts or elements.
export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// What a body may look like: the fields that must be there.
function example(api, schema) {
  const whole = schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;
  const value = (inner) => {
    const type = [].concat(inner.type || "object")[0];
    const blanks = { integer: inner.minimum || 0, boolean: false, array: [], object: {} };
    return blanks[type] ?? "";
  };
  const names = whole.required || [];
  return Object.fromEntries(names.map((name) => [name, value(whole.properties[name])]));
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

// The same call for a terminal; the key comes from its file, never from the page.
function curl(request) {
  const parts = ["curl", "-sS"];
  if (request.method !== "GET") parts.push("-X", request.method);
  for (const [name, value] of Object.entries(request.headers)) {
    const isKey = name === "Authorization";
    const header = isKey ? '"Authorization: Bearer $(cat KEYFILE)"' : quoted(name + ": " + value);
    parts.push("-H", header);
  }
  if (request.body !== undefined) parts.push("-d", quoted(request.body));
  parts.push(quoted(location.origin + request.path));
  return parts.join(" ");
}

// The request that the fields describe.
function read(path, method, route, inputs, text, key) {
  const headers = {};
  const query = new URLSearchParams();
  for (const [parameter, input] of inputs) {
    const value = input.value.trim();
    if (parameter.in === "path") {
      if (!value) throw new Error(parameter.name + " is needed");
      path = path.replace("{" + parameter.name + "}", encodeURIComponent(value));
    } else if (value && parameter.in === "query") {
      query.set(parameter.name, value);
    } else if (value) {
      headers[parameter.name] = value;
    }
  }
  if ([...query].length) path += "?" + query;
  const takesKey = (route.security || []).some((way) => "key" in way);
  if (takesKey && key) headers.Authorization = "Bearer " + key;
  const request = { method: method.toUpperCase(), path, headers };
  if (text) {
    headers["Content-Type"] = "application/json";
    request.body = text.value;
  }
  return request;
}

// Reads an answer to its end, showing what has come so far.
async function follow(answer, shown) {
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    text = (text + value).slice(-SHOWN_MAX);
    shown.textContent = text;
  }
  shown.textContent = pretty(text);
}

const TOLD = ["location", "retry-after", "x-request-id"];

async function send(request, box, signal) {
  const { method, headers, body, path } = request;
  const began = performance.now();
  const answer = await fetch(path, { method, headers, body, signal, redirect: "manual" });
  const took = Math.round(performance.now() - began);
  const told = TOLD.filter((name) => answer.headers.has(name));
  const line = told.map((name) => name + ": " + answer.headers.get(name));
  const status = (answer.status + " " + answer.statusText).trim();
  box.state.textContent = [status, took + " ms", ...line].join(" · ");
  box.state.className = answer.ok ? "good" : "bad";
  await follow(answer, box.shown);
}

function field(parameter) {
  const placeholder = parameter.required ? "needed" : "";
  const input = make("input", { placeholder, spellcheck: false });
  const label = make("label", {}, make("code", {}, parameter.name), input);
  return { label, input };
}

// The form with which a route is tried.
export function tryBox(api, path, method, route, key) {
  const form = make("form", { className: "try", autocomplete: "off" }, make("h3", {}, "Try it"));
  const fields = make("div", { className: "fields" });
  const inputs = (route.parameters || []).map((parameter) => {
    const { label, input } = field(parameter);
    fields.append(label);
    return [parameter, input];
  });
  if (inputs.length) form.append(fields);
  let text = null;
  if (route.requestBody) {
    const { schema } = route.requestBody.content["application/json"];
    const value = JSON.stringify(example(api, schema), null, 2);
    text = make("textarea", { value, rows: value.split("\n").length + 1, spellcheck: false });
    form.append(make("label", {}, "Body", text));
  }
  const go = make("button", {}, "Send");
  const stop = make("button", { type: "button", className: "second", disabled: true }, "Stop");
  const state = make("span", { role: "status" });
  const command = make("pre", { hidden: true });
  const shown = make("pre", { hidden: true, tabIndex: 0 });
  form.append(make("div", { className: "acts" }, go, stop, state), command, shown);

  let running = null;
  stop.addEventListener("click", () => running && running.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running = new AbortController();
    const { signal } = running;
    [go.disabled, stop.disabled, state.className, state.textContent] = [true, false, "", "sent…"];
    try {
      const request = read(path, method, route, inputs, text, key());
      command.textContent = curl(request);
      shown.textContent = "";
      command.hidden = shown.hidden = false;
      await send(request, { state, shown }, signal);
    } catch (error) {
      state.className = signal.aborted ? "" : "bad";
      state.textContent = signal.aborted ? "stopped" : error.message;
    }
    shown.hidden = !shown.textContent;
    [go.disabled, stop.disabled] = [false, true];
  });
  return form;
}
