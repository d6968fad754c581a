// A draft as cells on the page. Only what differs from the last draft shown is touched.

// An element with properties and children; strings become text, never markup.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const sure = (cell) => (cell.c === null ? "" : `, ${cell.c} % sure`);

class CellGrid {
  // `given` is the text around a gap: {before, after}. `probe` shows the cell under the pointer.
  constructor(given, probe) {
    this.root = make("div", { className: "cells", "aria-hidden": "true" });
    this.tail = null;
    this.slots = [];
    this.cells = [];
    this.shown = [];
    this.settled = 0;
    if (given?.before) this.root.append(make("span", { className: "given" }, given.before));
    if (given?.after) this.root.append((this.tail = make("span", { className: "given" }, given.after)));
    this.root.addEventListener("pointerover", (event) => {
      const index = this.slots.findIndex((slot) => slot.contains(event.target));
      probe.textContent = index < 0 ? "" : this.describe(index);
    });
    this.root.addEventListener("pointerleave", () => (probe.textContent = ""));
  }

  describe(index) {
    const cell = this.cells[index];
    const state = index < this.settled && cell.s !== "p" && cell.s !== "e" ? "settled" : STATES[cell.s];
    const text = cell.t ? ` ${JSON.stringify(cell.t)}` : "";
    return `cell ${index + 1}: ${state}${text}${sure(cell)}`;
  }

  show(draft) {
    while (this.slots.length > draft.cells.length) this.slots.pop().remove();
    while (this.slots.length < draft.cells.length) this.grow();
    const shown = draft.cells.map((cell, i) => this.look(cell, i < draft.settled, i >= draft.block?.[1]));
    shown.forEach((look, i) => {
      const before = this.shown[i];
      if (before && Object.keys(look).every((name) => look[name] === before[name]))
        this.slots[i].firstChild.classList.remove("fresh");
      else this.paint(this.slots[i], look, look.text !== (before?.text ?? "") && "fdp".includes(look.state));
    });
    this.shown = shown;
    this.cells = draft.cells;
    this.settled = draft.settled;
  }

  // What of a cell is to be seen. `later`: its block has not begun.
  look(cell, settled, later) {
    return { text: cell.t ?? "", state: cell.s, shade: cell.c ?? 60, settled, later: later && cell.s === "m" };
  }

  grow() {
    const slot = make("span", { className: "slot" }, make("span", { className: "cell" }));
    this.root.insertBefore(slot, this.tail);
    this.slots.push(slot);
  }

  // The space in front of a word stands outside its box. A line break in a token breaks the line
  // behind its cell.
  paint(slot, look, fresh) {
    const node = slot.firstChild;
    const lead = /^ [^ ]/.test(look.text);
    node.className = "cell";
    for (const [name, on] of Object.entries({ lead, fresh, settled: look.settled, later: look.later }))
      node.classList.toggle(name, on);
    node.dataset.s = look.state;
    node.textContent = look.text.slice(lead ? 1 : 0).replaceAll("\n", "⏎").replaceAll("\t", "⇥");
    node.style.setProperty("--c", look.shade / 100);
    const breaks = look.state !== "g" && look.text.includes("\n");
    if (breaks && slot.childNodes.length === 1) slot.append(make("br"));
    else if (!breaks && slot.childNodes.length > 1) slot.lastChild.remove();
  }
}
