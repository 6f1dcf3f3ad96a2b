// The conversation as Python: the request that Send would make now, with what is typed.

import { hasKey, postJson } from "./api.js";
import { currentColumn } from "./chat.js";
import { announce, byId, coloured, copied } from "./dom.js";
import { requestOf } from "./state.js";

const shown = { sdk: "awsllm", target: "server", code: "" };

export function setUpCode() {
  byId("open-code").addEventListener("click", open);
  byId("code-dialog").addEventListener("click", (event) => {
    const { sdk, target } = event.target.dataset;
    if (sdk) choose("sdk", sdk);
    if (target) choose("target", target);
  });
  byId("copy-code").addEventListener("click", async () => {
    const done = await copied(shown.code);
    byId("copy-code").textContent = done ? "Copied" : "Not allowed";
    announce(byId("copy-code").textContent);
    setTimeout(() => {
      byId("copy-code").textContent = "Copy";
    }, 1600);
  });
}

async function open() {
  byId("code-dialog").showModal();
  await load();
}

function choose(what, value) {
  shown[what] = value;
  for (const button of byId("code-dialog").querySelectorAll(`[data-${what}]`)) {
    button.setAttribute("aria-pressed", String(button.dataset[what] === value));
  }
  load();
}

async function load() {
  const column = currentColumn();
  const messages = [...column.record.messages];
  const typed = byId("prompt").value.trim();
  if (typed || !messages.length) messages.push({ role: "user", content: [{ text: typed || "Hello" }] });
  if (messages.at(-1).role === "assistant") messages.pop(); // what it answered is not asked
  try {
    const request = { ...requestOf(column.model, messages), locked: hasKey() };
    if (shown.target === "server") request.endpointUrl = location.origin;
    const found = await postJson("code", request);
    show(found[shown.sdk], found.files);
  } catch (error) {
    show(`# ${error.message.replaceAll("\n", "\n# ")}\n`, []);
  }
}

function show(code, files) {
  shown.code = code;
  byId("code").replaceChildren(...coloured(code, "python"));
  byId("code-files").hidden = !files.length;
  byId("code-files").textContent = files.length ? `It reads what you attached from ${files.join(", ")}.` : "";
}
