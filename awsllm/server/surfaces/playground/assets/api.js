// What the page asks of its server. A server with a key is shown it; it stays in this tab (sessionStorage).

const API = "/playground/api/";
const KEY = "awsllm.key";

export class ApiError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

let askForKey = async () => {};

/** `ask(isWrong)` shows a question and resolves once `setKey` was given an answer. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export const setKey = (key) => sessionStorage.setItem(KEY, key);
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export async function getJson(path) {
  return (await reply(path, { method: "GET" })).json();
}

export async function postJson(path, body, signal) {
  return (await reply(path, { method: "POST", body: JSON.stringify(body), signal })).json();
}

/** The events of a conversation: `[kind, wire]`. Raises `ApiError`. */
export async function* converse(body, signal) {
  const answer = await reply("converse", { method: "POST", body: JSON.stringify(body), signal });
  for await (const [kind, data] of serverSent(answer.body)) {
    const wire = JSON.parse(data);
    if (kind === "error") throw new ApiError(wire.code, wire.message);
    yield [kind, wire];
  }
}

let asking = null; // one question at a time, however many calls wait for its answer

async function reply(path, options) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const answer = await sent(path, options, key);
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await refusal(answer);
    if (sessionStorage.getItem(KEY) !== key) continue; // another call has learned it meanwhile
    asking ??= askForKey(key !== null).finally(() => {
      asking = null;
    });
    await asking;
  }
}

async function sent(path, options, key) {
  const headers = { ...(options.body ? { "Content-Type": "application/json" } : {}) };
  if (key) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(API + path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("Unreachable", "The server does not answer. Is `awsllm serve` still running?");
  }
}

async function refusal(answer) {
  try {
    const { code, message } = await answer.json();
    return new ApiError(code ?? `Status ${answer.status}`, message ?? answer.statusText, answer.status);
  } catch {
    return new ApiError(`Status ${answer.status}`, answer.statusText, answer.status);
  }
}

async function* serverSent(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) yield event(part);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function event(text) {
  const lines = text.split("\n");
  const member = (name) =>
    lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
  return [member("event")[0] ?? "message", member("data").join("\n")];
}
