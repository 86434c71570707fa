// Masks of prompts, answered by sessions on the server's side.

import * as api from "../api.js";
import { notify } from "../dom.js";
import { isEmpty } from "./click_objects.js";

const MOST_SESSIONS = 2;
const PATIENCE_MILLISECONDS = 150;

/** The masks of one shot's prompts, each asked for once. */
export class Masks {
  #sessions;
  #found = new Map(); // prompt's key → {data, rect}, or a promise of it
  /** Hears a sentence while a mask is waited for, then null. */
  onWait = () => {};
  /** Hears that a mask is there, or that it failed. */
  onMask = () => {};

  constructor(shot) {
    this.#sessions = new Sessions(shot);
  }

  /** Get the mask of a prompt; the promise of it, or of null when it failed, which is shown. */
  async ask(frame, prompt) {
    if (isEmpty(prompt)) return null;
    const key = keyOf(frame, prompt);
    if (!this.#found.has(key)) this.#found.set(key, this.#answer(key, frame, structuredClone(prompt)));
    return this.#found.get(key);
  }

  /** The mask of a prompt if it is there: {data, rect}. */
  find(frame, prompt) {
    const found = isEmpty(prompt) ? null : this.#found.get(keyOf(frame, prompt));
    return found && !(found instanceof Promise) ? found : null;
  }

  close() {
    this.#sessions.close();
  }

  async #answer(key, frame, prompt) {
    const wait = () => this.onWait(this.#sessions.has(frame) ? "Asking for the mask …" : "Preparing the frame …");
    const busy = setTimeout(wait, PATIENCE_MILLISECONDS);
    let mask = null;
    try {
      mask = await this.#sessions.mask(frame, prompt);
      this.#found.set(key, mask);
    } catch (error) {
      this.#found.delete(key);
      notify(error.message, "error");
    }
    clearTimeout(busy);
    this.onWait(null);
    this.onMask();
    return mask;
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

const keyOf = (frame, { points, box }) => JSON.stringify([Number(frame), points, box]);
