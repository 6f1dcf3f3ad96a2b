// The panel of settings: one set for all columns, so that what is compared are the models.

import { announce, byId, h } from "./dom.js";
import { NO_SETTINGS, readSchema, readTools, save, state } from "./state.js";

const FIELDS = {
  system: "system",
  maxTokens: "max-tokens",
  temperature: "temperature",
  topP: "top-p",
  stops: "stops",
  tools: "tools",
  toolChoice: "tool-choice",
  schema: "schema",
  guardrail: "guardrail",
};

export const TOOLS_EXAMPLE = JSON.stringify(
  [
    {
      name: "get_weather",
      description: "The weather in a city, now.",
      inputSchema: {
        type: "object",
        properties: { city: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
        required: ["city"],
      },
    },
  ],
  null,
  2,
);

export const SCHEMA_EXAMPLE = JSON.stringify(
  {
    type: "object",
    properties: {
      title: { type: "string", maxLength: 60 },
      year: { type: "integer" },
      tags: { type: "array", items: { type: "string", maxLength: 20 }, maxItems: 3 },
    },
    required: ["title", "year", "tags"],
    additionalProperties: false,
  },
  null,
  2,
);

const wide = matchMedia("(min-width: 900px)");

export function setUpSettings() {
  for (const [name, id] of Object.entries(FIELDS)) {
    byId(id).addEventListener("input", (event) => set(name, event.target.value, { typed: true }));
  }
  byId("tools-example").addEventListener("click", () => set("tools", TOOLS_EXAMPLE));
  byId("schema-example").addEventListener("click", () => set("schema", SCHEMA_EXAMPLE));
  byId("reset-settings").addEventListener("click", () => {
    Object.assign(state.settings, NO_SETTINGS);
    show();
    save();
    announce("All settings are the models' own again");
  });
  byId("toggle-settings").addEventListener("click", () => toggleSettings());
  byId("close-settings").addEventListener("click", () => toggleSettings(false));
  show();
}

/** Offer the account's guardrails; one that is gone is not kept. */
export function offerGuardrails(guardrails) {
  byId("guardrail").replaceChildren(
    h("option", { value: "" }, "None"),
    ...guardrails.map(({ id, name }) => h("option", { value: id }, name)),
  );
  byId("guardrail-row").hidden = !guardrails.length;
  if (!guardrails.some(({ id }) => id === state.settings.guardrail)) state.settings.guardrail = "";
  show();
}

export function set(name, value, { typed = false } = {}) {
  state.settings[name] = value;
  save();
  if (typed) judge();
  else show();
}

function show() {
  for (const [name, id] of Object.entries(FIELDS)) byId(id).value = state.settings[name];
  judge();
}

export const settingsAreOpen = () => !byId("settings").hidden;

export function toggleSettings(open = !settingsAreOpen()) {
  byId("settings").hidden = !open;
  byId("toggle-settings").setAttribute("aria-expanded", String(open));
  document.body.classList.toggle("with-settings", open);
  if (open) byId("system").focus({ preventScroll: true });
  else byId("toggle-settings").focus({ preventScroll: true });
}

/** On a phone the panel covers the conversation: whatever is sent closes it. */
export function closeIfCovering() {
  if (settingsAreOpen() && !wide.matches) toggleSettings(false);
}

/** Say under each editor what it holds, and on the button how many settings are not the models' own. */
function judge() {
  const { tools, schema } = state.settings;
  const hasTools = said("tools", () =>
    readTools(tools)
      .map(({ toolSpec }) => toolSpec.name)
      .join(", "),
  );
  said("schema", () => (readSchema(schema) ? "The answer will be JSON of this schema." : ""));
  byId("tool-choice-row").hidden = !(hasTools && tools.trim());
  const changed = Object.keys(NO_SETTINGS).filter(
    (name) => name !== "toolChoice" && state.settings[name] !== "",
  ).length;
  const count = byId("settings-count");
  count.hidden = !changed;
  count.replaceChildren(String(changed), h("span", { class: "sr" }, " changed"));
}

function said(id, judgement) {
  const place = byId(`${id}-state`);
  let fault = null;
  try {
    place.textContent = judgement();
  } catch (error) {
    fault = place.textContent = error.message;
  }
  place.classList.toggle("wrong", fault !== null);
  byId(id).setAttribute("aria-invalid", String(fault !== null));
  const lines = byId(id).value.split("\n").length;
  byId(id).rows = Math.max(3, Math.min(14, lines));
  return fault === null;
}

/** What keeps a prompt from being sent, with the field that it is about; null if nothing does. */
export function settingsFault() {
  for (const [id, read] of [
    ["tools", readTools],
    ["schema", readSchema],
  ]) {
    try {
      read(state.settings[id]);
    } catch (error) {
      return { field: byId(id), message: `${id === "tools" ? "Tools" : "Answer schema"}: ${error.message}` };
    }
  }
  const wrong = ["max-tokens", "temperature", "top-p"].map(byId).find((field) => !field.checkValidity());
  return wrong ? { field: wrong, message: `${wrong.labels[0].textContent}: ${wrong.validationMessage}` } : null;
}
