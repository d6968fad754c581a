// The page: which model, which key, which theme, which panel, and the one answer that runs.

const KEY_PLACE = "unmask-key"; // in sessionStorage: it ends with the tab
const THEME_PLACE = "unmask-theme";
const THEMES = { auto: "◐", light: "☀", dark: "☾" };
const LOADING_MS = 1000;
const SAID_MAX = 500; // characters of an answer that are read out

// Storage can be switched off in the browser; the page then forgets.
const stored = {
  get(place, name) {
    try {
      return window[place].getItem(name);
    } catch {
      return null;
    }
  },
  set(place, name, value) {
    try {
      if (value) window[place].setItem(name, value);
      else window[place].removeItem(name);
    } catch {
      return;
    }
  },
};

class Page {
  running = null; // AbortController of the answer that runs

  constructor() {
    this.key = stored.get("sessionStorage", KEY_PLACE) ?? "";
    this.api = new Api(() => this.key);
    this.settings = new Settings(at("settings-fields"));
    this.chat = new ChatView(this);
    this.fill = new FillView(this);
    this.setUpTheme();
    this.setUpTabs();
    this.setUpKey();
    this.setUpSettings();
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !at("key-dialog").open) this.stop();
    });
  }

  // ---- one answer at a time ----

  // True when the answer came to its end.
  async run(path, body, answer) {
    this.running = new AbortController();
    this.settings.markInvalid(null);
    this.showRunning(true);
    this.say("Answering.");
    const done = await runAnswer(this.api, path, this.complete(body), answer, this.running.signal);
    this.running = null;
    this.showRunning(false);
    if (answer.error?.status === 401) this.openKey();
    if (answer.error) this.settings.markInvalid(answer.error.param);
    else this.say(done ? `Answer: ${answer.text.slice(0, SAID_MAX)}` : "Stopped.");
    return done;
  }

  // What a panel asks, over the settings.
  complete(body) {
    const common = this.settings.body();
    return { model: this.model?.id, ...common, ...body };
  }

  stop() {
    this.running?.abort();
  }

  showRunning(running) {
    for (const [id, label] of [["send", "Send"], ["fill", "Fill"]]) {
      at(id).textContent = running ? "Stop" : label;
      at(id).classList.toggle("stop", running);
    }
    at("send").disabled = !running && this.chatless;
  }

  // For screen readers: what begins and ends, never the steps between.
  say(text) {
    at("say").textContent = text;
  }

  notice(text) {
    at("notice").textContent = text;
    at("notice").hidden = !text;
  }

  // ---- the model ----

  // Comes again while the model loads.
  async load() {
    try {
      const { data } = await this.api.json("GET", "v1/models");
      this.model = data[0];
      at("model-name").textContent = this.model.id;
      document.title = `${this.model.id} · unmask`;
      if (!this.model.diffusion) return await this.waitForModel();
      this.notice("");
      this.settings.recommend(this.model);
      at("model-facts").textContent =
        `${this.model.diffusion.family} · ${this.model.context_length} positions`;
      await this.tryChat();
    } catch (error) {
      this.notice(error.message);
      if (error.status === 401) this.openKey();
    }
  }

  async waitForModel() {
    await this.api.json("GET", "health").catch((error) => this.notice(error.message));
    setTimeout(() => this.load(), LOADING_MS);
  }

  // A base model has no chat template; rendering a message tells.
  async tryChat() {
    const messages = [{ role: "user", content: "?" }];
    try {
      await this.api.json("POST", "tokenize", { messages });
      this.chatless = false;
    } catch (error) {
      this.chatless = error.status === 400;
      at("chat-missing").textContent =
        "This model has no chat template, so it cannot chat. It can go on from a text or fill a gap: see the other tab.";
    }
    at("chat-missing").hidden = !this.chatless;
    at("chat-empty").hidden = this.chatless || at("chat-log").childElementCount > 0;
    at("question").disabled = this.chatless;
    this.showRunning(Boolean(this.running));
  }

  // ---- key, theme, tabs, settings ----

  setUpKey() {
    const use = (key) => {
      this.key = key;
      stored.set("sessionStorage", KEY_PLACE, key);
      at("key").value = "";
      at("key-dialog").close();
      this.load();
    };
    at("key-open").addEventListener("click", () => this.openKey());
    at("key-forget").addEventListener("click", () => use(""));
    at("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      use(at("key").value.trim());
    });
  }

  openKey() {
    if (!at("key-dialog").open) at("key-dialog").showModal();
  }

  setUpTheme() {
    const show = (theme) => {
      document.documentElement.dataset.theme = theme;
      at("theme").textContent = THEMES[theme];
      at("theme").title = `Theme: ${theme}`;
      at("theme").setAttribute("aria-label", at("theme").title);
    };
    const chosen = stored.get("localStorage", THEME_PLACE);
    const names = Object.keys(THEMES);
    let theme = names.includes(chosen) ? chosen : "auto";
    show(theme);
    at("theme").addEventListener("click", () => {
      theme = names[(names.indexOf(theme) + 1) % names.length];
      stored.set("localStorage", THEME_PLACE, theme);
      show(theme);
    });
  }

  setUpTabs() {
    const tabs = [at("tab-chat"), at("tab-fill")];
    const choose = (chosen, focus) => {
      for (const tab of tabs) {
        const on = tab === chosen;
        tab.setAttribute("aria-selected", on);
        tab.tabIndex = on ? 0 : -1;
        at(tab.getAttribute("aria-controls")).hidden = !on;
      }
      if (focus) chosen.focus();
    };
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => choose(tab, false));
      tab.addEventListener("keydown", (event) => {
        if (event.key === "ArrowLeft" || event.key === "ArrowRight") choose(tabs[1 - i], true);
      });
    });
  }

  setUpSettings() {
    at("settings-open").addEventListener("click", () => {
      const open = at("settings").classList.toggle("open");
      at("settings-open").setAttribute("aria-expanded", open);
    });
    at("settings-reset").addEventListener("click", () => this.settings.reset());
  }
}

const page = new Page();
page.load();
