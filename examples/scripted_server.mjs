// A test in JavaScript against a scripted AWS. Start it, and then this, with the token that it prints:
//
//   echo "reply = 'Hello.'" > replies.py && awsllm serve --script replies.py
//   AWS_ENDPOINT_URL=http://127.0.0.1:8900 AWSLLM_ADMIN_TOKEN=… node examples/scripted_server.mjs
//
// The same from a shell: curl -H "x-awsllm-token: $AWSLLM_ADMIN_TOKEN" $AWS_ENDPOINT_URL/_awsllm/requests
import assert from "node:assert/strict";

const { AWS_ENDPOINT_URL: url, AWSLLM_ADMIN_TOKEN: token } = process.env;
assert.ok(url && token, "set AWS_ENDPOINT_URL and AWSLLM_ADMIN_TOKEN, as above");

const admin = async (method, path, body) => {
  const headers = { "x-awsllm-token": token };
  const reply = await fetch(`${url}/_awsllm/${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(reply.ok, await reply.clone().text());
  return reply.status === 204 ? undefined : reply.json();
};

// The program under test. It may use @aws-sdk/client-bedrock-runtime, which reads AWS_ENDPOINT_URL.
const ask = (text) =>
  fetch(`${url}/model/us.amazon.nova-lite-v1:0/converse`, {
    method: "POST",
    body: JSON.stringify({ messages: [{ role: "user", content: [{ text }] }] }),
  });

await admin("POST", "reset");
await admin("PUT", "script", ["In Norway.", { toolUse: { name: "map", input: { city: "Oslo" } } }]);
await admin("POST", "faults", { fault: "throttle", after: 1, times: 1 });

assert.equal((await (await ask("Where is Oslo?")).json()).output.message.content[0].text, "In Norway.");
assert.equal((await ask("Show me.")).status, 429);
assert.equal((await (await ask("Show me.")).json()).stopReason, "tool_use");
assert.equal((await ask("And then?")).status, 400); // nothing is scripted for this

const { requests, unexpected } = await admin("GET", "requests");
console.log(`asked ${requests.length} times, ${unexpected} unexpected`);
