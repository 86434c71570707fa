// The mattes of a job's frames, decoded and coloured for drawing.

import * as api from "./api.js";
import { el } from "./dom.js";
import { paint } from "./frame_view.js";

const KEPT = 48;

export class Mattes {
  #kept = new Map();

  constructor(job) {
    this.job = job;
  }

  /** A frame's Matte; fails with a CallError (404) while it is not there. */
  async load(frame) {
    const kept = this.#kept.get(frame);
    if (kept) return kept;
    const response = await api.getRaw(`/api/jobs/${encodeURIComponent(this.job)}/mattes/${frame}`);
    const matte = new Matte(await response.arrayBuffer());
    this.#kept.set(frame, matte);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
    return matte;
  }
}

/** All mattes of one frame: which object covers a pixel most, and how much of it. */
export class Matte {
  #head;
  #label;
  #level;
  #drawn = { key: "", canvas: null };

  constructor(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    this.#head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const size = this.#head.width * this.#head.height;
    // A copy, because numbers of two bytes must begin at an even byte.
    this.#label = new Uint16Array(buffer.slice(4 + length, 4 + length + 2 * size));
    this.#level = new Uint8Array(buffer, 4 + length + 2 * size, size);
  }

  /** [{id, name, colour}] present on this frame. */
  get objects() {
    return this.#head.objects;
  }

  /** Where the canvas lies on the plate: [x, y, width, height]. */
  get rect() {
    return [0, 0, ...this.#head.plate];
  }

  /** What FrameView.show takes beside a picture. */
  get frame() {
    return { plate: this.#head.plate, pixel_aspect: this.#head.pixel_aspect, rect: this.rect };
  }

  /** The object at a plate pixel, or null. */
  at(x, y) {
    const [w, h] = this.#head.plate;
    const column = Math.floor((x * this.#head.width) / w);
    const row = Math.floor((y * this.#head.height) / h);
    if (column < 0 || row < 0 || column >= this.#head.width || row >= this.#head.height) return null;
    return this.objects[this.#label[row * this.#head.width + column] - 1] ?? null;
  }

  /** A canvas of the objects in their colours; `hidden` is a Set of names. */
  canvas({ hidden = new Set(), fill = 0.42, outline = true, colours = {} } = {}) {
    const key = JSON.stringify([[...hidden], fill, outline, colours]);
    if (this.#drawn.key === key) return this.#drawn.canvas;
    const { width, height } = this.#head;
    const canvas = el("canvas", { width, height });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    const shown = [0, ...this.objects.map((o, i) => (hidden.has(o.name) ? 0 : i + 1))];
    const colourOf = (label) => colours[this.objects[label - 1].name] ?? this.objects[label - 1].colour;
    paint(pixels, (i) => shown[this.#label[i]], this.#level, colourOf, { fill, outline, width });
    context.putImageData(pixels, 0, 0);
    this.#drawn = { key, canvas };
    return canvas;
  }
}
