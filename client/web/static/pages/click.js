// Click segmentation: objects by clicks and boxes on some frames, tracked, looked at, corrected.
//
// Two modes. "Prompts": clicks make keyframes of named objects, each answered by a mask. "Result":
// a job's mattes over the plate; one object can be corrected on a frame and re-tracked from there.

import * as api from "../api.js";
import { attempt, duration, el, fill, notify, slider } from "../dom.js";
import { FrameSource, FrameView, tinted } from "../frame_view.js";
import { Mattes } from "../mattes.js";
import { pickPlate, sendPictures, takeDrops } from "../plate_picker.js";
import { Scrubber } from "../scrubber.js";

export const title = "Click";

const COLOURS = ["#4fb3ff", "#ffb24f", "#b98cff", "#59d8c1", "#ff7fb0", "#c9d64f", "#8f9dff", "#ff8d5c", "#7fdc7f", "#e38cff", "#5cd0ef", "#e0c36b"];
const GOOD = "#35e07f";
const BAD = "#ff5148";
const DRAFT = "segmatte-click";
const SHOTS = "segmatte-click-jobs"; // [{job, shot, objects}] of the last jobs
const MOST_SHOTS = 30;
const MOST_SESSIONS = 2;
const DRAG_PIXELS = 5;

export async function mount(main, { me, keys }) {
  document.head.append(el("link", { rel: "stylesheet", href: "/static/click.css" }));
  const page = new ClickPage(main, keys);
  await page.begin(new URLSearchParams(location.search).get("job"));
  return me;
}

/** One object's clicks on one frame. */
const emptyPrompt = () => ({ points: [], box: null });
const isEmpty = (prompt) => !prompt || (!prompt.points.length && !prompt.box);

class ClickPage {
  #shot = null; // {plate, name, first, last, options}
  #source = null;
  #sessions;
  #objects = []; // {id, name, colour, visible, keyframes: {frame: prompt}}
  #selected = null; // id
  #undo = [];
  #redo = [];
  #masks = new Map(); // prompt's key → {data, rect} or a promise of it
  #mode = "prompts";
  #job = null;
  #before = null; // Mattes of the job that was corrected
  #mattes = null;
  #matte = null; // of the present frame
  #results = new Set(); // frames with mattes
  #changed = null; // [first, last] of the last correction
  #hidden = new Set(); // names, in the result
  #picked = null; // name, in the result
  #correction = null; // {frame, name, prompt}
  #unfollow = () => {};
  #overlay = 0; // 0 filled, 1 outlines, 2 off
  #drag = null;
  #pointer = null;
  #asking = 0;
  #unseen = ""; // why the plate's picture is not there

