// One answer on the page: its draft while it is refined, then its text, with counters, replay and copy.

const LAG_MS_MAX = 2000; // how far the page may show behind what has come
const REPLAY_MS = 120;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Answer {
  // `given`: the text around a gap, or nothing. `hold`: how long a frame is shown at least, in ms.
  constructor({ given = null, hold = 0 } = {}) {
    this.given = given;
    this.hold = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : hold;
    this.frames = []; // full and patch frames as they came
    this.draft = new Draft();
    this.text = "";
    this.sentAt = performance.now();
    this.firstDraftAt = this.endedAt = null;
    this.usage = this.finishReason = null;
    this.waiting = []; // drafts that came and are not shown yet
    this.build();
  }

  build() {
    this.probe = make("p", { className: "probe", "aria-hidden": "true" });
    this.grid = new CellGrid(this.given, this.probe);
    this.textNode = make("div", { className: "text", hidden: true });
    this.fault = make("p", { className: "fault", role: "alert", hidden: true });
    this.state = make("p", { className: "state" }, "waiting for the first step");
    this.counters = make("dl", { className: "counters" });
    this.values = {};
    for (const [name, label] of COUNTERS) {
      this.values[name] = make("dd", {}, "–");
      this.counters.append(make("div", {}, make("dt", {}, label), this.values[name]));
      this.values[name].dataset.counter = name;
    }
    this.slider = make("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Step to show" });
    this.slider.addEventListener("input", () => this.showAt(Number(this.slider.value)));
    this.play = make("button", { type: "button", className: "quiet" }, "Replay");
    this.play.addEventListener("click", () => this.replay());
    this.place = make("output");
    this.copy = make("button", { type: "button", className: "quiet" }, "Copy");
    this.copy.addEventListener("click", () => this.copyText());
    this.tools = make("div", { className: "replay", hidden: true }, this.play, this.slider, this.place, this.copy);
    this.root = make(
      "article",
      { className: this.given ? "answer gap" : "answer" },
      this.grid.root, this.textNode, this.fault, this.state, this.counters, this.tools, this.probe,
    );
    this.root.dataset.state = "running";
  }

  // ---- what comes from the stream ----

  frame(frame) {
    this.draft.apply(frame);
    this.firstDraftAt ??= performance.now();
    if (frame.frame !== "end") {
      this.frames.push(frame);
      this.waiting.push(this.draftNow());
      this.playOut();
    }
  }

  // The draft goes on changing by new arrays and cells, so that a copy of its fields stays as it is.
  draftNow() {
    const { cells, settled, step, block } = this.draft;
    return { cells, settled, step, block, at: performance.now() };
  }

  delta(text) {
    this.text += text;
    if (text && this.frames.length === 0) this.showText();
  }

  // Shows what waits, each for a moment, faster where much waits.
  async playOut() {
    if (this.playing) return;
    this.playing = true;
    while (this.waiting.length > 0) {
      const draft = this.waiting.shift();
      this.showCells(draft);
      this.state.textContent = "";
      this.count(draft);
      await pause(Math.min(this.hold, LAG_MS_MAX / (this.waiting.length + 1)));
    }
    this.playing = false;
    this.onDrained?.();
  }

  // Shows no more of what waits.
  skip() {
    this.waiting.length = 0;
  }

  drained() {
    if (!this.playing) return Promise.resolve();
    return new Promise((resolve) => (this.onDrained = resolve));
  }

  // ---- how it ends ----

  async finish() {
    this.endedAt = performance.now();
    await this.drained();
    this.end("done");
    this.state.textContent = this.ending();
  }

  ending() {
    if (this.finishReason === "length") return "The length is used up.";
    return this.text === "" ? "The answer is empty." : "";
  }

  stop() {
    this.skip();
    this.endedAt = performance.now();
    this.end("stopped");
    this.state.textContent = "Stopped.";
  }

  fail(error) {
    this.skip();
    this.error = error;
    this.endedAt = performance.now();
    this.end("failed");
    this.state.textContent = "";
    this.fault.append(...describeError(error));
    this.fault.hidden = false;
  }

  end(state) {
    this.count({ ...this.draftNow(), at: this.endedAt });
    const nothing = this.text === "" && this.frames.length === 0;
    this.tools.hidden = this.counters.hidden = nothing;
    this.slider.max = this.frames.length;
    this.slider.hidden = this.play.hidden = this.frames.length === 0;
    this.showAt(this.frames.length);
    this.root.dataset.state = state;
    this.root.scrollIntoView({ block: "nearest" });
  }

  // ---- counters ----

  count({ cells, step, at }) {
    const filled = cells.filter((cell) => cell.s === "f" || cell.s === "d").length;
    const tokens = this.usage?.completion_tokens ?? filled;
    const steps = this.usage?.diffusion?.steps ?? step;
    const seconds = (at - this.sentAt) / 1000;
    this.set("steps", steps || null, 0);
    this.set("tokens", tokens || null, 0);
    this.set("rate", seconds > 0 && tokens ? tokens / seconds : null, 1);
    this.set("per_step", steps && tokens ? tokens / steps : null, 2);
    this.set("first", this.firstDraftAt && this.firstDraftAt - this.sentAt, 0, " ms");
  }

  set(name, value, digits, unit = "") {
    this.values[name].textContent = value === null ? "–" : value.toFixed(digits) + unit;
  }

  // ---- the text, and the steps again ----

  showText() {
    const { before, after } = this.given ?? {};
    const parts = [];
    if (before) parts.push(make("span", { className: "given" }, before));
    parts.push(this.given ? make("span", { className: "filled" }, this.text) : this.text);
    if (after) parts.push(make("span", { className: "given" }, after));
    this.textNode.replaceChildren(...parts);
    this.textNode.classList.toggle("code", /^(?:\t| {2,})\S/m.test(this.text)); // indented lines
    this.textNode.hidden = false;
    this.grid.root.hidden = true;
  }

  showCells(draft) {
    const first = this.grid.cells.length === 0;
    this.grid.show(draft);
    this.textNode.hidden = true;
    this.grid.root.hidden = false;
    if (first) this.root.scrollIntoView({ block: "nearest" });
  }

  // The draft of frame `index`; behind the last stands the text itself.
  showAt(index) {
    this.slider.value = index;
    if (index >= this.frames.length) {
      this.showText();
      this.place.textContent = this.frames.length > 0 ? "text" : "";
    } else {
      const draft = this.draftAt(index);
      this.showCells(draft);
      this.place.textContent = `step ${draft.step} of ${this.draft.step}`;
    }
    this.slider.setAttribute("aria-valuetext", this.place.textContent);
  }

  draftAt(index) {
    let first = index;
    while (this.frames[first].frame !== "full") first--;
    const draft = new Draft();
    for (const frame of this.frames.slice(first, index + 1)) draft.apply(frame);
    return draft;
  }

  async replay() {
    const turn = (this.turn = (this.turn ?? 0) + 1); // a second click begins again
    for (let i = 0; i <= this.frames.length && turn === this.turn; i++) {
      this.showAt(i);
      await pause(REPLAY_MS);
    }
  }

  async copyText() {
    this.copy.textContent = (await copyToClipboard(this.text)) ? "Copied" : "Not allowed";
    await pause(1500);
    this.copy.textContent = "Copy";
  }
}

