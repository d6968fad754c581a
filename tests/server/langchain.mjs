// LangChain for JavaScript: node langchain.mjs BASE_URL SCENARIO...
import { baseURL, failure, load, main, messages } from "./scenarios.mjs";

const { ChatOpenAI } = await load("@langchain/openai");
const { ContextOverflowError } = await load("@langchain/core/errors");

function model(fields) {
  return new ChatOpenAI({ model: "tiny", apiKey: "none", temperature: 0, maxTokens: 32, maxRetries: 0,
                          configuration: { baseURL }, ...fields });
}

async function streamed(fields) {
  let text = "";
  let usage;
  for await (const chunk of await model(fields).stream(messages)) {
    text += chunk.content;
    usage = chunk.usage_metadata ?? usage;
  }
  return { text, usage };
}

await main({
  async invoke() {
    const answer = await model().invoke(messages);
    return { text: answer.content, usage: answer.usage_metadata, finish: answer.response_metadata.finish_reason };
  },
  stream: () => streamed(),
  draft: () => streamed({ modelKwargs: { diffusion: { stream: "draft", block_length: 8, draft: { interval_ms: 0 } } } }),
  async overflow() {
    const error = await failure(model().invoke([{ role: "user", content: "word ".repeat(3000) }]));
    return { overflow: ContextOverflowError.isInstance?.(error) ?? error instanceof ContextOverflowError,
             name: error.name, message: error.message };
  },
  async broken() {
    const error = await failure(streamed({ maxTokens: 400 }));
    return { name: error.name, message: error.message };
  },
});
