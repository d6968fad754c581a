// A stream by the official OpenAI SDK for Node: node stream.mjs BASE_URL BODY. Says `began` at its first
// chunk, and in the end its finish_reason or the name of the error that was thrown.
import { load } from "../server/scenarios.mjs";

const { default: OpenAI } = await load("openai");
const [baseURL, body] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
let began = false;
let finish = null;
try {
  for await (const chunk of await client.completions.create({ ...JSON.parse(body), stream: true })) {
    if (!began) console.log("began");
    began = true;
    finish = chunk.choices[0]?.finish_reason ?? finish;
  }
  console.log(finish);
} catch (error) {
  console.log(error.constructor.name);
}