const COUNTERS = [
  ["steps", "steps"],
  ["tokens", "tokens"],
  ["rate", "tokens/s"],
  ["per_step", "tokens/step"],
  ["first", "to first draft"],
];

// The message, then which field it is about and when to come back, where that is known.
function describeError(error) {
  const parts = [error.message];
  if (error.param) parts.push(" (", make("code", {}, error.param), ")");
  if (error.retryAfter) parts.push(` Try again in ${error.retryAfter} s.`);
  return parts;
}

// The modern way exists only on pages from https or localhost.
async function copyToClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { value: text, className: "unseen" });
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return done;
  }
}

// Asks, and feeds the answer until its end. True when it came to its end; `signal` stops it, or what is
// still to be shown when all has come.
async function runAnswer(api, path, body, answer, signal) {
  signal.addEventListener("abort", () => answer.skip());
  try {
    for await (const chunk of api.stream(path, body, signal)) {
      const [choice] = chunk.choices;
      if (chunk.usage) answer.usage = chunk.usage;
      if (!choice) continue;
      answer.finishReason = choice.finish_reason ?? answer.finishReason;
      if (choice.diffusion) answer.frame(choice.diffusion);
      answer.delta((choice.delta ? choice.delta.content : choice.text) ?? "");
    }
    await answer.finish();
    return true;
  } catch (error) {
    if (signal.aborted) answer.stop();
    else answer.fail(error);
    return false;
  }
}
