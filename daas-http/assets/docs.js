// Shows the OpenAPI document. All text goes in as text, never as markup.
"use strict";

function make(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

function rows(head, lines) {
  const table = make("table");
  table.append(make("tr", "", ...head.map((name) => make("th", name))));
  for (const line of lines) {
    table.append(make("tr", "", ...line.map((cell) => make("td", cell))));
  }
  return table;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const several = schema.oneOf || schema.anyOf;
  if (several) return several.map(typeOf).join(" or ");
  const type = [].concat(schema.type || "object").join(" or ");
  return type.startsWith("array") ? "list of " + typeOf(schema.items) : type;
}

function bodyOf(content) {
  const found = Object.entries(content || {});
  return found.map(([media, { schema }]) => (media + " " + typeOf(schema)).trim()).join(", ");
}

function showRoute(path, method, route) {
  const summary = make("summary", "", make("b", method.toUpperCase()), make("code", path));
  const box = make("details", "", summary, make("p", route.summary), make("p", route.description));
  const parameters = route.parameters || [];
  if (parameters.length) {
    box.append(make("h3", "Parameters"));
    const lines = parameters.map((p) => [p.name, p.in, p.description || ""]);
    box.append(rows(["name", "in", "meaning"], lines));
  }
  if (route.requestBody) {
    box.append(make("h3", "Body"), make("p", bodyOf(route.requestBody.content)));
  }
  box.append(make("h3", "Answers"));
  const answers = Object.entries(route.responses);
  const lines = answers.map(([status, a]) => [status, a.description, bodyOf(a.content)]);
  box.append(rows(["status", "meaning", "body"], lines));
  return box;
}

function showSchema(name, schema) {
  const box = make("details", "", make("summary", name), make("p", schema.description));
  const required = schema.required || [];
  const lines = Object.entries(schema.properties || {}).map(([field, inner]) => [
    field + (required.includes(field) ? " *" : ""),
    typeOf(inner),
    inner.description || "",
  ]);
  box.append(rows(["field", "type", "meaning"], lines));
  return box;
}

async function main() {
  const state = document.getElementById("state");
  try {
    const answer = await fetch("/api/v1/openapi.json");
    if (!answer.ok) throw new Error("status " + answer.status);
    const api = await answer.json();
    const routes = document.getElementById("routes");
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, route] of Object.entries(methods)) {
        routes.append(showRoute(path, method, route));
      }
    }
    const schemas = document.getElementById("schemas");
    for (const [name, schema] of Object.entries(api.components.schemas)) {
      schemas.append(showSchema(name, schema));
    }
    state.remove();
  } catch (error) {
    state.className = "error";
    state.textContent = "The document cannot be read: " + error.message;
  }
}

main();
