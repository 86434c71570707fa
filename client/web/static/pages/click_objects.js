// The objects an artist makes: names, colours and prompts by frame, with the way back.

const COLOURS = ["#4fb3ff", "#ffb24f", "#b98cff", "#59d8c1", "#ff7fb0", "#c9d64f", "#8f9dff", "#ff8d5c", "#7fdc7f", "#e38cff", "#5cd0ef", "#e0c36b"];
const MOST_STEPS = 300;

/** One object's clicks on one frame: {points: [{x, y, positive}], box: [x0, y0, x1, y1] or null}. */
export const emptyPrompt = () => ({ points: [], box: null });
export const isEmpty = (prompt) => !prompt || (!prompt.points.length && !prompt.box);

export class Objects {
  #list = []; // {id, name, colour, visible, keyframes: {frame: prompt}}
  #selected = null; // id
  #undo = [];
  #redo = [];
  /** Hears that something has changed. */
  onChange = () => {};

  /** Begin with these, with nothing to undo. */
  begin(list = []) {
    this.#list = list;
    this.#selected = list[0]?.id ?? null;
    this.#undo = [];
    this.#redo = [];
  }

  get list() {
    return this.#list;
  }

  /** The chosen object, or null. */
  get selected() {
    return this.#list.find((o) => o.id === this.#selected) ?? null;
  }

  /** Colours the artist has given, by name. */
  get colours() {
    return Object.fromEntries(this.#list.map((o) => [o.name, o.colour]));
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  /** [{frame, object}] of all frames with clicks. */
  get keyframes() {
    const used = (object) => Object.keys(object.keyframes).filter((frame) => !isEmpty(object.keyframes[frame]));
    return this.#list.flatMap((object) => used(object).map((frame) => ({ frame: Number(frame), object })));
  }

  /** What the scrubber shows of them. */
  get marks() {
    return this.keyframes.map(({ frame, object }) => ({ frame, colour: object.colour, title: object.name }));
  }

  /** What calls take, without objects that have no clicks. */
  prompts() {
    return this.#list
      .map(({ name, keyframes }) => ({
        name,
        keyframes: Object.entries(keyframes)
          .filter(([, prompt]) => !isEmpty(prompt))
          .map(([frame, { points, box }]) => ({ frame: Number(frame), points, box })),
      }))
      .filter((o) => o.keyframes.length);
  }

  // Choosing and hiding are no steps to undo.

  choose(object) {
    this.#selected = object.id;
    this.onChange();
  }

  chooseBy(step) {
    if (!this.#list.length) return;
    const at = this.#list.indexOf(this.selected);
    this.choose(this.#list[(at + step + this.#list.length) % this.#list.length]);
  }

  toggleVisible(object) {
    object.visible = !object.visible;
    this.onChange();
  }

  add() {
    this.#change(() => this.#make());
  }

  /** Give an object another name; answers what is wrong with it, or nothing. */
  rename(object, text) {
    const name = asName(text);
    if (name === object.name) return "";
    if (!name) return "A name looks like /hero or /hero/dress.";
    if (this.#list.some((o) => o.name === name)) return `There is another object named ${name}.`;
    this.#change(() => (object.name = name));
    return "";
  }

  recolour(object, colour) {
    this.#change(() => (object.colour = colour));
  }

  remove(object) {
    this.#change(() => {
      const at = this.#list.indexOf(object);
      this.#list.splice(at, 1);
      if (this.#selected === object.id) this.#selected = (this.#list[at] ?? this.#list[at - 1])?.id ?? null;
    });
  }

  /** Change the prompt of the chosen object (or of a new one) on a frame; answers the prompt. */
  prompt(frame, change) {
    this.#change(() => {
      const object = this.selected ?? this.#make();
      object.visible = true;
      change((object.keyframes[frame] ??= emptyPrompt()));
    });
    return this.selected.keyframes[frame];
  }

  /** Forget the clicks of the chosen object on a frame. */
  clear(frame) {
    const object = this.selected;
    if (!isEmpty(object?.keyframes[frame])) this.#change(() => delete object.keyframes[frame]);
  }

  undo() {
    this.#step(this.#undo, this.#redo);
  }

  redo() {
    this.#step(this.#redo, this.#undo);
  }

  #make() {
    const nameOf = (number) => `/object_${String(number).padStart(2, "0")}`;
    const taken = new Set(this.#list.map((o) => o.name));
    let number = this.#list.length + 1;
    while (taken.has(nameOf(number))) number += 1;
    const used = new Set(this.#list.map((o) => o.colour));
    const colour = COLOURS.find((c) => !used.has(c)) ?? COLOURS[number % COLOURS.length];
    const object = { id: number + Date.now(), name: nameOf(number), colour, visible: true, keyframes: {} };
    this.#list.push(object);
    this.#selected = object.id;
    return object;
  }

  #change(work) {
    this.#undo.push(this.#snapshot());
    if (this.#undo.length > MOST_STEPS) this.#undo.shift();
    this.#redo = [];
    work();
    this.onChange();
  }

  #snapshot() {
    return JSON.stringify({ objects: this.#list, selected: this.#selected });
  }

  #step(from, to) {
    if (!from.length) return;
    to.push(this.#snapshot());
    const { objects, selected } = JSON.parse(from.pop());
    this.#list = objects;
    this.#selected = selected;
    this.onChange();
  }
}

/** A name as layers have it, "/hero/dress", or "" for what cannot be one. */
function asName(text) {
  const name = `/${text.trim().replace(/^\/+/, "")}`;
  return name.slice(1).split("/").every(Boolean) ? name : "";
}
