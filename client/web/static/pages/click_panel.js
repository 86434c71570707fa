// The panel beside the view: plate, objects, tracking, correcting, display.

import { el, fill, notify, slider } from "../dom.js";
import { isEmpty } from "./click_objects.js";

export class Panel {
  element = el("div.panel");
  #objects;
  #result;
  #job;
  #does;

  /**
   * `objects` (Objects), `result` (Result) and `job` (FollowedJob) are what it shows and changes;
   * `does` holds what the page does on a button.
   */
  constructor({ objects, result, job, does }) {
    this.#objects = objects;
    this.#result = result;
    this.#job = job;
    this.#does = does;
    this.element.append(this.#plateSection(), this.#objectSection(), this.#trackSection(), this.#correctSection(), this.#jobSection(), this.#displaySection());
  }

  // -------------------------------------------------------------------------------- building

  #plateSection() {
    this.plateName = el("span.grow.ellipsis");
    return el("section", {}, el("div.row", {}, this.plateName, button("Plate …", "Choose a plate (O)", this.#does.choosePlate)));
  }

  #objectSection() {
    const does = this.#does;
    this.modes = {
      prompts: button("Prompts", "Clicks and boxes on frames (Q)", () => does.setMode("prompts")),
      result: button("Result", "The tracked mattes (Q)", () => does.setMode("result")),
    };
    this.list = el("ul.objects", { role: "listbox", "aria-label": "Objects" });
    this.hint = el("p.hint");
    this.add = button("New", "Begin another object (N)", does.add);
    this.undo = button("Undo", "Take the last change back (Ctrl+Z)", does.undo);
    this.redo = button("Redo", "Do it again (Ctrl+Shift+Z)", does.redo);
    this.clear = button("Clear", "Forget the clicks of this object on this frame (Backspace)", does.clear);
    this.promptTools = el("div.row", {}, this.add, this.undo, this.redo, el("span.spacer"), this.clear);
    return el("section", {}, el("div.modes", {}, this.modes.prompts, this.modes.result), this.list, this.promptTools, this.hint);
  }

  #trackSection() {
    this.first = el("input.number", { type: "number", "aria-label": "First frame" });
    this.last = el("input.number", { type: "number", "aria-label": "Last frame" });
    this.text = el("input", { type: "text", placeholder: "nothing", "aria-label": "Also find", title: "Objects found by a text beside yours, like “person, car”. Leave it empty to track yours alone." });
    this.submit = button("Track", "Send plate range and prompts to the server (Ctrl+Enter)", this.#does.submit, ".primary");
    this.save = button("Save prompt set", "A ZIP with masks and clicks, for “segmatte run --prompts”", this.#does.save);
    this.track = el(
      "section",
      {},
      el("div.range", {}, el("span", {}, "Frames"), this.first, el("span.dim", {}, "–"), this.last),
      el("label.field", { title: this.text.title }, el("span", {}, "Also find"), this.text),
      el("div.row", {}, this.submit, this.save),
    );
    return this.track;
  }

  #correctSection() {
    const does = this.#does;
    this.correct = button("Correct on this frame", "Click anew what the chosen object is on this frame (C)", does.correct);
    this.retrack = button("Re-track from here", "Track this object again around this frame; other objects and frames stay as they are (Ctrl+Enter)", does.retrack, ".primary");
    this.giveUp = button("Cancel", "Leave the object as it is (Esc)", does.giveUp);
    this.compare = button("Before", "Hold to see the mattes as they were before the correction (hold B)");
    this.compare.onpointerdown = () => does.compare(true);
    this.compare.onpointerup = this.compare.onpointerleave = () => does.compare(false);
    this.correcting = el("section", {}, el("div.row", {}, this.correct, this.retrack, this.giveUp, this.compare));
    return this.correcting;
  }

  #jobSection() {
    this.progress = el("section", {}, this.#job.element);
    return this.progress;
  }

  #displaySection() {
    const grade = () => this.#does.grade(stops.value, gamma.value);
    const stops = slider({ label: "Exposure", tip: "Brightens what you see, not what the models see. Usual: 0.", min: -4, max: 6, step: 0.1, value: 0, show: (v) => `${v > 0 ? "+" : ""}${v.toFixed(1)}`, change: grade });
    const gamma = slider({ label: "Gamma", tip: "Lifts the darks of what you see. Usual: 1.", min: 0.4, max: 3, step: 0.05, value: 1, change: grade });
    this.colorspace = el("input", {
      type: "text",
      placeholder: "from the files",
      "aria-label": "Colour space",
      title: "Colour space of the plate, as the OCIO config calls it. Leave it empty unless the picture looks wrong.",
      onchange: () => this.#does.colorspace(this.colorspace.value.trim()),
    });
    const field = el("label.field", { title: this.colorspace.title }, el("span", {}, "Colour space"), this.colorspace);
    return el("section", {}, el("h3", {}, "Display"), stops.element, gamma.element, field);
  }

  // --------------------------------------------------------------------------------- showing

  /** Set the fields of a shot that has been opened. */
  open({ first, last, options }) {
    this.first.value = first;
    this.last.value = last;
    this.colorspace.value = options.colorspace ?? "";
  }

  /** Show how things stand: the shot or null, the mode, the frame. */
  show({ shot, mode, frame }) {
    const [objects, result, job] = [this.#objects, this.#result, this.#job.job];
    fill(this.plateName, shot ? shot.name : "No plate");
    this.plateName.title = shot?.plate.path ?? "";
    for (const [name, pressed] of Object.entries(this.modes)) pressed.setAttribute("aria-pressed", String(name === mode));
    this.modes.result.disabled = !job;
    this.promptTools.hidden = this.track.hidden = mode === "result";
    this.correcting.hidden = mode !== "result";
    this.progress.hidden = !job;
    this.undo.disabled = !objects.canUndo;
    this.redo.disabled = !objects.canRedo;
    this.add.disabled = !shot;
    this.clear.disabled = isEmpty(objects.selected?.keyframes[frame]);
    const ready = objects.keyframes.length > 0;
    this.submit.disabled = !shot || (!ready && !this.text.value.trim());
    this.save.disabled = !shot || !ready;
    const correcting = result.correction !== null;
    this.correct.hidden = correcting;
    this.correct.disabled = !result.canCorrect;
    this.retrack.hidden = this.giveUp.hidden = !correcting;
    this.retrack.disabled = isEmpty(result.correction?.prompt);
    this.compare.hidden = !this.#job.before || correcting;
    this.#fillList(mode);
    fill(this.hint, this.#hint(shot, mode));
  }

  #hint(shot, mode) {
    const clicks = [el("b.plus", {}, "Click"), " on it, ", el("b.minus", {}, "right-click"), " on what is not it, ", el("b", {}, "drag"), " a box."];
    const { correction } = this.#result;
    const { job, changed } = this.#job;
    if (!shot) return ["Press ", el("b", {}, "?"), " for all keys."];
    if (correction) return [`What is ${correction.name} on frame ${correction.frame}? `, ...clicks];
    if (mode === "prompts") return [...clicks, " More frames help."];
    if (changed) return [`Corrected: frames ${changed[0]}–${changed[1]} may have changed, no other.`];
    if (job?.state !== "done") return ["Mattes appear as they are finished, the last frame first."];
    return ["Click a matte to choose it. Where it went wrong, correct it on that frame."];
  }

  #fillList(mode) {
    if (this.list.querySelector("input.name")) return;
    const prompts = mode === "prompts";
    const rows = prompts ? this.#objects.list.map((o) => this.#promptRow(o)) : this.#result.objects.map((o) => this.#resultRow(o));
    const nothing = prompts ? "No objects. Click into the frame to begin one." : "No mattes on this frame.";
    fill(this.list, rows.length ? rows : el("li.dim", {}, nothing));
  }

  #promptRow(object) {
    const objects = this.#objects;
    const count = objects.keyframes.filter((k) => k.object === object).length;
    return el(
      "li",
      { role: "option", "aria-selected": String(object === objects.selected), class: object.visible ? "" : "hidden-object" },
      el("input", { type: "color", value: object.colour, "aria-label": `Colour of ${object.name}`, title: "Colour", onchange: (event) => objects.recolour(object, event.target.value) }),
      el("button.name", { title: `${object.name} – double click renames`, onclick: () => objects.choose(object), ondblclick: () => this.rename(object) }, object.name),
      el("span.dim", { title: "Keyframes" }, count ? `${count} ◆` : ""),
      el("button.quiet.eye", { title: object.visible ? "Hide (H)" : "Show (H)", "aria-label": object.visible ? "Hide" : "Show", onclick: () => objects.toggleVisible(object) }, object.visible ? "◉" : "○"),
      el("button.quiet.bin", { title: "Delete (Del)", "aria-label": "Delete", onclick: () => objects.remove(object) }, "✕"),
    );
  }

