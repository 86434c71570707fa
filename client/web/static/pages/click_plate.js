// The plate in the view: its frames' pictures, why one is missing, and the place under the pointer.

import { el, fill } from "../dom.js";
import { FrameSource, FrameView } from "../frame_view.js";

export class PlateView {
  /** The element it lives in. */
  element = el("div.viewer");
  #view = new FrameView(el("div"));
  #note = el("div.view-note.mono");
  #scrubber;
  #source = null;
  #unseen = ""; // why the plate's picture is not there
  #pointer = null;
  /** Hears that the picture of the wanted frame cannot be shown. */
  onMissing = () => {};

  constructor(scrubber) {
    this.#scrubber = scrubber;
    this.element.append(this.#view.host, this.#note);
    this.#view.cursor = "crosshair";
    this.#view.onView = () => {
      this.#source?.sharpen(this.#view.isCoarse);
      this.tellPlace();
    };
  }

  /** The FrameView. */
  get view() {
    return this.#view;
  }

  /** Show the plate of a shot from now on. */
  open({ plate, options }) {
    const view = this.#view;
    this.#source?.stop();
    this.#source = new FrameSource(plate, options);
    this.#source.onPicture = ({ bitmap, frame }) => {
      this.#unseen = "";
      view.say(null);
      view.show(bitmap, frame);
      this.tellPlace();
    };
    this.#source.onError = (number, error) => {
      this.#unseen = error.message;
      view.clear();
      view.say(error.message, { title: `Frame ${number} cannot be shown` });
      this.onMissing();
    };
    view.clear();
    view.say("Loading the frame …");
  }

  want(frame) {
    this.#source.want(frame);
  }

  /** Mattes have come: where the plate cannot be seen (it was sent from a browser, or is gone), they lie on black. */
  standIn(matte) {
    if (!this.#unseen) return;
    this.#view.show(el("canvas", { width: 1, height: 1 }), matte.frame);
    this.say(`Without the plate: ${this.#unseen}`);
  }

  /** Say what is being waited for; null takes it away. */
  say(text) {
    this.#view.say(text, { kind: "busy" });
  }

  sayEmpty() {
    this.#view.say("Choose a plate, or drop its pictures here, then click on what you want to have.", { title: "No plate yet" });
  }

  /** Take where the pointer is. */
  pointed({ type, x, y }) {
    this.#pointer = type === "leave" ? null : [x, y];
    this.tellPlace();
  }

  tellPlace() {
    if (!this.#source) return fill(this.#note);
    const at = this.#pointer ? `  x ${Math.floor(this.#pointer[0])}  y ${Math.floor(this.#pointer[1])}` : "";
    return fill(this.#note, `${this.#scrubber.frame}  ${Math.round(this.#view.scale * devicePixelRatio * 100)} %${at}`);
  }
}
