// A job that is followed: how far it is, and the mattes it has so far.

import * as api from "../api.js";
import { attempt, counted, duration, el, fill, notify } from "../dom.js";
import { Mattes } from "../mattes.js";

export class FollowedJob {
  #job = null;
  #mattes = null;
  #before = null; // Mattes of the job that was corrected
  #frames = new Set();
  #changed = null;
  #unfollow = () => {};
  /** Where its progress is shown. */
  element = el("div.progress", { "aria-live": "polite" });
  /** Hears the frames whose mattes have come, at every news of the job. */
  onNews = () => {};
  /** Hears the job when it is over and all its mattes are known. */
  onEnd = () => {};
  /** Hears the job that goes on in its place. */
  onResumed = () => {};

  /** The job as it was heard of last, or null. */
  get job() {
    return this.#job;
  }

  /** Frames with mattes. */
  get frames() {
    return this.#frames;
  }

  /** [first, last] of what a correction may have changed, or null. */
  get changed() {
    return this.#changed;
  }

  /** Mattes of this job, and of the one that it corrects. */
  get mattes() {
    return this.#mattes;
  }

  get before() {
    return this.#before;
  }

  /** Follow a job; one that corrects the present job keeps its mattes for comparison. */
  follow(job, { corrects = false } = {}) {
    this.#before = corrects ? this.#mattes : null;
    this.#changed = null;
    this.#enter(job);
  }

  /** Follow the present job's next attempt. */
  goOn(job) {
    this.#enter(job);
  }

  leave() {
    this.#unfollow();
    this.#unfollow = () => {};
    this.#job = this.#mattes = this.#before = this.#changed = null;
    this.#frames = new Set();
    fill(this.element);
  }

  #enter(job) {
    this.#unfollow();
    this.#job = job;
    this.#mattes = new Mattes(job.id);
    this.#frames = new Set();
    this.#unfollow = api.follow(job.id, {
      update: (update) => this.#updated(update),
      away: (message) => this.#showProgress(message),
      end: () => this.#ended(),
    });
    this.#showProgress();
  }

  #updated({ job, events }) {
    this.#job = job;
    const frames = events.filter((event) => event.kind === "frame").map((event) => event.frame);
    for (const frame of frames) this.#frames.add(frame);
    if (job.state === "running") for (const event of events) if (event.kind === "warning") notify(event.text);
    this.#showProgress();
    this.onNews(frames);
  }

  async #ended() {
    const { id, note } = this.#job;
    const found = await attempt(() => api.get(`/api/jobs/${encodeURIComponent(id)}/results`));
    if (!found || this.#job?.id !== id) return;
    this.#frames = new Set(found.frames);
    this.#mattes = new Mattes(id); // what was read on the way may have been replaced
    const changed = /Frames (-?\d+)-(-?\d+) may have changed/.exec(note);
    if (changed) this.#changed = [Number(changed[1]), Number(changed[2])];
    this.#showProgress();
    this.onEnd(this.#job);
  }

  #showProgress(away = "") {
    const job = this.#job;
    const call = (name) => api.post(`/api/jobs/${encodeURIComponent(job.id)}/${name}`);
    const stage = job.stages.find((s) => s.name === job.stage);
    const stop = el("button", { title: "Stop it; finished frames are kept", onclick: () => attempt(() => call("cancel")) }, "Cancel");
    const again = el("button", { title: "Go on where it stopped", onclick: () => attempt(async () => this.onResumed(await call("resume"))) }, "Go on");
    const link = el("a", { href: `/jobs?job=${encodeURIComponent(job.id)}` }, "in Jobs");
    const rest = job.seconds_left > 0 ? `, ${duration(job.seconds_left)} left` : "";
    const states = {
      queued: () => [el("p", {}, job.queue_position ? `Waiting, place ${job.queue_position}` : "Waiting"), el("progress", { max: 1, value: 0 }), el("div.row", {}, stop, link)],
      running: () => [
        el("p", {}, stage ? `${job.stage}: ${stage.done}/${stage.total || "?"}${rest}` : "Starting …"),
        el("progress", { max: stage?.total || 1, value: stage?.done ?? 0 }),
        el("div.row", {}, stop, link),
      ],
      done: () => [el("p", {}, job.note || `Done: ${counted(job.frames_done)}.`), el("div.row", {}, link)],
      failed: () => [el("p.problem", {}, job.error?.message ?? "Failed."), el("div.row", {}, again, link)],
      cancelled: () => [el("p", {}, "Cancelled. Finished frames are kept."), el("div.row", {}, again, link)],
    };
    fill(this.element, away ? el("p.problem", {}, away) : null, (states[job.state] ?? states.queued)());
  }
}
