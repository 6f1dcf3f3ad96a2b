// What a reload keeps: the columns with their conversations, and the settings. Large pictures and documents are not
// kept; their names are, so that the conversation still says what was there.

const PLACE = "awsllm.playground";
const LARGEST = 100_000; // characters of an attachment in base64

export const NO_SETTINGS = {
  system: "",
  maxTokens: "",
  temperature: "",
  topP: "",
  stops: "",
  tools: "",
  toolChoice: "auto",
  schema: "",
  guardrail: "",
};

export const state = load();

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE));
    const columns = kept.columns.map(({ model, messages }) => ({
      model: String(model),
      messages: messages.filter(isMessage),
    }));
    if (columns.length) return { columns, settings: { ...NO_SETTINGS, ...kept.settings }, draft: kept.draft ?? "" };
  } catch {
    // Nothing kept, or nothing that can be read: a new start.
  }
  return { columns: [{ model: "", messages: [] }], settings: { ...NO_SETTINGS }, draft: "" };
}

function isMessage(message) {
  return ["user", "assistant"].includes(message?.role) && Array.isArray(message.content);
}

let saving = 0;

export function save() {
  clearTimeout(saving);
  saving = setTimeout(saveNow, 250);
}

export function saveNow() {
  clearTimeout(saving);
  try {
    localStorage.setItem(
      PLACE,
      JSON.stringify(state, (name, value) => (isLarge(value) ? { lost: value.name ?? "image" } : value)),
    );
  } catch {
    // No room, or no storage: the page works on, and forgets.
  }
}

const bytesOf = (block) => (block.image ?? block.document)?.source?.bytes;
const isLarge = (value) => value && typeof value === "object" && (bytesOf(value)?.length ?? 0) > LARGEST;

// --- the wire --------------------------------------------------------------------------------------------------------

const KINDS = ["text", "image", "document", "toolUse", "toolResult", "reasoningContent"];

/** A conversation in Converse's names. Neighbours of one role (a turn that was stopped, or failed) become one. */
export function toWire(messages) {
  const turns = [];
  for (const { role, content } of messages) {
    const blocks = content.map(blockToWire).filter(Boolean);
    if (!blocks.length) continue;
    if (turns.at(-1)?.role === role) turns.at(-1).content.push(...blocks);
    else turns.push({ role, content: blocks });
  }
  return turns;
}

function blockToWire(block) {
  if ("lost" in block) return { text: `[${block.lost}: attached, and no longer there]` };
  const kind = KINDS.find((name) => name in block);
  if (kind === "text" && !block.text.trim()) return null;
  return kind ? { [kind]: block[kind] } : null;
}

/** The request that the settings make of a conversation; what is not set is left out. Throws where JSON is broken. */
export function requestOf(model, messages) {
  const { system, maxTokens, temperature, topP, stops, tools, toolChoice, schema, guardrail } = state.settings;
  const number = (text) => (text === "" ? undefined : Number(text));
  const lines = stops
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replaceAll("\\n", "\n"));
  const inference = {
    maxTokens: number(maxTokens),
    temperature: number(temperature),
    topP: number(topP),
    stopSequences: lines.length ? lines : undefined,
  };
  const list = readTools(tools);
  return {
    model,
    messages: toWire(messages),
    system: system.trim() ? [{ text: system }] : undefined,
    inferenceConfig: Object.values(inference).some((value) => value !== undefined) ? inference : undefined,
    toolConfig: list.length ? { tools: list, toolChoice: toolChoice === "any" ? { any: {} } : undefined } : undefined,
    outputSchema: readSchema(schema) ?? undefined,
    guardrailConfig: guardrail ? { guardrailIdentifier: guardrail, guardrailVersion: "DRAFT" } : undefined,
  };
}

/** The tools of the editor: Converse's specifications, each alone or in its `toolSpec`. Throws what is wrong. */
export function readTools(text) {
  if (!text.trim()) return [];
  const list = [parsed(text)].flat();
  return list.map((tool, index) => {
    const spec = tool?.toolSpec ?? tool;
    if (typeof spec?.name !== "string") throw new Error(`Tool ${index + 1} has no name.`);
    if (!spec.inputSchema) throw new Error(`${spec.name} has no inputSchema.`);
    const inputSchema = spec.inputSchema.json ? spec.inputSchema : { json: spec.inputSchema };
    return { toolSpec: { ...spec, inputSchema } };
  });
}

export function readSchema(text) {
  if (!text.trim()) return null;
  const schema = parsed(text);
  if (schema === null || typeof schema !== "object" || Array.isArray(schema))
    throw new Error("A schema is a JSON object.");
  return schema;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON yet: ${error.message}`, { cause: error });
  }
}
