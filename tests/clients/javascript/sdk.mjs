// The JavaScript SDK with its default handler (HTTP/2 with prior knowledge) against the server. Prints a line of JSON for
// each finding.
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  CountTokensCommand,
  InvokeModelCommand,
} from "@aws-sdk/client-bedrock-runtime";

const [endpoint, secretAccessKey] = process.argv.slice(2);
const client = new BedrockRuntimeClient({
  endpoint,
  region: "us-east-1",
  maxAttempts: 1,
  credentials: { accessKeyId: "any", secretAccessKey },
});
const modelId = "anthropic.claude-3-haiku-20240307-v1:0";
const profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456";
const ask = (text) => ({ modelId, messages: [{ role: "user", content: [{ text }] }] });
const report = (name, value) => console.log(JSON.stringify({ name, value }));

async function attempt(name, call) {
  try {
    report(name, await call());
  } catch (error) {
    report(name, { error: error.name, message: error.message });
  }
}

await attempt("converse", async () => {
  const reply = await client.send(new ConverseCommand({ ...ask("Hello"), modelId: profile }));
  return { text: reply.output.message.content[0].text, stopReason: reply.stopReason, requestId: reply.$metadata.requestId };
});
await attempt("stream", async () => {
  const reply = await client.send(new ConverseStreamCommand(ask("wait for me")));
  const kinds = [];
  for await (const event of reply.stream) {
    kinds.push(Object.keys(event)[0]);
    report("event", event);
  }
  return kinds;
});
await attempt("left", async () => {
  const abort = new AbortController();
  const reply = await client.send(new ConverseStreamCommand(ask("never end")), { abortSignal: abort.signal });
  for await (const _ of reply.stream) abort.abort();
  return "left";
});
await attempt("broken", async () => {
  const reply = await client.send(new ConverseStreamCommand(ask("break")));
  for await (const event of reply.stream) report("before", Object.keys(event)[0]);
  return "ended";
});
await attempt("refused", () => client.send(new ConverseCommand({ modelId, messages: [] })));
await attempt("count", async () => (await client.send(new CountTokensCommand({ modelId, input: { converse: { messages: ask("one two").messages } } }))).inputTokens);
await attempt("embed", async () => {
  const body = JSON.stringify({ inputText: "a" });
  const reply = await client.send(new InvokeModelCommand({ modelId: "amazon.titan-embed-text-v2:0", body, contentType: "application/json" }));
  return JSON.parse(new TextDecoder().decode(reply.body)).embedding.length;
});
client.destroy();
