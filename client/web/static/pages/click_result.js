// A job's mattes over the plate: looked at, chosen, hidden, and one object corrected on a frame.

import { notify } from "../dom.js";
import { drawMask } from "./click_drawing.js";
import { emptyPrompt, isEmpty } from "./click_objects.js";

export class Result {
  #job; // FollowedJob
  #scrubber;
  #matte = null; // of the present frame
  #hidden = new Set(); // names
  #picked = null; // name
  #correction = null; // {frame, name, prompt}
  /** Hears that something has changed. */
  onChange = () => {};
  /** Hears the mattes of the present frame, once they are there. */
  onMatte = () => {};

  constructor(job, scrubber) {
    this.#job = job;
    this.#scrubber = scrubber;
  }

  /** [{id, name, colour}] on the present frame. */
  get objects() {
    return this.#matte?.objects ?? [];
  }

  /** Name of the chosen object, or null. */
  get picked() {
    return this.#picked;
  }

  /** What the scrubber shows: frames with mattes, those that may have changed, the correction's. */
  get marks() {
    const { frames, changed } = this.#job;
    const marks = runs([...frames]).map(([first, last]) => ({ frame: first, last, colour: "#54c98c", title: "Mattes are there" }));
    if (changed) marks.push({ frame: changed[0], last: changed[1], colour: "#e0a33e", title: "May have changed" });
    if (this.#correction) marks.push({ frame: this.#correction.frame, colour: "#ffffff" });
    return marks;
  }

  isHidden(name) {
    return this.#hidden.has(name);
  }

  /** Get the mattes of the present frame; while a correction runs, those before it. */
  load() {
    return this.#load(this.#job.frames.has(this.#scrubber.frame) ? this.#job.mattes : this.#job.before);
  }

  /** Show the mattes before the correction, or those of now. */
  compare(before) {
    if (this.#job.before) this.#load(before ? this.#job.before : this.#job.mattes);
  }

  /** Forget what is shown: another job comes, or none. */
  clear() {
    this.#matte = this.#correction = null;
  }

  pick(name) {
    if (this.#correction) return;
    this.#picked = name;
    this.onChange();
  }

  pickAt(x, y) {
    const found = this.#matte?.at(x, y);
    if (found) this.pick(found.name);
  }

  pickBy(step) {
    const names = this.objects.map((o) => o.name);
    if (names.length) this.pick(names[(names.indexOf(this.#picked) + step + names.length) % names.length]);
  }

  toggle(name = this.#picked) {
    if (!name) return;
    if (!this.#hidden.delete(name)) this.#hidden.add(name);
    this.onChange();
  }

  // ------------------------------------------------------------------------------ correcting

  /** {frame, name, prompt} of the correction that is being made, or null. */
  get correction() {
    return this.#correction;
  }

  get canCorrect() {
    return this.#picked !== null && this.#job.job?.state === "done" && this.#job.frames.has(this.#scrubber.frame);
  }

  beginCorrection() {
    if (!this.canCorrect || this.#correction) return;
    this.#correction = { frame: this.#scrubber.frame, name: this.#picked, prompt: emptyPrompt() };
    this.onChange();
  }

  endCorrection() {
    this.#correction = null;
    this.onChange();
  }

  /** Change the correction's prompt. */
  prompt(change) {
    change(this.#correction.prompt);
    this.onChange();
  }

  /** Take the last click of the correction back, the box when there is none. */
  undo() {
    this.prompt((prompt) => {
      prompt.points.pop();
      if (isEmpty(prompt)) prompt.box = null;
    });
  }

  // --------------------------------------------------------------------------------- drawing

  /** Mattes in the objects' colours, and the mask of a correction in white. */
  draw(context, { look, colours, masks, again }) {
    const corrected = this.#correction && masks.find(this.#correction.frame, this.#correction.prompt);
    if (this.#matte) {
      const hidden = new Set(this.#hidden);
      if (corrected) hidden.add(this.#correction.name);
      context.drawImage(this.#matte.canvas({ hidden, colours, ...look }), ...this.#matte.rect);
    }
    if (corrected) drawMask(context, corrected, "#ffffff", look, again);
  }

  async #load(mattes) {
    const frame = this.#scrubber.frame;
    let found = null;
    try {
      found = (await mattes?.load(frame)) ?? null;
    } catch (error) {
      if (error.kind !== "NotFoundError") notify(error.message, "error");
    }
    if (frame === this.#scrubber.frame) {
      this.#matte = found;
      if (found) this.onMatte(found);
    }
    this.onChange();
  }
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
