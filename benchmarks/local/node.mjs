// llama.cpp by node-llama-cpp's prebuilt binary: node node.mjs PACKAGE MODEL THREADS FLASH [start]
//
// Tasks come as lines of JSON, answers go as such (contenders.py has both); with "start", one answer from this process's
// beginning. PACKAGE is a directory whose node_modules have node-llama-cpp.
import { readFileSync } from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, file, threads, flash, start] = process.argv.slice(2);
const home = path.join(path.resolve(folder), "node_modules", "node-llama-cpp");
const { getLlama, LlamaChatSession } = await import(pathToFileURL(path.join(home, "dist", "index.js")).href);
const llama = await getLlama({ gpu: false, build: "never", maxThreads: Number(threads), logLevel: "error" });
const model = await llama.loadModel({ modelPath: file });
const options = { threads: Number(threads), flashAttention: flash === "1", batchSize: 512 };
const say = (value) => console.log(JSON.stringify(value));
const status = () => readFileSync("/proc/self/status", "utf8");
const kilobytes = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status())?.[1] ?? NaN);

if (start) {
  const context = await model.createContext({ ...options, contextSize: 512, sequences: 1 });
  const session = new LlamaChatSession({ contextSequence: context.getSequence() });
  let begun = false;
  const onTextChunk = () => {
    if (!begun) say("first");
    begun = true;
  };
  await session.prompt(start, { onTextChunk, maxTokens: 32, temperature: 0 });
  say({ peak_mb: kilobytes("VmHWM") / 1024, private_mb: kilobytes("RssAnon") / 1024 });
  process.exit(0);
}

let context, shape;
async function open(streams, tokens) {
  const wanted = `${streams} ${tokens}`;
  if (shape !== wanted) {
    await context?.dispose();
    context = await model.createContext({ ...options, contextSize: tokens + 8, sequences: streams });
    shape = wanted;
  }
  return Array.from({ length: streams }, () => context.getSequence());
}

let seed = 1;
const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
const tokens = (count) => Array.from({ length: count }, () => 100 + Math.floor(random() * 39900));
const evaluate = (sequence, prompt) => sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true });

async function timed(work, count) {
  const begin = performance.now();
  const cpu = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { seconds: (performance.now() - begin) / 1000, cpu: (user + system) / 1e6, count };
}

const tasks = {
  async decode({ streams, tokens: count, context: before }) {
    const sequences = await open(streams, before + count);
    const answers = [];
    await Promise.all(
      sequences.map(async (sequence) => {
        await sequence.clearHistory();
        const answer = evaluate(sequence, tokens(before));
        await answer.next();
        answers.push(answer);
      }),
    );
    const found = await timed(
      () => Promise.all(answers.map(async (answer) => { for (let n = 0; n < count; n++) await answer.next(); })),
      streams * count,
    );
    for (const answer of answers) await answer.return();
    for (const sequence of sequences) sequence.dispose();
    return found;
  },
  async prefill({ tokens: count }) {
    const [sequence] = await open(1, count);
    const answer = evaluate(sequence, tokens(count));
    const found = await timed(() => answer.next(), count);
    await answer.return();
    sequence.dispose();
    return found;
  },
};

const { version } = JSON.parse(readFileSync(path.join(home, "package.json")));
say({ name: "node-llama-cpp", version });
for await (const line of readline.createInterface({ input: process.stdin })) {
  const task = JSON.parse(line);
  say(await tasks[task.do](task));
}
process.exit(0);
