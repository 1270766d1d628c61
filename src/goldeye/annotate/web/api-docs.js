// The server's OpenAPI description as a page to read.

import { Refused, request } from "./api.js";
import { byId, h, renew, sentence } from "./owner-dom.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

/** @type {Record<string, any>} the schemas that others refer to */
let schemas = {};

async function begin() {
  try {
    const description = await request("GET", "/api/openapi.json");
    schemas = description.components?.schemas ?? {};
    draw(description);
  } catch (error) {
    const refused = error instanceof Refused && (error.status === 401 || error.status === 403);
    const text = refused ? "This page is for the owner: please open the owner’s link first." : sentence(error);
    byId("api").replaceChildren(h("h1", {}, "The HTTP interface"), h("p", { class: "panel hello", role: "alert" }, text));
  }
}

/** @param {any} description */
function draw({ info, paths }) {
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({ path, method, operation: item[method], shared: item.parameters ?? [] })));
  renew(
    byId("api"),
    h("h1", {}, "The HTTP interface"),
    h("p", {}, `${info.title}, version ${info.version}. `, "The description itself: ", h("a", { href: "/api/openapi.json" }, "openapi.json"), "."),
    info.description && h("p", { class: "text" }, info.description),
    h("p", {}, "Every POST needs the header ", h("code", {}, "X-Goldeye: 1"), " and a JSON body. An error is ",
      h("code", {}, '{"error": {"code", "message"}}'), "."),
    h("nav", { class: "contents", "aria-label": "All paths" }, h("ul", {}, operations.map(({ path, method }) =>
      h("li", {}, h("a", { href: `#${anchor(path, method)}` }, h("code", {}, `${method.toUpperCase()} ${path}`)))))),
    operations.map(({ path, method, operation, shared }) => section(path, method, operation, shared)),
  );
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

/** @param {string} path @param {string} method */
const anchor = (path, method) => `${method}${path.replace(/[^A-Za-z0-9]+/g, "-")}`;

/** @param {string} path @param {string} method @param {any} operation @param {any[]} shared  parameters of all methods */
function section(path, method, operation, shared) {
  const id = anchor(path, method);
  const parameters = [...shared, ...(operation.parameters ?? [])];
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  return h(
    "section",
    { class: "panel operation", id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, h("code", {}, `${method.toUpperCase()} ${path}`)),
    operation.summary && operation.summary !== operation.description && h("p", { class: "strong" }, operation.summary),
    operation.description && h("p", { class: "text" }, operation.description),
    parameters.length > 0 && fields("Parameters", parameters.map((parameter) => ({
      name: parameter.name,
      type: `${typeName(parameter.schema)}, in the ${parameter.in}`,
      needed: parameter.required === true,
      text: parameter.description ?? parameter.schema?.description ?? "",
    }))),
    body && fields("Body", properties(body)),
    fields("Answers", Object.entries(operation.responses ?? {}).map(([status, response]) => ({
      name: status, type: answerType(response), needed: null, text: response.description ?? "",
    }))),
  );
}

/** @param {string} title @param {{name: string, type: string, needed: boolean | null, text: string}[]} rows */
function fields(title, rows) {
  if (rows.length === 0) return null;
  const lines = rows.map(({ name, type, needed, text }) =>
    h("div", {},
      h("dt", {}, h("code", {}, name), needed === false && h("span", { class: "tag" }, "optional")),
      h("dd", {}, type && h("code", { class: "soft" }, type), type && text && " ", text)));
  return [h("h3", {}, title), h("dl", { class: "fields-list" }, lines)];
}

/** The fields of a body. @param {any} schema */
function properties(schema) {
  const { properties: all, required = [], description } = resolve(schema);
  if (!all) return [{ name: "body", type: typeName(schema), needed: true, text: description ?? "" }];
  return Object.entries(all).map(([name, field]) => ({
    name, type: typeName(field), needed: required.includes(name), text: resolve(field).description ?? "",
  }));
}

/** @param {any} response */
function answerType(response) {
  return Object.entries(response.content ?? {})
    .map(([kind, { schema }]) => (kind === "application/json" ? typeName(schema) : kind))
    .filter((text) => text !== "any")
    .join(" or ");
}

/** What a schema refers to, or itself. @param {any} schema */
function resolve(schema) {
  const name = schema?.$ref?.split("/").at(-1);
  return name ? schemas[name] ?? {} : schema ?? {};
}

/** A type in one line, as in `"a" | "b" | null` or `string (1 to 200 characters)`. @param {any} schema @returns {string} */
function typeName(schema) {
  if (schema?.$ref) {
    const target = resolve(schema);
    return target.type === "object" || target.properties ? schema.$ref.split("/").at(-1) : typeName(target);
  }
  const choices = schema?.anyOf ?? schema?.oneOf ?? schema?.allOf;
  if (choices) return [...new Set(choices.map(typeName))].join(" | ");
  if (schema?.const !== undefined) return JSON.stringify(schema.const);
  if (schema?.enum) return schema.enum.map((/** @type {unknown} */ value) => JSON.stringify(value)).join(" | ");
  if (schema?.type === "array") return `[${typeName(schema.items)}, …]`;
  return (schema?.type ?? "any") + limits(schema ?? {});
}

/** @param {any} schema */
function limits({ minLength, maxLength, minimum, maximum, pattern }) {
  const parts = [];
  if (pattern) parts.push(`like ${pattern}`);
  if (maxLength !== undefined) parts.push(`${minLength ?? 0} to ${maxLength} characters`);
  if (minimum !== undefined || maximum !== undefined) parts.push(`${minimum ?? "…"} to ${maximum ?? "…"}`);
  return parts.length > 0 ? ` (${parts.join("; ")})` : "";
}

begin();
