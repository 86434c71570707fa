// The line of frames under a view: number, slider with marks, play.

import { el } from "./dom.js";

export class Scrubber {
  #first = 1;
  #last = 1;
  #value = 1;
  #timer = 0;
  #input = el("input", { type: "range", "aria-label": "Frame", title: "Frame (arrow keys, Shift: 10)" });
  #number = el("input.number", { type: "number", "aria-label": "Frame number", title: "Frame number" });
  #marks = el("div.marks");
  #play = el("button", { title: "Play and stop (P)" }, "▶");
  #ends = [el("span.dim"), el("span.dim")];
  /** Hears the frame, at every step. */
  onFrame = () => {};

  constructor(host) {
    host.classList.add("scrubber");
    this.#input.oninput = () => this.go(Number(this.#input.value));
    this.#number.onchange = () => this.go(Number(this.#number.value));
    this.#play.onclick = () => this.play();
    host.append(this.#play, this.#ends[0], el("div.track", {}, this.#input, this.#marks), this.#ends[1], this.#number);
    this.range(1, 1);
  }

  get frame() {
    return this.#value;
  }

  get first() {
    return this.#first;
  }

  get last() {
    return this.#last;
  }

  range(first, last) {
    [this.#first, this.#last] = [first, last];
    this.#ends[0].textContent = String(first);
    this.#ends[1].textContent = String(last);
    for (const input of [this.#input, this.#number]) Object.assign(input, { min: first, max: last });
    this.#show(Math.min(last, Math.max(first, this.#value)));
  }

  go(frame) {
    const next = Math.min(this.#last, Math.max(this.#first, Math.round(frame) || this.#first));
    if (next === this.#value) return this.#show(next);
    this.#show(next);
    this.onFrame(next);
  }

  step(by) {
    this.go(this.#value + by);
  }

  play() {
    if (this.#timer) {
      clearInterval(this.#timer);
      this.#timer = 0;
    } else {
      const next = () => this.go(this.#value >= this.#last ? this.#first : this.#value + 1);
      this.#timer = setInterval(next, 1000 / 12);
    }
    this.#play.textContent = this.#timer ? "❚❚" : "▶";
  }

  /** Marks on the line: [{frame, last?, colour, title}]. */
  mark(marks) {
    const span = Math.max(1, this.#last - this.#first);
    this.#marks.replaceChildren(
      ...marks.map(({ frame, last = frame, colour, title = "" }) =>
        el("i", {
          title,
          style: {
            left: `${(100 * (frame - this.#first)) / span}%`,
            width: last === frame ? "" : `${(100 * (last - frame)) / span}%`,
            background: colour,
          },
        }),
      ),
    );
  }

  /** Make the usual keys known. */
  keys(keys) {
    const add = (key, does, run) => keys.add({ key, does, run, group: "Frames" });
    add("ArrowLeft", "One frame back", () => this.step(-1));
    add("ArrowRight", "One frame forward", () => this.step(1));
    add("Shift+ArrowLeft", "Ten frames back", () => this.step(-10));
    add("Shift+ArrowRight", "Ten frames forward", () => this.step(10));
    add("Home", "First frame", () => this.go(this.#first));
    add("End", "Last frame", () => this.go(this.#last));
    add("p", "Play and stop", () => this.play());
  }

  #show(frame) {
    this.#value = frame;
    this.#input.value = String(frame);
    this.#number.value = String(frame);
  }
}
