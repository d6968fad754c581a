// The official OpenAI SDK for Node: node sdk.mjs BASE_URL SCENARIO...
import { baseURL, failure, load, main, messages, watched } from "./scenarios.mjs";

const { default: OpenAI } = await load("openai");
const { zodResponseFormat, zodTextFormat } = await load("openai/helpers/zod");
const { z } = await load("zod");

const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const body = { model: "tiny", messages, max_tokens: 16, seed: 1 };
const long = { model: "tiny", prompt: Array(8).fill(5), max_tokens: 400 };
const draft = { stream: "draft", block_length: 4, draft: { interval_ms: 0 } };

// The attempts that the SDK makes, by the retry count that it sends.
function counted(options) {
  const [seen, fetch] = watched();
  return [seen.attempts, new OpenAI({ baseURL, apiKey: "none", fetch, ...options })];
}

async function refusal(promise) {
  const { constructor, status, code, param, requestID } = await failure(promise);
  return { name: constructor.name, status, code, param, requestID };
}

async function drain(stream) {
  for await (const chunk of stream) chunk.choices[0]?.text;
}

async function finalOf(extra) {
  const request = { ...body, ...extra, stream_options: { include_usage: true } };
  const completion = await client.chat.completions.stream(request).finalChatCompletion();
  return { content: completion.choices[0].message.content, role: completion.choices[0].message.role,
           finish: completion.choices[0].finish_reason, usage: completion.usage };
}

await main({
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
  final: () => finalOf({}),
  draft: () => finalOf({ diffusion: draft }),
  async frames() {
    const frames = [];
    for await (const chunk of await client.chat.completions.create({ ...body, stream: true, diffusion: draft }))
      if (chunk.choices[0].diffusion) frames.push(chunk.choices[0].diffusion.frame);
    return frames;
  },
  async completions() {
    let text = "";
    const request = { model: "tiny", prompt: "Once", max_tokens: 16, seed: 1 };
    for await (const chunk of await client.completions.create({ ...request, stream: true }))
      text += chunk.choices[0].text;
    const gap = await client.completions.create({ ...request, suffix: " by the water" });
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    const retrieved = await client.models.retrieve("alias/name");
    return { text, gap: gap.choices[0].text, models, retrieved: retrieved.id };
  },
  async refused() {
    const [attempts, retrying] = counted({ maxRetries: 2 });
    const error = await refusal(retrying.chat.completions.create({ ...body, temperature: 9 }));
    const missing = await refusal(retrying.embeddings.create({ model: "tiny", input: "x" }));
    const image = await refusal(retrying.images.generate({ prompt: "x" }));
    return { error, missing: missing.name, image: [image.name, image.code], attempts };
  },
  async constrained() {
    const schema = z.object({ n: z.number() });
    const tool = { type: "function", function: { name: "f", strict: true, parameters: {} } };
    const refused = [
      client.chat.completions.parse({ ...body, response_format: zodResponseFormat(schema, "x") }),
      client.chat.completions.stream({ ...body, tools: [tool] }).finalChatCompletion(),
      client.responses.parse({ model: "tiny", input: "Hi", text: { format: zodTextFormat(schema, "x") } }),
    ];
    return Promise.all(refused.map(refusal));
  },
  async responses() {
    const request = { model: "tiny", input: "Hi", max_output_tokens: 16 };
    const whole = await client.responses.create(request);
    const kinds = [];
    let text = "";
    for await (const event of await client.responses.create({ ...request, stream: true })) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    const helper = await client.responses.stream({ ...request, diffusion: draft }).finalResponse();
    const parsed = await client.responses.parse(request);
    return { whole: whole.output_text, status: whole.status, id: whole._request_id, kinds, text,
             helper: helper.output_text, usage: helper.usage.output_tokens, parsed: parsed.output_text };
  },
  async full() {
    const [attempts, retrying] = counted({ maxRetries: 2 });
    return { error: await refusal(retrying.chat.completions.create(body)), attempts };
  },
  async unretried() {
    const [attempts, retrying] = counted({ maxRetries: 2 });
    return { error: await refusal(retrying.completions.create(long)), attempts };
  },
  async timeout() {
    const [attempts, retrying] = counted({ maxRetries: 2, timeout: 500 });
    return { error: await refusal(retrying.completions.create(long)), attempts };
  },
  broken: async () => refusal(drain(await client.completions.create({ ...long, stream: true }))),
  async abort() {
    const stream = await client.completions.create({ ...long, stream: true });
    stream.controller.abort();
    return {};
  },
});