  constructor(main, keys) {
    const viewer = el("div.viewer");
    const line = el("div");
    this.panel = el("div.panel");
    this.note = el("div.view-note.mono");
    main.append(el("div.workspace", {}, viewer, line, this.panel));
    this.view = new FrameView(el("div"));
    viewer.append(this.view.host, this.note);
    this.view.layers = [(c, v) => this.#drawMasks(c, v), (c, v) => this.#drawPrompts(c, v)];
    this.view.onPointer = (pointer) => this.#pointed(pointer);
    this.view.onView = () => {
      this.#source?.sharpen(this.view.isCoarse);
      this.#tellPlace();
    };
    this.view.cursor = "crosshair";
    takeDrops(viewer, (files) => this.#dropped(files));
    this.scrubber = new Scrubber(line);
    this.scrubber.onFrame = (frame) => this.#frameChanged(frame);
    this.#build();
    this.#keys(keys);
    addEventListener("pagehide", () => this.#sessions?.close());
  }

  async begin(job) {
    if (job) return attempt(() => this.#openJob(job));
    const draft = read(DRAFT);
    if (draft?.shot) {
      this.#objects = draft.objects ?? [];
      this.#selected = this.#objects[0]?.id ?? null;
      this.#openShot(draft.shot);
    } else this.#refresh();
    return undefined;
  }

  // ------------------------------------------------------------------------------- the panel

  #build() {
    const button = (text, tip, run, kind = "") => el(`button${kind}`, { title: tip, onclick: run }, text);
    this.plateName = el("span.grow.ellipsis");
    this.colorspace = el("input", {
      type: "text",
      placeholder: "from the files",
      "aria-label": "Colour space",
      title: "Colour space of the plate, as the OCIO config calls it. Leave it empty unless the picture looks wrong.",
      onchange: () => this.#shot && this.#openShot({ ...this.#shot, options: { ...this.#shot.options, colorspace: this.colorspace.value.trim() } }),
    });
    const stops = slider({ label: "Exposure", tip: "Brightens what you see, not what the models see. Usual: 0.", min: -4, max: 6, step: 0.1, value: 0, show: (v) => `${v > 0 ? "+" : ""}${v.toFixed(1)}`, change: () => grade() });
    const gamma = slider({ label: "Gamma", tip: "Lifts the darks of what you see. Usual: 1.", min: 0.4, max: 3, step: 0.05, value: 1, change: () => grade() });
    const grade = () => this.view.grade(stops.value, gamma.value);
    this.modes = {
      prompts: button("Prompts", "Clicks and boxes on frames (Q)", () => this.#setMode("prompts")),
      result: button("Result", "The tracked mattes (Q)", () => this.#setMode("result")),
    };
    this.list = el("ul.objects", { role: "listbox", "aria-label": "Objects" });
    this.hint = el("p.hint");
    this.add = button("New", "Begin another object (N)", () => this.#addObject());
    this.undoButton = button("Undo", "Take the last change back (Ctrl+Z)", () => this.#step(this.#undo, this.#redo));
    this.redoButton = button("Redo", "Do it again (Ctrl+Shift+Z)", () => this.#step(this.#redo, this.#undo));
    this.clear = button("Clear", "Forget the clicks of this object on this frame (Backspace)", () => this.#clearFrame());
    this.saveButton = button("Save prompt set", "A ZIP with masks and clicks, for “segmatte run --prompts”", () => this.#save());
    this.first = el("input.number", { type: "number", "aria-label": "First frame" });
    this.last = el("input.number", { type: "number", "aria-label": "Last frame" });
    this.text = el("input", { type: "text", placeholder: "nothing", "aria-label": "Also find", title: "Objects found by a text beside yours, like “person, car”. Leave it empty to track yours alone." });
    this.submit = button("Track", "Send plate range and prompts to the server (Ctrl+Enter)", () => this.#submit(), ".primary");
    this.progress = el("div.progress", { "aria-live": "polite" });
    this.correct = button("Correct on this frame", "Click anew what the chosen object is on this frame (C)", () => this.#beginCorrection());
    this.retrack = button("Re-track from here", "Track this object again around this frame; other objects and frames stay as they are (Ctrl+Enter)", () => this.#sendCorrection(), ".primary");
    this.giveUp = button("Cancel", "Leave the object as it is (Esc)", () => this.#endCorrection());
    this.compare = button("Before", "Hold to see the mattes as they were before the correction (hold B)", () => {});
    this.compare.onpointerdown = () => this.#showBefore(true);
    this.compare.onpointerup = this.compare.onpointerleave = () => this.#showBefore(false);
    this.promptTools = el("div", { class: "row" }, this.add, this.undoButton, this.redoButton, el("span.spacer"), this.clear);
    this.trackSection = el(
      "section",
      {},
      el("div.range", {}, el("span", {}, "Frames"), this.first, el("span.dim", {}, "–"), this.last),
      el("label.field", { title: this.text.title }, el("span", {}, "Also find"), this.text),
      el("div.row", {}, this.submit, this.saveButton),
    );
    this.correctSection = el("section", {}, el("div.row", {}, this.correct, this.retrack, this.giveUp, this.compare));
    this.panel.append(
      el("section", {}, el("div.row", {}, this.plateName, button("Plate …", "Choose a plate (O)", () => this.#choosePlate()))),
      el("section", {}, el("div.modes", {}, this.modes.prompts, this.modes.result), this.list, this.promptTools, this.hint),
      this.trackSection,
      this.correctSection,
      (this.jobSection = el("section", {}, this.progress)),
      el("section", {}, el("h3", {}, "Display"), stops.element, gamma.element, el("label.field", { title: this.colorspace.title }, el("span", {}, "Colour space"), this.colorspace)),
    );
  }

  #keys(keys) {
    const add = (group) => (key, does, run) => keys.add({ key, does, group, run });
    const view = add("View");
    view("Wheel", "Zoom at the pointer");
    view("Middle-drag", "Pan, or hold Space and drag");
    view("f", "Fit the frame", () => this.view.fit());
    view("1", "One plate pixel as one screen pixel", () => this.view.actual());
    view("+ =", "Zoom in", () => this.view.zoom(1.25));
    view("-", "Zoom out", () => this.view.zoom(0.8));
    view("m", "Masks filled, as outlines, off", () => {
      this.#overlay = (this.#overlay + 1) % 3;
      this.view.redraw();
    });
    this.scrubber.keys(keys);
    add("Frames")(",", "Keyframe before", () => this.#toKeyframe(-1));
    add("Frames")(".", "Next keyframe", () => this.#toKeyframe(1));
    const click = add("Clicks");
    click("Click", "On the object");
    click("Right-click", "On what is not the object, or Alt and click");
    click("Drag", "A box around the object");
    click("Shift+Click", "Take the nearest click away");
    click("Backspace", "Clear this object's clicks on this frame", () => this.#clearFrame());
    click("Ctrl+z", "Undo", () => this.#step(this.#undo, this.#redo));
    click("Ctrl+Shift+z Ctrl+y", "Redo", () => this.#step(this.#redo, this.#undo));
    const object = add("Objects");
    object("n", "New object", () => this.#addObject());
    object("ArrowUp", "Choose the object above", () => this.#chooseBy(-1));
    object("ArrowDown", "Choose the object below", () => this.#chooseBy(1));
    object("r F2", "Rename", () => this.#rename());
    object("h", "Hide or show", () => this.#toggleVisible());
    object("Delete", "Delete the object", () => this.#deleteObject());
    const shot = add("Shot");
    shot("o", "Choose a plate", () => this.#choosePlate());
    shot("q", "Prompts or result", () => this.#setMode(this.#mode === "prompts" ? "result" : "prompts"));
    shot("Ctrl+Enter", "Track, or re-track a correction", () => (this.#correction ? this.#sendCorrection() : this.#submit()));
    shot("c", "Correct the chosen object on this frame", () => this.#beginCorrection());
    shot("b", "Hold: the mattes before the correction", (event) => event.repeat || this.#showBefore(true));
    shot("Escape", "Leave a correction", () => this.#endCorrection());
    addEventListener("keyup", (event) => event.key === "b" && this.#showBefore(false));
  }

  #refresh() {
    const shot = this.#shot;
    const result = this.#mode === "result";
    fill(this.plateName, shot ? shot.name : "No plate");
    this.plateName.title = shot?.plate.path ?? "";
    if (!shot) this.view.say("Choose a plate, or drop its pictures here, then click on what you want to have.", { title: "No plate yet" });
    for (const [mode, button] of Object.entries(this.modes)) button.setAttribute("aria-pressed", String(mode === this.#mode));
    this.modes.result.disabled = !this.#job;
    this.promptTools.hidden = this.trackSection.hidden = result;
    this.correctSection.hidden = !result;
    this.jobSection.hidden = !this.#job;
    this.undoButton.disabled = !this.#undo.length;
    this.redoButton.disabled = !this.#redo.length;
    this.add.disabled = !shot;
    const object = this.#object();
    this.clear.disabled = isEmpty(object?.keyframes[this.scrubber.frame]);
    const ready = this.#objects.some((o) => Object.values(o.keyframes).some((k) => !isEmpty(k)));
    this.submit.disabled = !shot || (!ready && !this.text.value.trim());
    this.saveButton.disabled = !shot || !ready;
    const correcting = this.#correction !== null;
    this.correct.hidden = correcting;
    this.retrack.hidden = this.giveUp.hidden = !correcting;
    this.retrack.disabled = isEmpty(this.#correction?.prompt);
    this.correct.disabled = !this.#picked || this.#job?.state !== "done" || !this.#results.has(this.scrubber.frame);
    this.compare.hidden = !this.#before || correcting;
    this.#fillList();
    this.#fillHint();
    this.#mark();
    this.#tellPlace();
    this.view.redraw();
  }

  #fillList() {
    if (this.list.querySelector("input.name")) return;
    const rows = this.#mode === "prompts" ? this.#objects.map((o) => this.#promptRow(o)) : this.#resultRows();
    const nothing = this.#mode === "prompts" ? "No objects. Click into the frame to begin one." : "No mattes on this frame.";
    fill(this.list, rows.length ? rows : el("li.dim", {}, nothing));
  }

  #promptRow(object) {
    const count = Object.values(object.keyframes).filter((k) => !isEmpty(k)).length;
    const own = object.id === this.#selected;
    return el(
      "li",
      { role: "option", "aria-selected": String(own), class: object.visible ? "" : "hidden-object" },
      el("input", { type: "color", value: object.colour, "aria-label": `Colour of ${object.name}`, title: "Colour", onchange: (event) => this.#change(() => (object.colour = event.target.value)) }),
      el("button.name", { title: `${object.name} – double click renames`, onclick: () => this.#choose(object.id), ondblclick: () => this.#rename(object) }, object.name),
      el("span.dim", { title: "Keyframes" }, count ? `${count} ◆` : ""),
      el("button.quiet.eye", { title: object.visible ? "Hide (H)" : "Show (H)", "aria-label": object.visible ? "Hide" : "Show", onclick: () => this.#toggleVisible(object) }, object.visible ? "◉" : "○"),
      el("button.quiet.bin", { title: "Delete (Del)", "aria-label": "Delete", onclick: () => this.#deleteObject(object) }, "✕"),
    );
  }

  #resultRows() {
    return (this.#matte?.objects ?? []).map((object) =>
      el(
        "li",
        { role: "option", "aria-selected": String(object.name === this.#picked), class: this.#hidden.has(object.name) ? "hidden-object" : "" },
        el("span.swatch", { style: { background: this.#colours()[object.name] ?? object.colour } }),
        el("button.name", { title: object.name, onclick: () => this.#pick(object.name) }, object.name),
        el("button.quiet.eye", { title: "Hide or show (H)", "aria-label": "Hide or show", onclick: () => this.#toggleHidden(object.name) }, this.#hidden.has(object.name) ? "○" : "◉"),
      ),
    );
  }

  #fillHint() {
    const clicks = [el("b.plus", {}, "Click"), " on it, ", el("b.minus", {}, "right-click"), " on what is not it, ", el("b", {}, "drag"), " a box."];
    if (!this.#shot) fill(this.hint, "Press ", el("b", {}, "?"), " for all keys.");
    else if (this.#correction) fill(this.hint, `What is ${this.#correction.name} on frame ${this.#correction.frame}? `, clicks);
    else if (this.#mode === "prompts") fill(this.hint, clicks, " More frames help.");
    else if (this.#changed) fill(this.hint, `Corrected: frames ${this.#changed[0]}–${this.#changed[1]} may have changed, no other.`);
    else if (this.#job?.state !== "done") fill(this.hint, "Mattes appear as they are finished, the last frame first.");
    else fill(this.hint, "Click a matte to choose it. Where it went wrong, correct it on that frame.");
  }

  #tellPlace() {
    if (!this.#shot) return fill(this.note);
    const at = this.#pointer ? `  x ${Math.floor(this.#pointer[0])}  y ${Math.floor(this.#pointer[1])}` : "";
    return fill(this.note, `${this.scrubber.frame}  ${Math.round(this.view.scale * devicePixelRatio * 100)} %${at}`);
  }

  #mark() {
    const marks = [];
    if (this.#mode === "prompts") {
      for (const object of this.#objects) {
        for (const [frame, prompt] of Object.entries(object.keyframes)) {
          if (!isEmpty(prompt)) marks.push({ frame: Number(frame), colour: object.colour, title: object.name });
        }
      }
    } else {
      for (const [first, last] of runs([...this.#results])) marks.push({ frame: first, last, colour: "#54c98c", title: "Mattes are there" });
      if (this.#changed) marks.push({ frame: this.#changed[0], last: this.#changed[1], colour: "#e0a33e", title: "May have changed" });
      if (this.#correction) marks.push({ frame: this.#correction.frame, colour: "#ffffff" });
    }
    this.scrubber.mark(marks);
  }

  // ------------------------------------------------------------------------- plate and frames

  async #choosePlate() {
    this.#openPicked(await pickPlate());
  }

  async #dropped(files) {
    this.#openPicked(await sendPictures(files, (text) => this.view.say(text, { kind: "busy" })));
  }

  #openPicked(found) {
    if (!found) return this.#refresh();
    this.#leaveJob();
    this.#objects = [];
    this.#selected = null;
    this.#undo = [];
    this.#redo = [];
    this.#openShot({ plate: found.plate, name: found.name, first: found.first, last: found.last, options: {} });
    return this.view.fit();
  }

  #openShot(shot) {
    this.#source?.stop();
    this.#sessions?.close();
    this.#masks.clear();
    this.#shot = shot;
    this.colorspace.value = shot.options.colorspace ?? "";
    this.#sessions = new Sessions(shot);
    this.#source = new FrameSource(shot.plate, shot.options);
    this.#source.onPicture = ({ bitmap, frame }) => {
      this.#unseen = "";
      this.view.say(null);
      this.view.show(bitmap, frame);
      this.#tellPlace();
    };
    this.#source.onError = (number, error) => {
      this.#unseen = error.message;
      this.view.clear();
      this.view.say(error.message, { title: `Frame ${number} cannot be shown` });
      if (this.#mode === "result") this.#loadMatte(number);
    };
    this.view.clear();
    this.view.say("Loading the frame …");
    this.scrubber.range(shot.first, shot.last);
    this.first.value = shot.first;
    this.last.value = shot.last;
    this.#keep();
    this.#frameChanged(this.scrubber.frame);
  }

  #frameChanged(frame) {
    if (!this.#shot) return;
    this.#source.want(frame);
    if (this.#correction && this.#correction.frame !== frame) this.#endCorrection();
    if (this.#mode === "result") this.#loadMatte(frame);
    else {
      // Not while scrubbing: a frame has to be encoded before it can answer.
      clearTimeout(this.#asking);
      this.#asking = setTimeout(() => this.#askAll(frame), 250);
    }
    this.#refresh();
  }

  #toKeyframe(way) {
    const frames = new Set(this.#objects.flatMap((o) => Object.keys(o.keyframes).filter((f) => !isEmpty(o.keyframes[f])).map(Number)));
    const rest = [...frames].filter((f) => (f - this.scrubber.frame) * way > 0).sort((a, b) => (a - b) * way);
    if (rest.length) this.scrubber.go(rest[0]);
  }

  // ---------------------------------------------------------------------------------- clicks

  #pointed({ type, x, y, button, alt, shift, event }) {
    this.#pointer = type === "leave" ? null : [x, y];
    this.#tellPlace();
    if (type === "down") this.#drag = { from: [x, y], start: [event.clientX, event.clientY], negative: button === 2 || alt, shift, box: null };
    if (!this.#drag) return;
    const drag = this.#drag;
    if (type === "move") {
      const far = Math.hypot(event.clientX - drag.start[0], event.clientY - drag.start[1]) > DRAG_PIXELS;
      if ((far || drag.box) && !drag.negative && this.#takesClicks()) {
        const [w, h] = this.view.frame.plate;
        const inside = (v, most) => Math.min(most, Math.max(0, v));
        const [x0, y0] = [Math.min(x, drag.from[0]), Math.min(y, drag.from[1])];
        const [x1, y1] = [Math.max(x, drag.from[0]), Math.max(y, drag.from[1])];
        drag.box = [inside(x0, w), inside(y0, h), inside(x1, w), inside(y1, h)];
        this.view.redraw();
      }
    }
    if (type === "up") {
      this.#drag = null;
      if (drag.box && drag.box[2] - drag.box[0] >= 1 && drag.box[3] - drag.box[1] >= 1) this.#prompted((p) => (p.box = drag.box));
      else if (!drag.box) this.#clicked(drag.from, drag);
      this.view.redraw();
    }
  }

  #takesClicks() {
    return this.#mode === "prompts" || this.#correction !== null;
  }

  #clicked([x, y], { negative, shift }) {
    const [w, h] = this.view.frame.plate;
    if (x < 0 || y < 0 || x >= w || y >= h) return;
    if (!this.#takesClicks()) {
      const found = this.#matte?.at(x, y);
      if (found) this.#pick(found.name);
      return;
    }
    if (shift) {
      this.#prompted((prompt) => {
        const distance = (p) => Math.hypot(p.x - x, p.y - y);
        const nearest = [...prompt.points].sort((a, b) => distance(a) - distance(b))[0];
        prompt.points = prompt.points.filter((p) => p !== nearest);
        if (!nearest) prompt.box = null;
      });
    } else this.#prompted((prompt) => prompt.points.push({ x: round(x), y: round(y), positive: !negative }));
  }

  /** Change the prompt of the chosen object (or of the correction) on this frame, and ask. */
  #prompted(change) {
    const frame = this.scrubber.frame;
    if (this.#correction) {
      change(this.#correction.prompt);
      this.#ask(frame, this.#correction.prompt);
      return this.#refresh();
    }
    return this.#change(() => {
      const object = this.#object() ?? this.#newObject();
      object.visible = true;
      change((object.keyframes[frame] ??= emptyPrompt()));
      this.#ask(frame, object.keyframes[frame]);
    });
  }

  #clearFrame() {
    if (this.#correction) {
      this.#correction.prompt = emptyPrompt();
      return this.#refresh();
    }
    const object = this.#object();
    if (isEmpty(object?.keyframes[this.scrubber.frame])) return undefined;
    return this.#change(() => delete object.keyframes[this.scrubber.frame]);
  }

  #askAll(frame) {
    for (const object of this.#objects) if (!isEmpty(object.keyframes[frame])) this.#ask(frame, object.keyframes[frame]);
  }

  /** Get the mask of a prompt, once. */
  async #ask(frame, prompt) {
    const key = maskKey(frame, prompt);
    if (isEmpty(prompt) || this.#masks.has(key)) return;
    const sessions = this.#sessions;
    const asked = structuredClone(prompt);
    const busy = setTimeout(() => this.view.say(sessions.has(frame) ? "Asking for the mask …" : "Preparing the frame …", { kind: "busy" }), 150);
    const answer = sessions.mask(frame, asked);
    this.#masks.set(key, answer);
    try {
      const found = await answer;
      if (sessions === this.#sessions) this.#masks.set(key, found);
    } catch (error) {
      this.#masks.delete(key);
      notify(error.message, "error");
    }
    clearTimeout(busy);
    this.view.say(null);
    this.#refresh();
  }

  /** The mask of a prompt if it is there: {data, rect}. */
  #mask(frame, prompt) {
    const found = isEmpty(prompt) ? null : this.#masks.get(maskKey(frame, prompt));
    return found && !(found instanceof Promise) ? found : null;
  }

  // --------------------------------------------------------------------------------- objects

  #object() {
    return this.#objects.find((o) => o.id === this.#selected) ?? null;
  }

  #newObject() {
    const taken = new Set(this.#objects.map((o) => o.name));
    let number = this.#objects.length + 1;
    while (taken.has(`/object_${String(number).padStart(2, "0")}`)) number += 1;
    const used = new Set(this.#objects.map((o) => o.colour));
    const colour = COLOURS.find((c) => !used.has(c)) ?? COLOURS[number % COLOURS.length];
    const object = { id: number + Date.now(), name: `/object_${String(number).padStart(2, "0")}`, colour, visible: true, keyframes: {} };
    this.#objects.push(object);
    this.#selected = object.id;
    return object;
  }

  #addObject() {
    if (this.#shot && this.#mode === "prompts") this.#change(() => this.#newObject());
  }

  #choose(id) {
    this.#selected = id;
    this.#refresh();
  }

  #chooseBy(step) {
    if (this.#mode === "result") {
      const names = (this.#matte?.objects ?? []).map((o) => o.name);
      if (names.length) this.#pick(names[(names.indexOf(this.#picked) + step + names.length) % names.length]);
    } else if (this.#objects.length) {
      const at = this.#objects.findIndex((o) => o.id === this.#selected);
      this.#choose(this.#objects[(at + step + this.#objects.length) % this.#objects.length].id);
    }
  }

  #rename(object = this.#object()) {
    if (!object || this.#mode !== "prompts") return;
    const row = this.list.children[this.#objects.indexOf(object)];
    const input = el("input.name", { type: "text", value: object.name, "aria-label": "Name", maxLength: 200 });
    let over = false;
    const done = (keep) => {
      if (over) return;
      over = true;
      const name = asName(input.value);
      input.remove();
      if (!keep || name === object.name) return this.#refresh();
      if (!name || this.#objects.some((o) => o !== object && o.name === name)) {
        notify(name ? `There is another object named ${name}.` : "A name looks like /hero or /hero/dress.", "error");
        return this.#refresh();
      }
      return this.#change(() => (object.name = name));
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

  #toggleVisible(object = this.#object()) {
    if (this.#mode === "result") return this.#picked && this.#toggleHidden(this.#picked);
    if (!object) return undefined;
    object.visible = !object.visible;
    this.#keep();
    return this.#refresh();
  }

  #deleteObject(object = this.#object()) {
    if (!object || this.#mode !== "prompts") return;
    this.#change(() => {
      const at = this.#objects.indexOf(object);
      this.#objects.splice(at, 1);
      if (this.#selected === object.id) this.#selected = (this.#objects[at] ?? this.#objects[at - 1])?.id ?? null;
    });
  }

  // ------------------------------------------------------------------------- undo and drafts

  #change(work) {
    this.#undo.push(this.#snapshot());
    if (this.#undo.length > 300) this.#undo.shift();
    this.#redo = [];
    work();
    this.#keep();
    this.#refresh();
  }

  #snapshot() {
    return JSON.stringify({ objects: this.#objects, selected: this.#selected });
  }

  #step(from, to) {
    if (this.#correction) {
      this.#correction.prompt.points.pop();
      if (isEmpty(this.#correction.prompt)) this.#correction.prompt.box = null;
      this.#ask(this.#correction.frame, this.#correction.prompt);
      return this.#refresh();
    }
    if (this.#mode !== "prompts" || !from.length) return undefined;
    to.push(this.#snapshot());
    const { objects, selected } = JSON.parse(from.pop());
    this.#objects = objects;
    this.#selected = selected;
    this.#askAll(this.scrubber.frame);
    this.#keep();
    return this.#refresh();
  }

  #keep() {
    write(DRAFT, { shot: this.#shot, objects: this.#objects });
  }

  // -------------------------------------------------------------------------- saving, tracking

  /** Objects as calls take them, without those that have no clicks. */
  #prompts() {
    return this.#objects
      .map(({ name, keyframes }) => ({
        name,
        keyframes: Object.entries(keyframes)
          .filter(([, prompt]) => !isEmpty(prompt))
          .map(([frame, { points, box }]) => ({ frame: Number(frame), points, box })),
      }))
      .filter((o) => o.keyframes.length);
  }

  async #save() {
    this.saveButton.disabled = true;
    await attempt(async () => {
      const objects = this.#prompts();
      for (const object of objects) {
        for (const keyframe of object.keyframes) {
          await this.#ask(keyframe.frame, keyframe);
          const mask = await this.#masks.get(maskKey(keyframe.frame, keyframe));
          if (!mask) return;
          Object.assign(keyframe, { mask: mask.data, rect: mask.rect });
        }
      }
      const { plate, pixel_aspect } = this.view.frame;
      const response = await api.postRaw("/api/prompt-set", { objects, plate_size: plate, pixel_aspect });
      api.save(await response.blob(), `${this.#shot.name.replace(/[.#@%].*$/, "") || "prompts"}.prompts.zip`);
    });
    this.#refresh();
  }

  async #submit() {
    if (this.submit.disabled || this.#mode !== "prompts") return;
    this.submit.disabled = true;
    const job = await attempt(() =>
      api.post("/api/jobs", {
        request_id: crypto.randomUUID?.() ?? "",
        plate: this.#shot.plate,
        options: this.#shot.options,
        range: [Number(this.first.value), Number(this.last.value)],
        objects: this.#prompts(),
        text: this.text.value.trim(),
        labels: { page: "click" },
      }),
    );
    if (job) {
      this.#before = this.#changed = null;
      this.#enterJob(job);
    }
    this.#refresh();
  }

  async #openJob(id) {
    const job = await api.get(`/api/jobs/${encodeURIComponent(id)}`);
    const kept = (read(SHOTS) ?? []).find((s) => s.job === id || s.job === job.source_job);
    this.#objects = kept?.objects ?? [];
    this.#selected = this.#objects[0]?.id ?? null;
    const shot = kept?.shot ?? (await shotOf(job));
    this.#shot = shot;
    this.#enterJob(job);
    this.#openShot(shot);
  }

  #enterJob(job) {
    this.#unfollow();
    this.#job = job;
    this.#mattes = new Mattes(job.id);
    this.#matte = null;
    this.#results = new Set();
    const others = (read(SHOTS) ?? []).filter((s) => s.job !== job.id);
    write(SHOTS, [{ job: job.id, shot: this.#shot, objects: this.#objects }, ...others].slice(0, MOST_SHOTS));
    history.replaceState(null, "", `/click?job=${encodeURIComponent(job.id)}`);
    this.#mode = "result";
    this.#unfollow = api.follow(job.id, {
      update: (update) => this.#updated(update),
      away: (message) => this.#showProgress(message),
      end: () => this.#ended(),
    });
    this.#showProgress();
  }

  #leaveJob() {
    this.#unfollow();
    this.#unfollow = () => {};
    this.#job = this.#mattes = this.#matte = this.#before = this.#changed = this.#correction = null;
    this.#results = new Set();
    this.#mode = "prompts";
    history.replaceState(null, "", "/click");
    fill(this.progress);
  }

  #updated({ job, events }) {
    this.#job = job;
    for (const event of events) {
      if (event.kind === "frame") {
        this.#results.add(event.frame);
        if (event.frame === this.scrubber.frame && this.#mode === "result") this.#loadMatte(event.frame);
      }
      if (event.kind === "warning" && job.state === "running") notify(event.text);
    }
    this.#showProgress();
    this.#refresh();
  }

  async #ended() {
    const found = await attempt(() => api.get(`/api/jobs/${encodeURIComponent(this.#job.id)}/results`));
    if (!found) return;
    this.#results = new Set(found.frames);
    this.#mattes = new Mattes(this.#job.id); // what was read on the way may have been replaced
    const changed = /Frames (-?\d+)-(-?\d+) may have changed/.exec(this.#job.note);
    if (changed) this.#changed = [Number(changed[1]), Number(changed[2])];
    if (this.#mode === "result") await this.#loadMatte(this.scrubber.frame);
    this.panel.dataset.ended = this.#job.id;
    this.#showProgress();
    this.#refresh();
  }

  #showProgress(away = "") {
    const job = this.#job;
    if (!job) return;
    const stage = job.stages.find((s) => s.name === job.stage);
    const stop = el("button", { title: "Stop it; finished frames are kept", onclick: () => attempt(() => api.post(`/api/jobs/${job.id}/cancel`)) }, "Cancel");
    const again = el("button", { title: "Go on where it stopped", onclick: () => attempt(async () => this.#enterJob(await api.post(`/api/jobs/${job.id}/resume`))) }, "Go on");
    const link = el("a", { href: `/jobs?job=${encodeURIComponent(job.id)}` }, "in Jobs");
    const rest = job.seconds_left > 0 ? `, ${duration(job.seconds_left)} left` : "";
    const running = {
      queued: () => [el("p", {}, job.queue_position ? `Waiting, place ${job.queue_position}` : "Waiting"), el("progress", { max: 1, value: 0 }), el("div.row", {}, stop, link)],
      running: () => [
        el("p", {}, stage ? `${job.stage}: ${stage.done}/${stage.total || "?"}${rest}` : "Starting …"),
        el("progress", { max: stage?.total || 1, value: stage?.done ?? 0 }),
        el("div.row", {}, stop, link),
      ],
      done: () => [el("p", {}, job.note || `Done: ${job.frames_done} ${job.frames_done === 1 ? "frame" : "frames"}.`), el("div.row", {}, link)],
      failed: () => [el("p.problem", {}, job.error?.message ?? "Failed."), el("div.row", {}, again, link)],
      cancelled: () => [el("p", {}, "Cancelled. Finished frames are kept."), el("div.row", {}, again, link)],
    };
    fill(this.progress, away ? el("p.problem", {}, away) : null, (running[job.state] ?? running.queued)());
  }

  // ------------------------------------------------------------------------ result, correcting

  #setMode(mode) {
    if (mode === "result" && !this.#job) return;
    if (this.#correction) this.#endCorrection();
    this.#mode = mode;
    if (this.#shot) this.#frameChanged(this.scrubber.frame);
    else this.#refresh();
  }

  async #loadMatte(frame, mattes = this.#results.has(frame) ? this.#mattes : this.#before) {
    // While a correction runs, the mattes before it are shown.
    if (!mattes) {
      this.#matte = null;
      return this.#refresh();
    }
    try {
      const found = await mattes.load(frame);
      if (frame === this.scrubber.frame) {
        this.#matte = found;
        if (this.#unseen) this.#showOnBlack(found);
      }
    } catch (error) {
      if (frame === this.scrubber.frame) this.#matte = null;
      if (error.kind !== "NotFoundError") notify(error.message, "error");
    }
    return this.#refresh();
  }

  /** Mattes whose plate cannot be seen: it was sent from a browser, or is gone. */
  #showOnBlack(matte) {
    this.view.show(el("canvas", { width: 1, height: 1 }), matte.frame);
    this.view.say(`Without the plate: ${this.#unseen}`, { kind: "busy" });
  }

  #pick(name) {
    if (this.#correction) return;
    this.#picked = name;
    this.#refresh();
  }

  #toggleHidden(name) {
    if (!this.#hidden.delete(name)) this.#hidden.add(name);
    this.#refresh();
  }

  #beginCorrection() {
    if (this.#mode !== "result" || this.correct.disabled || this.#correction) return;
    this.#correction = { frame: this.scrubber.frame, name: this.#picked, prompt: emptyPrompt() };
    this.#refresh();
  }

  #endCorrection() {
    this.#correction = null;
    this.#refresh();
  }

  async #sendCorrection() {
    const correction = this.#correction;
    if (!correction || this.retrack.disabled) return;
    this.retrack.disabled = true;
    const { frame, name, prompt } = correction;
    const job = await attempt(() =>
      api.post(`/api/jobs/${encodeURIComponent(this.#job.id)}/correct`, {
        request_id: crypto.randomUUID?.() ?? "",
        object: name,
        keyframe: { frame, ...prompt },
        labels: { page: "click" },
      }),
    );
    if (job) {
      this.#before = this.#mattes;
      this.#correction = this.#changed = null;
      this.#enterJob(job);
      this.#loadMatte(frame);
    }
    this.#refresh();
  }

  #showBefore(before) {
    if (!this.#before || this.#mode !== "result") return;
    this.#loadMatte(this.scrubber.frame, before ? this.#before : this.#mattes);
  }

  /** Colours the artist has given, by name. */
  #colours() {
    return Object.fromEntries(this.#objects.map((o) => [o.name, o.colour]));
  }

  // --------------------------------------------------------------------------------- drawing

  #drawMasks(context, view) {
    if (this.#overlay === 2) return;
    const look = { fill: this.#overlay === 1 ? 0 : 0.42 };
    context.imageSmoothingEnabled = view.unit * 3 > 1;
    if (this.#mode === "result") {
      if (this.#matte) {
        const hidden = new Set(this.#hidden);
        if (this.#correction && this.#mask(this.#correction.frame, this.#correction.prompt)) hidden.add(this.#correction.name);
        context.drawImage(this.#matte.canvas({ hidden, colours: this.#colours(), ...look }), ...this.#matte.rect);
      }
      if (this.#correction) this.#drawMask(context, this.#correction.frame, this.#correction.prompt, "#ffffff", look);
      return;
    }
    const frame = this.scrubber.frame;
    for (const object of this.#objects) if (object.visible) this.#drawMask(context, frame, object.keyframes[frame], object.colour, look);
  }

  #drawMask(context, frame, prompt, colour, look) {
    const mask = this.#mask(frame, prompt);
    if (!mask) return;
    const name = `${colour} ${look.fill}`;
    const canvas = (mask.canvases ??= new Map()).get(name);
    if (canvas) return void context.drawImage(canvas, ...mask.rect);
    tinted(mask.data, colour, look).then((made) => {
      mask.canvases.set(name, made);
      this.view.redraw();
    });
  }

  #drawPrompts(context, view) {
    const unit = view.unit;
    const draw = (prompt, colour, strong) => {
      if (!prompt) return;
      context.globalAlpha = strong ? 1 : 0.5;
      if (prompt.box) rectangle(context, prompt.box, colour, unit);
      for (const point of prompt.points) dot(context, point, unit, view.aspect, strong);
      context.globalAlpha = 1;
    };
    if (this.#correction) draw(this.#correction.prompt, "#ffffff", true);
    else if (this.#mode === "prompts") {
      const frame = this.scrubber.frame;
      const own = this.#object();
      for (const object of this.#objects) if (object !== own && object.visible) draw(object.keyframes[frame], object.colour, false);
      if (own) draw(own.keyframes[frame], own.colour, true);
    }
    if (this.#drag?.box) rectangle(context, this.#drag.box, "#ffffff", unit, [5 * unit, 4 * unit]);
  }
}

/** Sessions on the server, the last few frames clicked on. */
class Sessions {
  #shot;
  #open = new Map(); // frame → promise of {session, rect, …}
  #last = Promise.resolve();

  constructor(shot) {
    this.#shot = shot;
  }

  has(frame) {
    return this.#open.has(frame);
  }

  /** The mask of a prompt: {data, rect}. One is asked for after the other. */
  mask(frame, prompt) {
    const ask = async (again) => {
      const { session, rect } = await this.#session(frame);
      try {
        const { mask } = await api.post(`/api/sessions/${session}/prompt`, { object: "object", ...prompt });
        return { data: mask, rect };
      } catch (error) {
        this.#open.delete(frame);
        if (again && (error.kind === "NotFoundError" || error.kind === "BusyError")) return ask(false);
        throw error;
      }
    };
    const answer = this.#last.then(() => ask(true));
    this.#last = answer.catch(() => {});
    return answer;
  }

  close() {
    for (const frame of [...this.#open.keys()]) this.#forget(frame);
  }

  #session(frame) {
    let found = this.#open.get(frame);
    if (!found) {
      while (this.#open.size >= MOST_SESSIONS) this.#forget(this.#open.keys().next().value);
      const { plate, options } = this.#shot;
      found = api.post("/api/sessions", { plate, options, frame });
      found.catch(() => this.#open.delete(frame));
    }
    this.#open.delete(frame);
    this.#open.set(frame, found);
    return found;
  }

  #forget(frame) {
    const session = this.#open.get(frame);
    this.#open.delete(frame);
    session.then((s) => api.remove(`/api/sessions/${s.session}`)).catch(() => {});
  }
}

/** The shot of a job that was not submitted from this page. */
async function shotOf(job) {
  const stored = job.plate.includes("/");
  const found = stored ? await api.get("/api/folder", { path: job.plate.replace(/\/[^/]*$/, "") || "/" }).catch(() => null) : null;
  const entry = found?.plates.find((p) => p.path === job.plate);
  let range = job.range ?? (entry?.count ? [entry.first, entry.last] : null);
  if (!range) {
    const { frames } = await api.get(`/api/jobs/${encodeURIComponent(job.id)}/results`);
    range = frames.length ? [frames[0], frames.at(-1)] : [1, 1];
  }
  const plate = stored ? { path: job.plate } : { upload: "of an earlier visit" };
  return { plate, name: job.plate.split("/").pop(), first: range[0], last: range[1], options: {} };
}

const maskKey = (frame, { points, box }) => JSON.stringify([Number(frame), points, box]);
const round = (v) => Math.round(v * 100) / 100;

function asName(text) {
  const name = `/${text.trim().replace(/^\/+/, "")}`;
  return name.slice(1).split("/").every(Boolean) ? name : "";
}

/** [[first, last], …] of frames without a gap. */
function runs(frames) {
  const found = [];
  for (const frame of frames.sort((a, b) => a - b)) {
    if (found.length && frame === found.at(-1)[1] + 1) found.at(-1)[1] = frame;
    else found.push([frame, frame]);
  }
  return found;
}

function dot(context, { x, y, positive }, unit, aspect, strong) {
  const radius = (strong ? 5.5 : 4) * unit;
  context.beginPath();
  context.ellipse(x, y, radius / aspect, radius, 0, 0, 2 * Math.PI);
  context.fillStyle = positive ? GOOD : BAD;
  context.fill();
  context.lineWidth = 1.5 * unit;
  context.strokeStyle = "#000";
  context.stroke();
  context.beginPath(); // + or −, so that colour is not the only sign
  context.moveTo(x - radius / 2 / aspect, y);
  context.lineTo(x + radius / 2 / aspect, y);
  if (positive) {
    context.moveTo(x, y - radius / 2);
    context.lineTo(x, y + radius / 2);
  }
  context.stroke();
}

function rectangle(context, [x0, y0, x1, y1], colour, unit, dash = []) {
  context.setLineDash(dash);
  for (const [width, style] of [[3, "#000a"], [1.5, colour]]) {
    context.lineWidth = width * unit;
    context.strokeStyle = style;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.setLineDash([]);
}

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Full or forbidden: then nothing is kept over a reload.
  }
}
