// What the scripts of the Node clients share: packages out of UM_NODE_MODULES, and scenarios named on
// the command line, run one after the other, answered with one line of JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.UM_NODE_MODULES + "/");

export const load = (name) => import(pathToFileURL(require.resolve(name)));

export const baseURL = process.argv[2];
export const messages = [{ role: "user", content: "Hi" }];

// What a promise failed with; an error if it did not.
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it should have failed");
}

// fetch that keeps what it was asked and when the server wants it asked again, and passes on that it may
// be at once: bodies; the OpenAI SDK's count of its retries, of each attempt; milliseconds.
export function watched() {
  const seen = { attempts: [], bodies: [], waits: [] };
  const ask = async (url, init) => {
    seen.attempts.push(new Headers(init.headers).get("x-stainless-retry-count"));
    seen.bodies.push(init.body ? JSON.parse(init.body) : null);
    const response = await fetch(url, init);
    const wait = response.headers.get("retry-after-ms");
    if (wait === null) return response;
    seen.waits.push(Number(wait));
    const headers = new Headers(response.headers);
    headers.set("retry-after-ms", "30");
    return new Response(response.body, { status: response.status, headers });
  };
  return [seen, ask];
}

export async function main(scenarios) {
  const found = {};
  for (const name of process.argv.slice(3)) {
    try {
      found[name] = { found: await scenarios[name]() };
    } catch (error) {
      found[name] = { raised: error.stack ?? String(error) };
    }
  }
  console.log(JSON.stringify(found));
}
