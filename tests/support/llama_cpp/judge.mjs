// Token ids by llama.cpp. Reads {files, texts, special} from standard input, writes {file: ids of each text} to argv[2].
import fs from "fs";
import {pathToFileURL} from "url";

const {getLlama, LlamaLogLevel} = await import(pathToFileURL(process.argv[3] + "/dist/index.js"));
const job = JSON.parse(fs.readFileSync(0, "utf8"));
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.fatal, maxThreads: 1});
const found = {};
for (const file of job.files) {
  const model = await llama.loadModel({modelPath: file, vocabOnly: true});
  found[file] = job.texts.map(text => Array.from(model._model.tokenize(text, job.special)));
  await model.dispose();
}
fs.writeFileSync(process.argv[2], JSON.stringify(found));
process.exit(0);
