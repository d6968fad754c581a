// The two panels. Each asks through `page`, which knows the server, the settings and what is running.

const SAMPLES = [
  "What is the capital of France?",
  "What is 27 + 45?",
  "Sort these numbers: 42 7 19 3",
  "Write a short story about Kate and a fish.",
  "Write a Python function that adds two numbers.",
];

const at = (id) => document.getElementById(id);

class ChatView {
  constructor(page) {
    this.page = page;
    this.turns = []; // answered ones, as messages
    at("send").addEventListener("click", () => (page.running ? page.stop() : this.send()));
    at("chat-new").addEventListener("click", () => this.clear());
    at("question").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    for (const sample of SAMPLES) {
      const button = make("button", { type: "button" }, sample);
      button.addEventListener("click", () => this.send(sample));
      at("samples").append(button);
    }
  }

  clear() {
    this.page.stop();
    this.turns = [];
    at("chat-log").replaceChildren();
    at("chat-empty").hidden = false;
    at("question").focus();
  }

  async send(text = at("question").value.trim()) {
    if (!text || this.page.running || at("send").disabled) return;
    const system = at("system").value.trim();
    const asked = { role: "user", content: text };
    const answer = new Answer({ hold: this.page.settings.hold });
    const messages = [...(system ? [{ role: "system", content: system }] : []), ...this.turns, asked];
    at("question").value = "";
    at("chat-empty").hidden = true;
    at("chat-log").append(make("p", { className: "asked" }, text), answer.root);
    answer.root.scrollIntoView({ block: "nearest" });
    const done = await this.page.run("v1/chat/completions", { messages }, answer);
    if (done || answer.text) this.turns.push(asked, { role: "assistant", content: answer.text });
    else if (!at("question").value) at("question").value = text; // to try again
  }
}

class FillView {
  constructor(page) {
    this.page = page;
    at("fill").addEventListener("click", () => (page.running ? page.stop() : this.fill()));
    for (const id of ["before", "gap", "after"])
      at(id).addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.isComposing || !(event.ctrlKey || event.metaKey || id === "gap"))
          return;
        event.preventDefault();
        this.fill();
      });
  }

  // The gap's length is the budget; without one the model ends the gap itself.
  async fill() {
    if (this.page.running) return;
    const [before, after] = [at("before").value, at("after").value];
    const gap = at("gap").value.trim();
    const body = { prompt: before, suffix: after || undefined };
    if (gap) body.max_tokens = Number.isNaN(Number(gap)) ? gap : Number(gap);
    const answer = new Answer({ given: { before, after }, hold: this.page.settings.hold });
    at("fill-log").prepend(answer.root);
    await this.page.run("v1/completions", body, answer);
  }
}
