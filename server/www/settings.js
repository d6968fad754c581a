// The settings that a request takes. An empty field is left out: the model's recommendation holds.

const ALGORITHMS = [
  "low_confidence", "margin", "entropy", "random", "sequential",
  "threshold", "factor", "entropy_bound", "origin", "competing",
];
const PRESETS = ["fast", "balanced", "recommended", "max"];

// name, label, where it goes in the body (the name of an error's param as well), kind
const FIELDS = [
  ["preset", "Preset", "diffusion.preset", "choice"],
  ["algorithm", "Order", "diffusion.algorithm", "choice"],
  ["steps", "Steps", "diffusion.steps", "number"],
  ["block_length", "Block length", "diffusion.block_length", "number"],
  ["threshold", "Threshold", "diffusion.threshold", "number"],
  ["temperature", "Temperature", "temperature", "number"],
  ["max_tokens", "Max tokens", "max_tokens", "number"],
  ["seed", "Seed", "seed", "number"],
  ["interval", "Draft interval, ms", "diffusion.draft.interval_ms", "number"],
  ["hold", "Hold frames, ms", "", "number"],
  ["guess", "Show guesses for masked cells", "diffusion.draft.guess", "check"],
];
const DEFAULTS = { interval: 0, hold: 40 };

class Settings {
  constructor(root) {
    this.inputs = {};
    for (const [name, label, , kind] of FIELDS) root.append(this.field(name, label, kind));
    this.reset();
    this.inputs.preset.addEventListener("change", () => this.recommend(this.model));
  }

  field(name, label, kind) {
    const id = `set-${name}`;
    if (kind === "check") {
      this.inputs[name] = make("input", { type: "checkbox", id });
      return make("label", { className: "check" }, this.inputs[name], label);
    }
    this.inputs[name] =
      kind === "choice"
        ? make("select", { id })
        : make("input", { id, inputMode: "decimal", autocomplete: "off", spellcheck: false });
    return make("label", {}, label, this.inputs[name]);
  }

  reset() {
    for (const [name, , , kind] of FIELDS) {
      if (kind === "check") this.inputs[name].checked = true;
      else this.inputs[name].value = "";
    }
    this.markInvalid(null);
    this.recommend(this.model);
  }

  // Shows what the model recommends, under the chosen preset, where a field is empty. `model` is an
  // entry of /v1/models.
  recommend(model) {
    this.model = model;
    const diffusion = model?.diffusion ?? {};
    const best = { ...diffusion.recommended, ...diffusion.presets?.[this.value("preset")] };
    const shown = (value, fallback = "model’s") => String(value ?? fallback);
    this.choices("preset", "recommended", Object.keys(diffusion.presets ?? {}).concat(PRESETS));
    this.choices("algorithm", shown(best.algorithm), ALGORITHMS);
    this.inputs.steps.placeholder = best.steps_per_block ? `${best.steps_per_block} a block` : "model’s";
    this.inputs.block_length.placeholder = shown(best.block_length);
    this.inputs.threshold.placeholder = shown(best.threshold, "none");
    this.inputs.temperature.placeholder = shown(best.temperature);
    this.inputs.max_tokens.placeholder = shown(best.max_tokens);
    this.inputs.seed.placeholder = "random";
    this.inputs.interval.placeholder = "0, every step";
    this.inputs.hold.placeholder = String(DEFAULTS.hold);
  }

  // The first entry, with an empty value, is what holds without a choice.
  choices(name, first, values) {
    const kept = this.inputs[name].value;
    const others = [...new Set(values)].filter((value) => value !== first);
    this.inputs[name].replaceChildren(
      make("option", { value: "" }, first),
      ...others.map((value) => make("option", { value }, value)),
    );
    this.inputs[name].value = kept;
    if (this.inputs[name].selectedIndex < 0) this.inputs[name].value = "";
  }

  // A number where it is one; else the text, so that the server says what is wrong with it.
  value(name) {
    const text = this.inputs[name].value.trim();
    if (text === "") return DEFAULTS[name];
    const number = Number(text);
    return this.inputs[name].tagName === "SELECT" || Number.isNaN(number) ? text : number;
  }

  get hold() {
    const hold = this.value("hold");
    return hold >= 0 ? hold : 0;
  }

  // What goes into every body. Members that are undefined do not get there.
  body() {
    return {
      temperature: this.value("temperature"),
      seed: this.value("seed"),
      max_tokens: this.value("max_tokens"),
      stream_options: { include_usage: true },
      diffusion: {
        preset: this.value("preset"),
        algorithm: this.value("algorithm"),
        steps: this.value("steps"),
        block_length: this.value("block_length"),
        threshold: this.value("threshold"),
        stream: "draft",
        draft: {
          interval_ms: this.value("interval"),
          guess: this.inputs.guess.checked,
          confidence: true,
        },
      },
    };
  }

  // Marks the field that an error's param names.
  markInvalid(param) {
    for (const [name, , place] of FIELDS) {
      if (param && place === param) this.inputs[name].setAttribute("aria-invalid", "true");
      else this.inputs[name].removeAttribute("aria-invalid");
    }
  }
}
