// Vercel's AI SDK over its provider for Bedrock (Converse).
import { createAmazonBedrock } from "@ai-sdk/amazon-bedrock";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { attempt, CLAUDE, QUESTION, TITAN } from "./report.mjs";

const bedrock = createAmazonBedrock({ baseURL: process.argv[2], region: "us-east-1", accessKeyId: "any", secretAccessKey: "any" });
const asked = { model: bedrock(CLAUDE), prompt: QUESTION, maxOutputTokens: 200, maxRetries: 0 };
const city = z.object({ city: z.string() });
const weather = (execute) => ({ get_weather: tool({ description: "The weather in a city.", inputSchema: city, execute }) });

await attempt("text", async () => (await generateText(asked)).text);
await attempt("stream", async () => {
  let words = "";
  for await (const part of streamText(asked).textStream) words += part;
  return words;
});
await attempt("tool", async () => {
  const forced = { tools: weather(), toolChoice: { type: "tool", toolName: "get_weather" } };
  return (await generateText({ ...asked, ...forced })).toolCalls[0].input.city;
});
await attempt("streamed tool", async () => {
  const forced = { tools: weather(), toolChoice: { type: "tool", toolName: "get_weather" } };
  return (await streamText({ ...asked, ...forced }).toolCalls)[0].input.city;
});
await attempt("loop", async () => {
  const tools = weather(async ({ city }) => `sun over ${city}`);
  return (await generateText({ ...asked, tools, stopWhen: stepCountIs(3) })).text;
});
await attempt("object", async () => (await generateText({ ...asked, output: Output.object({ schema: city }) })).output.city);
await attempt("embeddings", async () => {
  const model = bedrock.embedding ? bedrock.embedding(TITAN) : bedrock.textEmbeddingModel(TITAN);
  return (await embedMany({ model, values: ["a", "b"], maxRetries: 0 })).embeddings.map((vector) => vector.length);
});
