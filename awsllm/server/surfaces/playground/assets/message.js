// One turn of a conversation as it is shown.

import { thumbnail } from "./attachments.js";
import { coloured, copyButton, h, icon } from "./dom.js";
import { codeBlock, markdown } from "./markdown.js";

/** A turn's element. `actions` are what its column does: retry, answer (the results of tools). */
export function messageElement(message, actions) {
  const isUser = message.role === "user";
  const results = isUser && message.content.some((block) => block.toolResult);
  const label = isUser ? (results ? "Tool results" : "You") : message.model || "Answer";
  const body = h("div", { class: "body" }, ...content(message));
  const parts = [body, ...(isUser ? [] : below(message, actions))];
  return h(
    "li",
    {},
    h("article", { class: `message ${message.role}${results ? " results" : ""}`, "aria-label": label }, ...parts),
  );
}

/** Show what has come so far. What is whole already is left as it is, so that a selection in it survives. */
export function updateBody(element, message) {
  const body = element.querySelector(".body");
  const next = content(message);
  next.forEach((node, index) => {
    const now = body.childNodes[index];
    if (now?.nodeName === "DETAILS" && node.nodeName === "DETAILS") node.open = now.open;
    if (!now) body.append(node);
    else if (!now.isEqualNode(node)) now.replaceWith(node);
  });
  while (body.childNodes.length > next.length) body.lastChild.remove();
}

function content(message) {
  const nodes = message.content.flatMap((block) => blockNodes(block, message));
  if (message.streaming) {
    if (!nodes.length)
      return [
        h(
          "p",
          { class: "waiting" },
          h("span", { class: "dots", "aria-hidden": "true" }),
          h("span", { class: "sr" }, "Waiting for the first word"),
        ),
      ];
    nodes.push(h("span", { class: "caret", "aria-hidden": "true" }));
  }
  return nodes;
}

function blockNodes(block, message) {
  if (block.text !== undefined) return textNodes(block, message);
  if (block.image) return [h("figure", { class: "picture" }, thumbnail(block, block.name ?? "Picture"))];
  if (block.document)
    return [h("p", { class: "file" }, icon("file"), h("span", { class: "name" }, block.name ?? block.document.name))];
  if ("lost" in block)
    return [
      h(
        "p",
        { class: "file lost" },
        icon("file"),
        h("span", { class: "name" }, block.lost),
        h("span", { class: "why" }, "not kept over the reload"),
      ),
    ];
  if (block.toolUse) return [toolCall(block.toolUse)];
  if (block.toolResult) return [toolResult(block.toolResult, block.name ?? "The tool")];
  if (block.reasoningContent) return [reasoning(block.reasoningContent)];
  return [];
}

function textNodes(block, message) {
  if (message.role === "user") return [h("p", { class: "typed" }, block.text)];
  if (message.schema && !message.streaming) {
    const pretty = prettyJson(block.text);
    if (pretty !== null) return [codeBlock(pretty, "json")];
  }
  const sources = (block.citations ?? []).map((citation) => citation.title ?? citation.source).filter(Boolean);
  return [
    ...markdown(block.text),
    ...(sources.length ? [h("p", { class: "sources" }, `From ${[...new Set(sources)].join(", ")}`)] : []),
  ];
}

function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

function toolCall({ name, input }) {
  return h(
    "div",
    { class: "tool" },
    h("p", { class: "tool-name" }, icon("tool"), h("span", {}, "Calls "), h("code", {}, name)),
    h(
      "pre",
      { tabindex: "0", role: "group", "aria-label": `Arguments of ${name}` },
      h("code", {}, ...coloured(shown(input), "json")),
    ),
  );
}

function toolResult({ content: parts, status }, name) {
  const text = parts.map((part) => part.text ?? shown(part.json ?? part)).join("\n");
  return h(
    "div",
    { class: `tool result${status === "error" ? " failed" : ""}` },
    h(
      "p",
      { class: "tool-name" },
      icon("tool"),
      h("code", {}, name),
      h("span", {}, status === "error" ? "failed" : "answered"),
    ),
    h("pre", { tabindex: "0", role: "group", "aria-label": `Result of ${name}` }, h("code", {}, text)),
  );
}

function reasoning({ reasoningText }) {
  const text = reasoningText?.text ?? "This thought is not shown by its model's maker.";
  return h("details", { class: "thought" }, h("summary", {}, "Thought"), ...markdown(text));
}

