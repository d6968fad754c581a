// Vercel's AI SDK: node vercel.mjs BASE_URL SCENARIO...
import { baseURL, failure, load, main, messages, watched } from "./scenarios.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false; // it would write them among the results
const { generateText, generateObject, streamText, jsonSchema } = await load("ai");
const { createOpenAI } = await load("@ai-sdk/openai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");

const settings = { messages, maxOutputTokens: 32, seed: 1, temperature: 0, maxRetries: 0 };

function compatible(fetch) {
  return createOpenAICompatible({ name: "unmask", baseURL, apiKey: "none", includeUsage: true, fetch })("tiny");
}

// Text, finish reason, usage, frames and errors of a stream with its raw parts.
async function streamed(options) {
  const result = { text: "", frames: [], errors: [] };
  const stream = streamText({ includeRawChunks: true, onError() {}, ...settings, ...options });
  for await (const part of stream.fullStream) {
    if (part.type === "text-delta") result.text += part.text;
    if (part.type === "raw" && part.rawValue.choices?.[0]?.diffusion)
      result.frames.push(part.rawValue.choices[0].diffusion);
    if (part.type === "error") result.errors.push(part.error.message ?? String(part.error));
    if (part.type === "finish") {
      result.finish = part.finishReason;
      result.usage = part.totalUsage;
    }
  }
  return result;
}

// The attempts and the error of a request that fails.
async function refused(change) {
  const [seen, fetch] = watched();
  const error = await failure(generateText({ model: compatible(fetch), ...settings, maxRetries: 2, ...change }));
  const last = error.lastError ?? error;
  return { attempts: seen.attempts.length, waits: seen.waits.length, message: last.message, status: last.statusCode };
}

await main({
  async generate() {
    const { text, finishReason, usage } = await generateText({ model: compatible(), ...settings });
    return { text, finishReason, usage };
  },
  stream: () => streamed({ model: compatible() }),
  async draft() {
    const [seen, fetch] = watched();
    const diffusion = { stream: "draft", block_length: 8, draft: { interval_ms: 0 } };
    const result = await streamed({ model: compatible(fetch), providerOptions: { unmask: { diffusion } } });
    return { ...result, sent: seen.bodies[0].diffusion };
  },
  broken: () => streamed({ model: compatible(), maxOutputTokens: 400 }),
  refused: () => refused({ temperature: 9 }),
  full: () => refused({}),
  async chat() {
    const provider = createOpenAI({ baseURL, apiKey: "none" });
    return { text: (await generateText({ model: provider.chat("tiny"), ...settings })).text };
  },
  async responses() {
    const model = createOpenAI({ baseURL, apiKey: "none" })("tiny");
    const { text, finishReason, usage } = await generateText({ model, ...settings });
    return { text, finishReason, usage, streamed: await streamed({ model }) };
  },
  async constrained() {
    const model = createOpenAI({ baseURL, apiKey: "none" })("tiny");
    const schema = jsonSchema({ type: "object", properties: {}, additionalProperties: false });
    const tools = { f: { description: "f", inputSchema: schema } };
    const errors = [await failure(generateText({ model, ...settings, tools })),
                    await failure(generateObject({ model, ...settings, schema }))];
    return errors.map((error) => ({ status: error.statusCode, message: error.message }));
  },
});
