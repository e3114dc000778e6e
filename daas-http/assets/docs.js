// Shows the OpenAPI document, so that it can be read and tried without the internet. All text goes
// in as text, never as markup.
import { make, tryBox } from "./try.js";

// The order in which the methods of one path are shown.
const VERBS = ["get", "post", "delete"];

const byId = (id) => document.getElementById(id);

// A table; cells are texts or elements.
function table(head, lines) {
  const row = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  const top = row("th", head);
  top.className = "head";
  return make("table", {}, make("tbody", {}, top, ...lines.map((cells) => row("td", cells))));
}

// Text whose `code` is shown as such.
function prose(text) {
  const parts = (text || "").split("`");
  return make("span", {}, ...parts.map((part, at) => (at % 2 ? make("code", {}, part) : part)));
}

const nameOf = (ref) => ref.split("/").pop();

// A type, each schema in it a link to its fields.
function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    return make("a", { href: "#schema-" + name }, name);
  }
  const several = schema.oneOf || schema.anyOf;
  const kinds = several
    ? several.filter((inner) => inner.type !== "null")
    : [].concat(schema.type || "object").filter((type) => type !== "null");
  const shown = kinds.map((kind) => {
    if (several) return typeOf(kind);
    if (kind === "array") return make("span", {}, "list of ", typeOf(schema.items));
    const inner = schema.additionalProperties;
    if (inner && inner.$ref) return make("span", {}, typeOf(inner), " by id");
    return schema.format === "date-time" ? "time (RFC 3339)" : kind;
  });
  const apart = shown.flatMap((kind, at) => (at ? [" or ", kind] : [kind]));
  return make("span", {}, ...apart);
}

function fields(schema) {
  const required = schema.required || [];
  const lines = Object.entries(schema.properties || {}).map(([name, inner]) => {
    const optional = [].concat(inner.type || []).includes("null");
    const must = required.includes(name) && !optional;
    const inners = [inner, ...(inner.oneOf || [])];
    const described = inners.map((one) => one.description).find(Boolean);
    return [make("code", must ? { className: "must" } : {}, name), typeOf(inner), prose(described)];
  });
  if (lines.length) return table(["field", "type", "meaning"], lines);
  return make("p", {}, typeOf(schema));
}

function bodyOf(content) {
  const shown = Object.entries(content || {}).map(([media, { schema }]) =>
    schema ? typeOf(schema) : make("code", {}, media),
  );
  return make("span", {}, ...shown);
}

function showRoute(api, path, method, route) {
  const who = route["x-who"] || "";
  const summary = make(
    "summary",
    {},
    make("span", { className: "verb " + method }, method.toUpperCase()),
    make("span", { className: "path" }, path),
    make("span", { className: "says" }, route.summary),
    make("span", { className: "who " + who, title: route.description }, who),
  );
  const inside = make("div", { className: "inside" }, make("p", {}, route.description));
  const parameters = route.parameters || [];
  if (parameters.length) {
    const lines = parameters.map((p) => {
      const name = make("code", p.required ? { className: "must" } : {}, p.name);
      return [name, p.in, prose(p.description)];
    });
    inside.append(make("h3", {}, "Parameters"), table(["name", "where", "meaning"], lines));
  }
  const body = route.requestBody && route.requestBody.content["application/json"].schema;
  if (body) {
    const schema = body.$ref ? api.components.schemas[nameOf(body.$ref)] : body;
    inside.append(make("h3", {}, "Body, as JSON"), fields(schema));
  }
  const answers = Object.entries(route.responses).map(([status, answer]) => [
    make("code", { className: status < 400 ? "good" : "bad" }, status),
    bodyOf(answer.content),
    prose(answer.description),
  ]);
  inside.append(make("h3", {}, "Answers"), table(["status", "body", "meaning"], answers));
  const box = make("details", { className: "route", id: route.operationId }, summary, inside);
  // What can be tried is made when it is looked at.
  box.addEventListener("toggle", () => {
    if (box.open && !inside.querySelector(".try")) {
      inside.append(tryBox(api, path, method, route, () => byId("key").value.trim()));
    }
  });
  return box;
}

function showGroups(api) {
  const groups = new Map((api.tags || []).map((tag) => [tag.name, []]));
  for (const [path, methods] of Object.entries(api.paths)) {
    const inOrder = Object.entries(methods).sort(([a], [b]) => VERBS.indexOf(a) - VERBS.indexOf(b));
    for (const [method, route] of inOrder) {
      const name = (route.tags || ["other"])[0];
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(showRoute(api, path, method, route));
    }
  }
  for (const [name, boxes] of groups) {
    const tag = (api.tags || []).find((one) => one.name === name) || {};
    const about = make("p", { className: "quiet" }, tag.description || "");
    byId("routes").append(make("section", {}, make("h2", {}, name), about, ...boxes));
  }
}

function showSchemas(api) {
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const about = make("p", {}, prose(schema.description));
    const inside = make("div", { className: "inside" }, about, fields(schema));
    const summary = make("summary", {}, make("code", {}, name));
    const box = make("details", { className: "schema", id: "schema-" + name }, summary, inside);
    byId("schemas").append(box);
  }
  byId("schemas").hidden = false;
}

// Shows only what has every word of the filter.
function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of byId("routes").children) {
    let some = false;
    for (const box of section.querySelectorAll("details.route")) {
      const text = box.querySelector("summary").textContent.toLowerCase();
      box.hidden = !words.every((word) => text.includes(word));
      some ||= !box.hidden;
    }
    section.hidden = !some;
  }
}

// Opens what the address names.
function openNamed() {
  const box = byId(decodeURIComponent(location.hash.slice(1)));
  if (!box || box.tagName !== "DETAILS") return;
  box.open = true;
  box.scrollIntoView();
}

async function main() {
  const state = byId("state");
  try {
    const answer = await fetch("/api/v1/openapi.json");
    if (!answer.ok) throw new Error("status " + answer.status);
    const api = await answer.json();
    byId("about").prepend(api.info.description + " ");
    document.querySelector("h1").append(" " + api.info.version);
    showGroups(api);
    showSchemas(api);
    state.remove();
  } catch (error) {
    state.className = "error";
    state.textContent = "The document cannot be read: " + error.message;
    return;
  }
  byId("bar").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("input", filter);
  window.addEventListener("hashchange", openNamed);
  openNamed();
}

main();