// --- below an answer -------------------------------------------------------------------------------------------------

function below(message, actions) {
  if (message.streaming) return [];
  const parts = [];
  if (message.error) parts.push(errorCard(message.error, actions));
  else parts.push(figures(message, actions));
  const uses = message.content.filter((block) => block.toolUse).map((block) => block.toolUse);
  if (uses.length && actions.answer) parts.push(resultForm(uses, actions.answer));
  return parts;
}

function errorCard({ code, message }, { retry }) {
  return h(
    "div",
    { class: "error", role: "group", "aria-label": "Error" },
    h("p", { class: "error-code" }, code),
    h("p", {}, message),
    retry && h("button", { type: "button", class: "mini", onclick: retry }, icon("retry"), h("span", {}, "Try again")),
  );
}

function figures(message, { retry }) {
  const said = measured(message).map(([text, title]) => h("span", { title }, text));
  const text = message.content.map((block) => block.text ?? "").join("");
  const again =
    retry && h("button", { type: "button", class: "mini", onclick: retry }, icon("retry"), h("span", {}, "Again"));
  return h(
    "footer",
    { class: "figures" },
    h("p", {}, ...said),
    h("span", { class: "acts" }, text && copyButton(() => text, "Copy"), again),
  );
}

/** What an answer took, each with what it means. What is not known is left out. */
function measured({ figures: found, stopReason, stopped }) {
  const parts = [];
  if (found?.inputTokens !== undefined) parts.push([`${count(found.inputTokens)} in`, "Tokens of the prompt"]);
  if (found?.cacheReadInputTokens)
    parts.push([`${count(found.cacheReadInputTokens)} cached`, "Tokens read from the prompt cache"]);
  if (found?.outputTokens !== undefined) parts.push([`${count(found.outputTokens)} out`, "Tokens of the answer"]);
  if (found?.firstMs !== undefined) parts.push([`${seconds(found.firstMs)} to first`, "Time to the first token"]);
  if (found?.totalMs !== undefined) parts.push([seconds(found.totalMs), "Time to the last token"]);
  if (found?.rate)
    parts.push([
      `${found.rate < 10 ? found.rate.toFixed(1) : Math.round(found.rate)} tok/s`,
      "Tokens a second, after the first",
    ]);
  if (typeof found?.cost === "number")
    parts.push([
      found.cost ? dollars(found.cost) : "free",
      found.cost ? "At the list price of this model on Bedrock" : "A local model costs nothing",
    ]);
  if (stopped) parts.push(["stopped", "You stopped it"]);
  else if (stopReason && !["end_turn", "tool_use"].includes(stopReason))
    parts.push([stopReason.replaceAll("_", " "), "Why the answer ends"]);
  return parts;
}

const count = (number) => number.toLocaleString("en");
const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`);
const dollars = (cost) =>
  `$${cost < 0.01 ? Number(cost.toPrecision(2)).toFixed(6).replace(/0+$/, "") : cost.toFixed(3)}`;

// --- the results of tools --------------------------------------------------------------------------------------------

function resultForm(uses, answer) {
  const rows = uses.map((use, index) => {
    const label = uses.length > 1 ? `Result of ${use.name} (${index + 1} of ${uses.length})` : `Result of ${use.name}`;
    const text = h("textarea", {
      rows: "2",
      class: "code",
      "aria-label": label,
      placeholder: "What the tool answers, as text or JSON",
      spellcheck: "false",
      required: true,
    });
    const failed = h("input", { type: "checkbox" });
    return {
      use,
      text,
      failed,
      element: h(
        "div",
        { class: "result-row" },
        h("p", { class: "label" }, label),
        text,
        h("label", { class: "check" }, failed, "The tool failed"),
      ),
    };
  });
  const submit = (event) => {
    event.preventDefault();
    answer(
      rows.map(({ use, text, failed }) => ({
        toolResult: {
          toolUseId: use.toolUseId,
          content: [{ text: text.value }],
          status: failed.checked ? "error" : "success",
        },
        name: use.name,
      })),
    );
  };
  return h(
    "form",
    { class: "result-form", onsubmit: submit },
    ...rows.map((row) => row.element),
    h("button", { type: "submit", class: "solid" }, uses.length > 1 ? "Send results" : "Send result"),
  );
}
