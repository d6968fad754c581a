// One scenario of the official OpenAI SDK for Node, named by argv[2]; argv[3] is the base URL. Prints
// one line of JSON. The package is found in UM_NODE_MODULES.
import { createRequire } from "node:module";

const require = createRequire(process.env.UM_NODE_MODULES + "/");
const OpenAI = require("openai").OpenAI;
const [scenario, baseURL] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const body = { model: "tiny", messages: [{ role: "user", content: "Hi" }], max_tokens: 16, seed: 1 };
const long = { model: "tiny", prompt: Array(8).fill(5), max_tokens: 400 };

// The attempts that the SDK makes, by the retry count that it sends.
function counted(options) {
  const attempts = [];
  const fetchCounted = (url, init) => {
    attempts.push(new Headers(init.headers).get("x-stainless-retry-count"));
    return fetch(url, init);
  };
  return [attempts, new OpenAI({ baseURL, apiKey: "none", fetch: fetchCounted, ...options })];
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    const { status, code, param, requestID } = error;
    return { name: error.constructor.name, status, code, param, requestID };
  }
  throw new Error("it should have failed");
}

const scenarios = {
  async create() {
    const { data, response } = await client.chat.completions.create(body).withResponse();
    return { content: data.choices[0].message.content, id: data._request_id,
             header: response.headers.get("x-request-id"), steps: data.usage.diffusion.steps };
  },
  async stream() {
    let content = "";
    let finishes = 0;
    for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
      content += chunk.choices[0].delta.content ?? "";
      finishes += chunk.choices[0].finish_reason ? 1 : 0;
    }
    return { content, finishes };
  },
  async final() {
    const stream = client.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
    const completion = await stream.finalChatCompletion();
    return { content: completion.choices[0].message.content, role: completion.choices[0].message.role,
             finish: completion.choices[0].finish_reason, usage: completion.usage };
  },
  async completions() {
    let text = "";
    const request = { model: "tiny", prompt: "Once", max_tokens: 16, seed: 1 };
    for await (const chunk of await client.completions.create({ ...request, stream: true }))
      text += chunk.choices[0].text;
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    const retrieved = await client.models.retrieve("alias/name");
    return { text, models, retrieved: retrieved.id };
  },
  async refused() {
    const [attempts, retrying] = counted({ maxRetries: 2 });
    const error = await failure(retrying.chat.completions.create({ ...body, temperature: 9 }));
    const missing = await failure(retrying.embeddings.create({ model: "tiny", input: "x" }));
    return { error, missing: missing.name, attempts };
  },
  async full() {
    const [attempts, retrying] = counted({ maxRetries: 2 });
    return { error: await failure(retrying.chat.completions.create(body)), attempts };
  },
  async timeout() {
    const [attempts, retrying] = counted({ maxRetries: 2, timeout: 500 });
    return { error: await failure(retrying.completions.create(long)), attempts };
  },
  async broken() {
    const stream = await client.completions.create({ ...long, stream: true });
    return failure((async () => {
      for await (const chunk of stream) chunk.choices[0].text;
    })());
  },
  async abort() {
    const stream = await client.completions.create({ ...long, stream: true });
    stream.controller.abort();
    return {};
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