  #resultRow({ name, colour }) {
    const result = this.#result;
    const hidden = result.isHidden(name);
    return el(
      "li",
      { role: "option", "aria-selected": String(name === result.picked), class: hidden ? "hidden-object" : "" },
      el("span.swatch", { style: { background: this.#objects.colours[name] ?? colour } }),
      el("button.name", { title: name, onclick: () => result.pick(name) }, name),
      el("button.quiet.eye", { title: "Hide or show (H)", "aria-label": "Hide or show", onclick: () => result.toggle(name) }, hidden ? "○" : "◉"),
    );
  }

  /** Let an object's name be typed in its row. */
  rename(object) {
    const row = this.list.children[this.#objects.list.indexOf(object)];
    const input = el("input.name", { type: "text", value: object.name, "aria-label": "Name", maxLength: 200 });
    let over = false;
    const done = (keep) => {
      if (over) return;
      over = true;
      const text = input.value;
      input.remove();
      const problem = keep ? this.#objects.rename(object, text) : "";
      if (problem) notify(problem, "error");
      this.#objects.onChange();
    };
    input.onblur = () => done(true);
    input.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter" || event.key === "Escape") done(event.key === "Enter");
    };
    row.querySelector(".name").replaceWith(input);
    input.select();
    input.focus();
  }
}

const button = (text, tip, run, kind = "") => el(`button${kind}`, { title: tip, onclick: run }, text);
