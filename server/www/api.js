// The public API over fetch: JSON, and streams of server-sent events.

class ApiError extends Error {
  constructor(message, { status = 0, code = null, param = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param, retryAfter });
  }
}

// {error: {...}} of a body, whatever else the body may be.
function errorOf(body, status, headers) {
  const error = body?.error;
  const retry = Number(headers?.get("retry-after"));
  return new ApiError(error?.message || `The server answered ${status}.`, {
    status,
    code: error?.code ?? null,
    param: error?.param ?? null,
    retryAfter: retry > 0 ? retry : null,
  });
}

class Api {
  // `key` is a function: the key can change while the page lives.
  constructor(key) {
    this.key = key;
  }

  // Paths are relative to the page, which may lie under a prefix of a proxy.
  async ask(method, path, body, signal) {
    const headers = {};
    if (this.key()) headers.Authorization = `Bearer ${this.key()}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, {
        method,
        headers,
        signal,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server cannot be reached.");
    }
    if (response.ok) return response;
    throw errorOf(await response.json().catch(() => null), response.status, response.headers);
  }

  async json(method, path, body) {
    return (await this.ask(method, path, body)).json();
  }

  // Yields the chunks of a streamed answer. Ends normally only after [DONE]; an error in mid-stream is
  // thrown as the ApiError that it is.
  async *stream(path, body, signal) {
    const response = await this.ask("POST", path, { ...body, stream: true }, signal);
    for await (const data of eventData(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw errorOf(chunk, response.status);
      yield chunk;
    }
    throw new ApiError("The connection ended before the answer was complete.");
  }
}

// The data of each event. One line each, as the API promises; comments are skipped.
async function* eventData(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        if (error.name === "AbortError") throw error;
        throw new ApiError("The connection broke before the answer was complete.");
      });
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
