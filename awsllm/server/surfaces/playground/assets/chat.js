// The view of conversations: one prompt for all columns, side by side.

import { getJson } from "./api.js";
import { hasAttachments, setUpAttachments, takeAttachments } from "./attachments.js";
import { Column } from "./column.js";
import { announce, byId, h, icon } from "./dom.js";
import {
  SCHEMA_EXAMPLE,
  TOOLS_EXAMPLE,
  closeIfCovering,
  offerGuardrails,
  set,
  setUpSettings,
  settingsFault,
  toggleSettings,
} from "./settings.js";
import { save, state } from "./state.js";

const MOST = 4; // columns

const STARTS = [
  {
    title: "Explain something",
    text: "Explain what a context window is, in three sentences for a newcomer.",
    icon: "send",
  },
  { title: "Call a tool", text: "What is the weather in Reykjavik?", tools: TOOLS_EXAMPLE, icon: "tool" },
  { title: "Answer as JSON", text: "Describe the film Metropolis.", schema: SCHEMA_EXAMPLE, icon: "code" },
];

let columns = [];
let groups = [];
let preferred = null;

const page = {
  remove,
  changed,
  count: () => columns.length,
  indexOf: (column) => columns.indexOf(column),
  preferred: () => columns.find((column) => column.model)?.model ?? preferred,
};

export async function setUpChat() {
  setUpSettings();
  setUpAttachments(notice);
  columns = state.columns.map((record) => new Column(record, page));
  byId("columns").replaceChildren(...columns.map((column) => column.element));
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  byId("prompt").addEventListener("keydown", onKey);
  byId("prompt").addEventListener("input", typed);
  byId("stop").addEventListener("click", stop);
  byId("new-chat").addEventListener("click", clear);
  byId("add-column").addEventListener("click", add);
  byId("prompt").value = state.draft;
  changed();
  await loadModels();
}

/** Ask which models there are; again when an endpoint may have come up. */
export async function loadModels() {
  try {
    let guardrails;
    ({ groups, preferred, guardrails } = await getJson("models"));
    offerGuardrails(guardrails);
  } catch (error) {
    notice(`The models could not be listed: ${error.message}`);
    return;
  }
  columns.forEach((column) => column.offer(groups));
  changed();
}

export const currentColumn = () => columns[0];

// --- the prompt ---

function onKey(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!columns.some((column) => column.busy)) send();
}

function typed() {
  state.draft = byId("prompt").value;
  save();
  grow();
  notice("");
}

function grow() {
  const prompt = byId("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${Math.min(prompt.scrollHeight, innerHeight * 0.4)}px`;
}

export function notice(text) {
  const place = byId("notice");
  place.textContent = text;
  place.hidden = !text;
}

function send() {
  const prompt = byId("prompt");
  const text = prompt.value;
  if (!text.trim() && !hasAttachments()) return;
  const fault = settingsFault();
  if (fault) {
    notice(fault.message);
    toggleSettings(true);
    fault.field.focus();
    return;
  }
  const free = columns.filter((column) => !column.waitsForTools);
  if (!free.length) {
    notice("The model waits for the result of its tool: send that first.");
    document.querySelector(".result-form textarea")?.focus();
    return;
  }
  const content = [...takeAttachments(), ...(text.trim() ? [{ text }] : [])];
  prompt.value = "";
  typed();
  closeIfCovering();
  announce("Asked");
  free.forEach((column) => column.ask(structuredClone(content)));
}

export function stop() {
  const busy = columns.filter((column) => column.busy);
  busy.forEach((column) => column.stop());
  return busy.length > 0;
}

// --- columns ---

export function clear() {
  columns.forEach((column) => column.clear());
  state.columns = columns.map((column) => column.record);
  changed();
  save();
  byId("prompt").focus();
}

function add() {
  if (columns.length >= MOST) return;
  const record = { model: another() ?? page.preferred() ?? "", messages: [] };
  const column = new Column(record, page);
  state.columns.push(record);
  columns.push(column);
  byId("columns").append(column.element);
  column.offer(groups);
  changed();
  save();
  column.select.focus();
  column.element.scrollIntoView({ inline: "end", block: "nearest" });
}

/** A model to compare with: the next of its maker that is not there yet, else any other. */
function another() {
  const taken = new Set(columns.map((column) => column.model));
  const names = groups.map(({ models }) => models.map(({ id }) => id));
  const family = names.find((ids) => ids.includes(columns.at(-1).model)) ?? [];
  return [...family.slice(family.indexOf(columns.at(-1).model)), ...family, ...names.flat()].find(
    (id) => !taken.has(id),
  );
}

function remove(column) {
  column.stop();
  columns = columns.filter((other) => other !== column);
  state.columns = columns.map(({ record }) => record);
  column.element.remove();
  changed();
  save();
  columns.at(-1).select.focus();
}

function changed() {
  const busy = columns.some((column) => column.busy);
  byId("stop").hidden = !busy;
  byId("send").hidden = busy;
  byId("add-column").disabled = columns.length >= MOST;
  byId("columns").dataset.count = columns.length;
  columns.forEach((column, index) => {
    column.renamed();
    column.empty.replaceChildren(
      ...(index === 0 ? welcome() : [h("p", { class: "quiet-words" }, "The next prompt goes to this model, too.")]),
    );
  });
  grow();
}

function welcome() {
  const starts = STARTS.map((start) =>
    h(
      "button",
      { type: "button", class: "start", onclick: () => begin(start) },
      icon(start.icon),
      h("span", {}, h("b", {}, start.title), h("span", {}, start.text)),
    ),
  );
  return [
    h("h2", {}, "What shall the models do?"),
    h(
      "p",
      { class: "lead" },
      "Talk to any model that this server answers for, or to several at once. " +
        "Every call shows up under Calls, as its caller would see it.",
    ),
    h("div", { class: "starts" }, ...starts),
  ];
}

function begin(start) {
  if (start.tools) set("tools", start.tools);
  if (start.schema) set("schema", start.schema);
  byId("prompt").value = start.text;
  typed();
  byId("prompt").focus();
}
