// One spoken conversation by the JavaScript SDK, over HTTP/2 with prior knowledge. Prints the names of the events that
// came, a line of JSON.
import { BedrockRuntimeClient, InvokeModelWithBidirectionalStreamCommand } from "@aws-sdk/client-bedrock-runtime";

const [endpoint, secretAccessKey] = process.argv.slice(2);
const client = new BedrockRuntimeClient({
  endpoint,
  region: "us-east-1",
  maxAttempts: 1,
  credentials: { accessKeyId: "any", secretAccessKey },
});
const prompt = { promptName: "prompt" };
const text = { mediaType: "text/plain" };
const lpcm = { mediaType: "audio/lpcm", sampleSizeBits: 16, channelCount: 1, encoding: "base64", audioType: "SPEECH" };
const part = (name, value) => ({
  chunk: { bytes: new TextEncoder().encode(JSON.stringify({ event: { [name]: value } })) },
});

let finished;
const spoken = new Promise((resolve) => (finished = resolve));

async function* conversation() {
  yield part("sessionStart", { inferenceConfiguration: { maxTokens: 1024 } });
  yield part("promptStart", {
    ...prompt,
    textOutputConfiguration: text,
    audioOutputConfiguration: { ...lpcm, sampleRateHertz: 24000, voiceId: "matthew" },
  });
  const written = { ...prompt, contentName: "text" };
  const start = { type: "TEXT", interactive: true, role: "USER", textInputConfiguration: text };
  yield part("contentStart", { ...written, ...start });
  yield part("textInput", { ...written, content: "Hello" });
  yield part("contentEnd", written);
  await spoken; // the answer comes while this request is still open
  yield part("promptEnd", prompt);
  yield part("sessionEnd", {});
}

try {
  const input = { modelId: "amazon.nova-2-sonic-v1:0", body: conversation() };
  const reply = await client.send(new InvokeModelWithBidirectionalStreamCommand(input));
  const names = [];
  for await (const event of reply.body) {
    const [[name, value]] = Object.entries(JSON.parse(new TextDecoder().decode(event.chunk.bytes)).event);
    names.push(name === "textOutput" ? value.content : name);
    if (name === "contentEnd" && value.type === "AUDIO" && value.stopReason === "END_TURN") finished();
  }
  console.log(JSON.stringify(names));
} catch (error) {
  finished();
  console.log(JSON.stringify({ error: error.name, message: error.message }));
}
