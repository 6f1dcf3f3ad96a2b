// What each program here prints: a line of JSON for each finding, a failure among them.
export const report = (name, value) => console.log(JSON.stringify({ name, value }));

export async function attempt(name, call) {
  try {
    report(name, await call());
  } catch (error) {
    report(name, { error: error.name, message: String(error.message).slice(0, 500) });
  }
}

export const SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
export const QUESTION = "What is the weather in Oslo?";
export const CLAUDE = "anthropic.claude-3-5-sonnet-20240620-v1:0";
export const TITAN = "amazon.titan-embed-text-v2:0";
export const GPT_OSS = "openai.gpt-oss-20b-1:0";
