// OpenAI's SDK, and Anthropic's for Bedrock, for JavaScript.
import AnthropicBedrock from "@anthropic-ai/bedrock-sdk";
import OpenAI from "openai";
import { attempt, CLAUDE, GPT_OSS, QUESTION, SCHEMA, TITAN } from "./report.mjs";

const url = process.argv[2];
const messages = [{ role: "user", content: QUESTION }];
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
const chat = { model: GPT_OSS, messages, max_tokens: 200 };
const tool = { name: "get_weather", description: "The weather in a city." };

await attempt("openai", async () => (await openai.chat.completions.create(chat)).choices[0].message.content);
await attempt("openai stream", async () => {
  let words = "";
  for await (const chunk of await openai.chat.completions.create({ ...chat, stream: true })) words += chunk.choices[0]?.delta.content ?? "";
  return words;
});
await attempt("openai tool", async () => {
  const forced = { tools: [{ type: "function", function: { ...tool, parameters: SCHEMA } }], tool_choice: "required" };
  const [call] = (await openai.chat.completions.create({ ...chat, ...forced })).choices[0].message.tool_calls;
  return JSON.parse(call.function.arguments).city;
});
await attempt("openai response", async () => (await openai.responses.create({ model: GPT_OSS, input: QUESTION, max_output_tokens: 200 })).output_text);
await attempt("openai embedding", async () => (await openai.embeddings.create({ model: TITAN, input: "a" })).data[0].embedding.length);

const anthropic = new AnthropicBedrock({ baseURL: url, awsRegion: "us-east-1", awsAccessKey: "any", awsSecretKey: "any", maxRetries: 0 });
const asked = { model: CLAUDE, messages, max_tokens: 200 };
await attempt("anthropic", async () => (await anthropic.messages.create(asked)).content[0].text);
await attempt("anthropic stream", async () => {
  let words = "";
  for await (const event of await anthropic.messages.create({ ...asked, stream: true })) words += event.delta?.text ?? "";
  return words;
});
await attempt("anthropic tool", async () => {
  const forced = { tools: [{ ...tool, input_schema: SCHEMA }], tool_choice: { type: "any" } };
  return (await anthropic.messages.create({ ...asked, ...forced })).content.find((block) => block.type === "tool_use").input.city;
});
