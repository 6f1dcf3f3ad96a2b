// The log: every call that the server answered, whoever made it, as it happens.

import { getJson } from "./api.js";
import { announce, byId, coloured, copyButton, h, icon } from "./dom.js";

const EVERY = 1500; // milliseconds between two looks
const MOST = 500; // calls shown

const log = { calls: [], next: 0, chosen: null, timer: 0, paused: false, open: false };

export function setUpCalls() {
  byId("calls-filter").addEventListener("input", show);
  byId("calls-pause").addEventListener("click", () => {
    log.paused = !log.paused;
    byId("calls-pause").setAttribute("aria-pressed", String(log.paused));
    byId("calls-pause").textContent = log.paused ? "Paused" : "Pause";
    if (!log.paused) look();
  });
  byId("calls-detail").replaceChildren(hint());
  byId("calls-list").addEventListener("keydown", onArrow);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) look();
  });
}

export function watchCalls(open) {
  log.open = open;
  clearTimeout(log.timer);
  if (open) look();
}

async function look() {
  clearTimeout(log.timer);
  if (!log.open || log.paused || document.hidden) return;
  try {
    const found = await getJson(`calls?after=${log.next}`);
    if (found.next < log.next) log.calls = []; // another server, at the same address
    log.next = found.next;
    if (found.calls.length) {
      log.calls = [...found.calls.toReversed(), ...log.calls].slice(0, MOST);
      show();
    }
  } catch (error) {
    byId("calls-none").textContent = error.message;
  }
  log.timer = setTimeout(look, EVERY);
}

function show() {
  const words = byId("calls-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = log.calls.filter((call) => words.every((word) => textOf(call).includes(word)));
  byId("calls-none").hidden = chosen.length > 0;
  byId("calls-none").textContent = log.calls.length
    ? "No call fits this filter."
    : "No call yet. Whatever asks this server, in any language, shows up here.";
  const focused = document.activeElement?.dataset?.call;
  byId("calls-list").replaceChildren(...chosen.map(row));
  if (focused)
    byId("calls-list")
      .querySelector(`[data-call="${CSS.escape(focused)}"]`)
      ?.focus({ preventScroll: true });
}

const textOf = ({ operation, service, model, path, status, method }) =>
  [operation, service, model, path, status, method].join(" ").toLowerCase();

function row(call) {
  const name = call.operation ?? `${call.method} ${call.path}`;
  const cells = [
    h("time", { datetime: new Date(call.time * 1000).toISOString() }, clock(call.time)),
    h("span", { class: "operation" }, h("b", {}, name), h("small", {}, call.service ?? "")),
    h("span", { class: "model-name" }, call.model ?? ""),
    h("span", { class: "took" }, took(call.seconds)),
    h("span", { class: `status ${tone(call)}` }, h("span", { class: "sr" }, "Status "), stated(call)),
  ];
  return h(
    "li",
    {},
    h(
      "button",
      {
        type: "button",
        class: "call",
        "data-call": call.id,
        "aria-current": String(call.id) === String(log.chosen) ? "true" : null,
        onclick: () => choose(call),
      },
      ...cells,
    ),
  );
}

// A stream that broke had its 200 already.
const broke = ({ status, error }) => status < 400 && Boolean(error);
const stated = (call) => (broke(call) ? "broke" : String(call.status));
const tone = (call) => (call.status >= 500 || broke(call) ? "bad" : call.status >= 400 ? "poor" : "good");
const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour12: false });
const took = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`);

function onArrow(event) {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const item = document.activeElement.closest("li");
  const next = event.key === "ArrowDown" ? item?.nextElementSibling : item?.previousElementSibling;
  if (!next) return;
  event.preventDefault();
  next.firstElementChild.focus();
}

async function choose(call) {
  log.chosen = call.id;
  show();
  const place = byId("calls-detail");
  document.body.classList.add("with-call");
  try {
    const found = await getJson(`calls?id=${encodeURIComponent(call.id)}`);
    place.replaceChildren(...detail(found));
    place.scrollTop = 0;
    announce(`${found.operation ?? found.path}: details shown`);
  } catch (error) {
    place.replaceChildren(h("p", { class: "none" }, error.message));
  }
  if (matchMedia("(max-width: 899px)").matches) place.focus();
}

function detail(call) {
  const facts = {
    Status: stated(call),
    Took: took(call.seconds),
    Service: call.service,
    Time: new Date(call.time * 1000).toLocaleString(),
    Model: call.model,
    Request: `${call.method} ${call.path}`,
    Error: call.error,
  };
  const known = Object.entries(facts).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return [
    h(
      "header",
      {},
      h(
        "button",
        { type: "button", class: "icon narrow-only", "aria-label": "Back to the list", onclick: back },
        icon("back"),
      ),
      h("h2", {}, call.operation ?? `${call.method} ${call.path}`),
    ),
    h(
      "dl",
      { class: "facts" },
      ...known.map(([name, value]) =>
        h(
          "div",
          { class: ["Model", "Request", "Error"].includes(name) && "whole" },
          h("dt", {}, name),
          h("dd", {}, String(value)),
        ),
      ),
    ),
    ...listing("Request", call.request),
    ...listing("Reply", call.reply),
  ];
}

function back() {
  document.body.classList.remove("with-call");
  byId("calls-list").querySelector('[aria-current="true"]')?.focus();
}

function listing(title, value) {
  if (value === null || value === undefined || value === "")
    return [h("div", { class: "listing-head" }, h("h3", {}, title)), h("p", { class: "quiet-words" }, "Nothing")];
  const text = pretty(value);
  return [
    h(
      "div",
      { class: "listing-head" },
      h("h3", {}, title),
      copyButton(() => text),
    ),
    h(
      "pre",
      { class: "listing", tabindex: "0", role: "group", "aria-label": title },
      h("code", {}, ...coloured(text, /^\s*[[{]/.test(text) ? "json" : "")),
    ),
  ];
}

function pretty(value) {
  if (typeof value !== "string") return JSON.stringify(value, null, 2);
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
}

const hint = () => h("p", { class: "none" }, "Choose a call to see what was asked and what was answered.");
