// AWS's SDK for JavaScript with its default handlers, which speak HTTP/2 with prior knowledge.
import * as bedrock from "@aws-sdk/client-bedrock-runtime";
import * as sagemaker from "@aws-sdk/client-sagemaker-runtime";
import { attempt, CLAUDE, QUESTION, SCHEMA, TITAN } from "./report.mjs";

const options = {
  endpoint: process.argv[2],
  region: "us-east-1",
  maxAttempts: 1,
  credentials: { accessKeyId: "any", secretAccessKey: "any" },
};
const client = new bedrock.BedrockRuntimeClient(options);
const endpoints = new sagemaker.SageMakerRuntimeClient(options);
const text = (bytes) => new TextDecoder().decode(bytes);
const asked = { modelId: CLAUDE, messages: [{ role: "user", content: [{ text: QUESTION }] }], inferenceConfig: { maxTokens: 200 } };
const tool = { toolSpec: { name: "get_weather", description: "The weather in a city.", inputSchema: { json: SCHEMA } } };
const forced = { tools: [tool], toolChoice: { tool: { name: "get_weather" } } };
const claude = { anthropic_version: "bedrock-2023-05-31", max_tokens: 48, messages: [{ role: "user", content: QUESTION }] };
const invoke = (modelId, body) => ({ modelId, contentType: "application/json", body: JSON.stringify(body) });

await attempt("converse", async () => (await client.send(new bedrock.ConverseCommand(asked))).output.message.content[0].text);
await attempt("stream", async () => {
  const reply = await client.send(new bedrock.ConverseStreamCommand(asked));
  let words = "";
  for await (const event of reply.stream) words += event.contentBlockDelta?.delta.text ?? "";
  return words;
});
await attempt("tool", async () => {
  const first = await client.send(new bedrock.ConverseCommand({ ...asked, toolConfig: forced }));
  const use = first.output.message.content.find((block) => block.toolUse).toolUse;
  const result = { toolResult: { toolUseId: use.toolUseId, content: [{ text: "rain" }] } };
  const messages = [...asked.messages, first.output.message, { role: "user", content: [result] }];
  const answer = await client.send(new bedrock.ConverseCommand({ ...asked, messages, toolConfig: { tools: [tool] } }));
  return { city: use.input.city, reason: first.stopReason, answer: answer.output.message.content[0].text };
});
await attempt("invoked", async () => {
  const reply = await client.send(new bedrock.InvokeModelCommand(invoke(CLAUDE, claude)));
  return JSON.parse(text(reply.body)).content[0].text;
});
await attempt("invoked stream", async () => {
  const reply = await client.send(new bedrock.InvokeModelWithResponseStreamCommand(invoke(CLAUDE, claude)));
  let words = "";
  for await (const event of reply.body) words += JSON.parse(text(event.chunk.bytes)).delta?.text ?? "";
  return words;
});
await attempt("embedding", async () => {
  const reply = await client.send(new bedrock.InvokeModelCommand(invoke(TITAN, { inputText: "a" })));
  return JSON.parse(text(reply.body)).embedding.length;
});
const chat = { EndpointName: "any", ContentType: "application/json" };
const hello = { messages: [{ role: "user", content: QUESTION }], max_tokens: 48 };
await attempt("endpoint", async () => {
  const reply = await endpoints.send(new sagemaker.InvokeEndpointCommand({ ...chat, Body: JSON.stringify(hello) }));
  return JSON.parse(text(reply.Body)).choices[0].message.content;
});
await attempt("endpoint stream", async () => {
  const body = JSON.stringify({ ...hello, stream: true });
  const reply = await endpoints.send(new sagemaker.InvokeEndpointWithResponseStreamCommand({ ...chat, Body: body }));
  let data = "";
  for await (const event of reply.Body) data += text(event.PayloadPart.Bytes);
  const chunks = data.split("\n").filter((line) => line.startsWith("data: {")).map((line) => JSON.parse(line.slice(6)));
  return chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
});
await attempt("refused", () => client.send(new bedrock.ConverseCommand({ ...asked, modelId: "no.such-model-v9:9" })));
client.destroy();
endpoints.destroy();
