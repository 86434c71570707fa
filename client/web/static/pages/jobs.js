// One's own jobs: how far they are, what came out, and what can be done with them.

import * as api from "../api.js";
import { attempt, counted, dialog, duration, el, fill, slider } from "../dom.js";
import { FrameView } from "../frame_view.js";
import { Scrubber } from "../scrubber.js";

export const title = "Jobs";

const BUSY_MILLISECONDS = 2000;
const QUIET_MILLISECONDS = 8000;
const ACTIVE = ["queued", "running"];
const CHOICES = [["", "All"], ["queued,running", "Active"], ["done", "Done"], ["failed,cancelled", "Stopped"]];
const TABS = [["overlay", "Overlay"], ["sheet", "Contact sheet"], ["files", "Files"], ["log", "Log"]];

export async function mount(main, { me, keys }) {
  document.head.append(el("link", { rel: "stylesheet", href: "/static/jobs.css" }));
  const jobs = new Jobs(main, me, keys);
  await jobs.load();
}

class Jobs {
  #me;
  #jobs = [];
  #rows = new Map(); // id → Row
  #list = el("div.job-list", { role: "listbox", "aria-label": "Jobs" });
  #one;
  #states = "";
  #everybody = false;
  #search = el("input", { type: "search", placeholder: "Plate or prompt", "aria-label": "Search", title: "Part of the plate's name or the prompt (/)" });
  #timer = 0;
  #loading = null;

  constructor(main, me, keys) {
    this.#me = me;
    const states = el("select", { "aria-label": "Which jobs", onchange: () => { this.#states = states.value; this.load(); } }, CHOICES.map(([value, shown]) => el("option", { value }, shown)));
    const everybody = el("label.row", { title: "Jobs of all users, for an administrator" }, el("input", { type: "checkbox", onchange: (event) => { this.#everybody = event.target.checked; this.load(); } }), "all users");
    this.#search.oninput = () => this.#soon(300);
    const one = el("section.one");
    main.append(el("div.jobs", {}, el("aside", {}, el("header", {}, this.#search, states, me.is_admin ? everybody : null), this.#list), one));
    this.#one = new OneJob(one, keys, { changed: (job) => this.#take(job), gone: (id) => this.#gone(id) });
    addEventListener("popstate", () => this.#select(chosenId()));
    document.addEventListener("visibilitychange", () => this.#soon(0));
    const add = (key, does, run) => keys.add({ key, does, run, group: "Jobs" });
    add("j ArrowDown", "Next job", () => this.#step(1));
    add("k ArrowUp", "Job before", () => this.#step(-1));
    add("/", "Search", () => this.#search.select());
    this.#search.onkeydown = (event) => event.key === "Escape" && this.#search.blur();
  }

  /** Ask for the list, and again after a while. */
  async load() {
    this.#loading?.abort();
    const going = (this.#loading = new AbortController());
    const query = { states: this.#states, text: this.#search.value.trim(), everybody: this.#everybody ? "1" : null };
    try {
      const { jobs } = await api.get("/api/jobs", query, { signal: going.signal });
      this.#show(jobs);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#failed(error);
    }
    this.#soon(this.#jobs.some((job) => ACTIVE.includes(job.state)) ? BUSY_MILLISECONDS : QUIET_MILLISECONDS);
  }

  #soon(milliseconds) {
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.load(), milliseconds);
  }

  #failed(error) {
    if (this.#rows.size) return this.#list.setAttribute("title", error.message);
    fill(this.#list, el("div.state", {}, el("h2", {}, "The jobs cannot be listed"), el("p", {}, error.message), el("button", { onclick: () => this.load() }, "Try again")));
  }

  #show(jobs) {
    this.#jobs = jobs;
    this.#list.removeAttribute("title");
    const rows = jobs.map((job) => {
      const row = this.#rows.get(job.id) ?? new Row(() => this.#select(job.id), this.#me.user);
      row.show(job);
      return [job.id, row];
    });
    this.#rows = new Map(rows);
    const elements = rows.map(([, row]) => row.element);
    // Moving elements would take the focus away, so the list is only touched when it differs.
    if (elements.length !== this.#list.children.length || elements.some((e, i) => e !== this.#list.children[i])) fill(this.#list, elements);
    if (!jobs.length) fill(this.#list, this.#nothing());
    const wanted = chosenId();
    if (!this.#one.id) this.#select(wanted || jobs[0]?.id || "", { quiet: true });
    this.#mark();
  }

  #nothing() {
    if (this.#states || this.#search.value) return el("div.state", {}, el("h2", {}, "No such job"), el("p", {}, "No job fits the search. Clear it to see all of them."));
    return el("div.state", {}, el("h2", {}, "No jobs yet"), el("p", {}, "Try a prompt on a plate and submit it from there, or send one with “segmatte submit”."), el("a", { href: "/bench" }, "To the prompt bench"));
  }

  #take(job) {
    this.#jobs = this.#jobs.map((known) => (known.id === job.id ? job : known));
    this.#rows.get(job.id)?.show(job);
    if (!this.#rows.has(job.id) || ACTIVE.includes(job.state)) return;
    this.#soon(QUIET_MILLISECONDS);
  }

  #gone(id) {
    const at = this.#jobs.findIndex((job) => job.id === id);
    const next = this.#jobs[at + 1] ?? this.#jobs[at - 1];
    this.#select(next?.id ?? "");
    this.load();
  }

  #step(by) {
    const at = this.#jobs.findIndex((job) => job.id === this.#one.id);
    const next = this.#jobs[Math.min(this.#jobs.length - 1, Math.max(0, at + by))];
    if (next) this.#select(next.id);
    this.#rows.get(this.#one.id)?.element.scrollIntoView({ block: "nearest" });
  }

  #select(id, { quiet = false } = {}) {
    if (id !== chosenId() && !quiet) history.pushState(null, "", id ? `/jobs?job=${encodeURIComponent(id)}` : "/jobs");
    this.#one.open(id, this.#jobs.find((job) => job.id === id));
    this.#mark();
  }

  #mark() {
    for (const [id, row] of this.#rows) row.element.setAttribute("aria-current", String(id === this.#one.id));
  }
}

function chosenId() {
  return new URLSearchParams(location.search).get("job") ?? "";
}

/** A job in the list. */
class Row {
  #parts = {
    dot: el("i.dot"), plate: el("b.ellipsis"), state: el("small.dim"), prompt: el("small.dim.ellipsis"),
    bar: el("progress", { max: 1, value: 0 }), line: el("small.dim.mono"),
  };

  #user;

  constructor(choose, user) {
    this.#user = user;
    this.element = el("button.job", { role: "option", onclick: choose }, Object.values(this.#parts));
  }

  show(job) {
    const parts = this.#parts;
    this.element.dataset.job = job.id;
    this.element.dataset.state = job.state;
    this.element.title = `${job.plate}\n${job.id}`;
    parts.dot.className = `dot ${job.state}`;
    parts.plate.textContent = shortName(job.plate);
    parts.state.textContent = saidState(job);
    const asked = [job.prompt, ...job.objects].filter(Boolean).join(", ") || job.kind;
    parts.prompt.textContent = job.owner === this.#user ? asked : `${job.owner}: ${asked}`;
    parts.bar.hidden = !ACTIVE.includes(job.state);
    parts.bar.value = share(job);
    parts.line.textContent = ACTIVE.includes(job.state) ? pace(job) : `${counted(job.frames_done)} · ${when(job.created)}`;
  }
}

/** The job on the right: what it is doing, and its results. */
class OneJob {
  id = "";
  #host;
  #hears;
  #job = null;
  #stop = () => {};
  #events = [];
  #results = null;
  #tab = "overlay";
  #player = null;
  #parts = {};

  constructor(host, keys, hears) {
    this.#host = host;
    this.#hears = hears;
    const add = (key, does, run) => keys.add({ key, does, run, group: "The chosen job" });
    add("x", "Cancel", () => this.#act("cancel"));
    add("u", "Go on where it stopped", () => this.#act("resume"));
    add("r", "Retry from the start", () => this.#act("retry"));
    add("d", "Download all as ZIP", () => this.#parts.zip?.click());
    add("Delete", "Forget the job and its files", () => this.#forget());
    TABS.forEach(([name, shown], index) => add(String(index + 1), shown, () => this.#open(name)));
    for (const [key, does, by] of [["ArrowLeft", "One frame back", -1], ["ArrowRight", "One frame forward", 1], ["Shift+ArrowLeft", "Ten frames back", -10], ["Shift+ArrowRight", "Ten frames forward", 10]]) {
      keys.add({ key, does, group: "Overlay", run: () => this.#player?.scrubber.step(by) });
    }
    keys.add({ key: "p Space", does: "Play and stop", group: "Overlay", run: () => this.#player?.scrubber.play() });
    const nudge = (part, by) => this.#parts[part]?.set(Number((this.#parts[part].value + by).toFixed(2)));
    keys.add({ key: "e", does: "Brighter", group: "Overlay", run: () => nudge("exposure", 0.5) });
    keys.add({ key: "Shift+E", does: "Darker", group: "Overlay", run: () => nudge("exposure", -0.5) });
    keys.add({ key: "g", does: "More gamma", group: "Overlay", run: () => nudge("gamma", 0.1) });
    keys.add({ key: "Shift+G", does: "Less gamma", group: "Overlay", run: () => nudge("gamma", -0.1) });
  }

  /** Show a job; `known` is what the list has of it. */
  open(id, known = null) {
    if (id === this.id && this.#job) return;
    this.#stop();
    this.#player?.close();
    Object.assign(this, { id });
    this.#job = this.#results = this.#player = null;
    this.#events = [];
    if (!id) {
      fill(this.#host, el("div.state", {}, el("p", {}, "Choose a job on the left to see how it goes and what came out.")));
      return;
    }
    this.#build();
    if (known) this.#show(known);
    this.#open(this.#tab);
    this.#follow(0);
  }

  #follow(after) {
    const id = this.id;
    this.#stop();
    this.#stop = api.follow(id, {
      after,
      update: ({ job, events }) => {
        if (id !== this.id) return;
        this.#events.push(...events);
        this.#show(job);
        if (this.#tab === "log") this.#log();
      },
      away: (reason) => id === this.id && this.#say(reason, "problem"),
    });
    // Who is refused a stream (a job of somebody else, or gone) hears why.
    api.get(`/api/jobs/${encodeURIComponent(id)}`).then((job) => id === this.id && !this.#job && this.#show(job), (error) => id === this.id && this.#lost(error));
  }

  #lost(error) {
    this.#stop();
    fill(this.#host, el("div.state", {}, el("h2", {}, "This job cannot be shown"), el("p", {}, error.message)));
  }

  #build() {
    const parts = this.#parts;
    const button = (name, text, tip, run, form = "button") => (parts[name] = el(form, { title: tip, onclick: run }, text));
    parts.name = el("h2.ellipsis");
    parts.asked = el("p.dim.ellipsis");
    parts.zip = el("a", { title: "All finished files as one ZIP archive (D)", download: "" }, "Download ZIP");
    parts.click = el("a", { title: "Scrub the mattes over the plate, and correct a frame where it went wrong" }, "Mattes and corrections");
    parts.stages = el("div.stages");
    parts.facts = el("dl");
    parts.says = el("p.says", { hidden: true });
    parts.exposure = slider({ label: "Exposure", tip: "Brightens the picture on your screen alone (E and Shift+E).", min: -6, max: 6, step: 0.25, value: 0, show: (v) => `${v > 0 ? "+" : ""}${v}`, change: () => this.#grade() });
    parts.gamma = slider({ label: "Gamma", tip: "Opens or closes the mid tones on your screen alone (G and Shift+G).", min: 0.4, max: 3, step: 0.05, value: 1, change: () => this.#grade() });
    parts.grade = el("div.row", {}, parts.exposure.element, parts.gamma.element);
    parts.sheet = el("div.sheet");
    parts.tabs = TABS.map(([name, text], index) => el("button", { role: "tab", "data-tab": name, title: `${text} (${index + 1})`, onclick: () => this.#open(name) }, text));
    fill(
      this.#host,
      el(
        "header",
        {},
        parts.name,
        parts.asked,
        el(
          "div.actions",
          {},
          button("cancel", "Cancel", "Stop within a frame; finished frames are kept (X)", () => this.#act("cancel")),
          button("resume", "Go on", "Go on where it stopped (U)", () => this.#act("resume")),
          button("retry", "Retry", "Do it again from the start (R)", () => this.#act("retry")),
          parts.click,
          parts.zip,
          button("forget", "Delete", "Forget the job and its files on the server (Delete)", () => this.#forget(), "button.danger"),
        ),
      ),
      el("div.facts", {}, parts.stages, parts.facts, parts.says),
      el("nav", { role: "tablist" }, parts.tabs, el("span.spacer"), parts.grade),
      parts.sheet,
    );
  }

  // ---------------------------------------------------------------------------------- the state

  #show(job) {
    const before = this.#job;
    this.#job = job;
    this.#hears.changed(job);
    const parts = this.#parts;
    const active = ACTIVE.includes(job.state);
    const stopped = ["failed", "cancelled"].includes(job.state);
    parts.name.textContent = shortName(job.plate);
    parts.name.title = job.plate;
    parts.asked.textContent = [job.prompt, ...job.objects].filter(Boolean).join(", ") || "no prompt";
    parts.cancel.hidden = !active;
    parts.cancel.disabled = job.cancel_requested;
    parts.resume.hidden = parts.retry.hidden = !stopped;
    parts.forget.disabled = job.state === "running";
    const id = encodeURIComponent(job.id);
    parts.click.href = `/click?job=${id}`;
    parts.click.hidden = job.state !== "done";
    parts.zip.href = `/api/jobs/${id}/archive`;
    parts.zip.classList.toggle("off", !job.frames_done && job.state !== "done");
    this.#stages(job);
    const times = [
      ["State", saidState(job)],
      ["Frames", `${job.frames_done} of ${job.frames_total || "?"}`],
      ["Pace", job.state === "running" && job.frames_per_minute > 0 ? `${job.frames_per_minute.toFixed(1)} per minute` : "–"],
      ["Time left", job.state === "running" && job.seconds_left >= 0 ? duration(job.seconds_left) : "–"],
      ["Submitted", when(job.created) + (job.attempt > 1 ? `, attempt ${job.attempt}` : "")],
    ];
    fill(parts.facts, times.flatMap(([name, value]) => [el("dt", {}, name), el("dd", { "data-fact": name }, value)]));
    if (job.error) this.#say(job.error.message + (job.error.retryable ? " “Go on” continues where it stopped." : ""), "problem");
    else this.#say(job.note || (job.warnings ? `${counted(job.warnings, "warning")}, see Log.` : ""));
    parts.tabs[3].textContent = job.warnings ? `Log (${counted(job.warnings, "warning")})` : "Log";
    const grew = !before || before.frames_done !== job.frames_done || before.state !== job.state;
    if (grew && this.#tab !== "log") this.#open(this.#tab, { again: true, ended: before?.state !== job.state });
  }

  #stages(job) {
    const rows = job.stages.length ? job.stages : [{ name: "waiting", done: 0, total: 0, unit: "frame" }];
    fill(
      this.#parts.stages,
      rows.flatMap((stage) => [
        el(stage.name === job.stage && job.state === "running" ? "b" : "span.dim", {}, stage.name),
        el("progress", { max: stage.total || 1, value: stage.done, "aria-label": stage.name }),
        el("span.mono.dim", { "data-stage": stage.name }, stage.total ? `${stage.done}/${stage.total}` : "–"),
      ]),
    );
  }

  #say(text, kind = "") {
    this.#parts.says.hidden = !text;
    this.#parts.says.className = `says ${kind}`;
    this.#parts.says.textContent = text;
  }

  async #act(what) {
    const allowed = what === "cancel" ? ACTIVE : ["failed", "cancelled"];
    if (!this.#job || !allowed.includes(this.#job.state)) return;
    const job = await attempt(() => api.post(`/api/jobs/${encodeURIComponent(this.id)}/${what}`));
    if (!job || job.id !== this.id) return;
    this.#show(job);
    if (what !== "cancel") {
      // The log goes on; the stream ended with the attempt before.
      if (what === "retry") this.#results = null;
      this.#follow(this.#events.at(-1)?.number ?? 0);
    }
  }

  async #forget() {
    if (!this.#job || this.#job.state === "running") return;
    const id = this.id;
    const sure = await dialog("Delete this job?", (close) =>
      el(
        "div.picker",
        {},
        el("p", {}, `The job and what it finished (${counted(this.#job.frames_done)}) are removed from the server. This cannot be undone; what you downloaded stays.`),
        el("div.row", {}, el("span.spacer"), el("button", { onclick: () => close(false) }, "Keep it"), el("button.danger", { onclick: () => close(true) }, "Delete")),
      ),
    );
    if (!sure) return;
    if (await attempt(() => api.remove(`/api/jobs/${encodeURIComponent(id)}`))) {
      this.#stop();
      this.#hears.gone(id);
    }
  }

  // -------------------------------------------------------------------------------- the results

  /** Show a tab; `again` renews what can have grown. */
  async #open(name, { again = false, ended = false } = {}) {
    if (!this.id || !this.#parts.sheet) return;
    const id = this.id;
    this.#tab = name;
    for (const tab of this.#parts.tabs) tab.setAttribute("aria-selected", String(tab.dataset.tab === name));
    this.#parts.grade.hidden = name !== "overlay";
    if (!again) {
      this.#player?.close();
      this.#player = null;
    }
    if (name === "log") return this.#log();
    if (!again) this.#state("Loading …");
    // While it runs only Files lists what is there by now; pictures come with the end.
    const renew = again && !ended ? name === "files" : !this.#results?.complete || ended;
    if (renew) {
      try {
        this.#results = await api.get(`/api/jobs/${encodeURIComponent(id)}/results`);
      } catch (error) {
        if (id === this.id && name === this.#tab) this.#state(error.message, "The results cannot be listed");
        return;
      }
    }
    if (id !== this.id || name !== this.#tab || !this.#results) return;
    ({ overlay: () => this.#overlay(), sheet: () => this.#contactSheet(), files: () => this.#files() })[name]();
  }

  #state(text, heading = "") {
    fill(this.#parts.sheet, el("div.state", {}, heading ? el("h2", {}, heading) : null, el("p", {}, text)));
  }

  #has(name) {
    return this.#results?.files.some((file) => file.name === name);
  }

  #missing(what) {
    const { state, frames_done: done } = this.#job ?? {};
    if (state === "queued") return this.#state(`${what} is made at the end. The job waits for its turn.`, "Nothing to see yet");
    if (state === "running") return this.#state(`${what} is made at the end. ${done ? `The mattes of ${counted(done)} are finished; see Files.` : "No frame is finished yet."}`, "Still working");
    this.#state(`${what} is made when a job is done. ${done ? `The mattes of ${counted(done)} were finished; see Files.` : ""}`, "None was made");
  }

  #overlay() {
    if (!this.#has("overlay.webm")) return this.#missing("The overlay");
    if (this.#player) return;
    this.#player = new Player(api.fileAddress(this.id, "overlay.webm"), this.#results.frames);
    fill(this.#parts.sheet, this.#player.element);
    this.#grade();
  }

  #grade() {
    this.#player?.view.grade(this.#parts.exposure.value, this.#parts.gamma.value);
  }

  #contactSheet() {
    if (!this.#has("contact_sheet.png")) return this.#missing("The contact sheet");
    const image = el("img.contact", { src: api.fileAddress(this.id, "contact_sheet.png"), alt: "Contact sheet: frames with their objects tinted and named" });
    image.onerror = () => this.#state("The contact sheet cannot be loaded. Try again, or download it under Files.", "No picture");
    fill(this.#parts.sheet, image);
  }

  #files() {
    const { files } = this.#results;
    if (!files.length) return this.#missing("Every file but the mattes");
    const row = (file) => el("tr", {}, el("td", {}, el("a", { href: api.fileAddress(this.id, file.name), download: file.name.split("/").at(-1) }, file.name)), el("td.number.mono.dim", {}, bytes(file.size)));
    const singles = files.filter((file) => file.frame === null);
    const frames = files.filter((file) => file.frame !== null);
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const scrolled = this.#parts.sheet.scrollTop;
    fill(
      this.#parts.sheet,
      el(
        "table.list.files-list",
        {},
        el("tr", {}, el("th", {}, `${counted(files.length, "file")}${this.#results.complete ? "" : " so far"}`), el("th", {}, bytes(size))),
        singles.map(row),
        frames.map(row),
      ),
    );
    this.#parts.sheet.scrollTop = scrolled;
  }

  #log() {
    const told = this.#events.filter((event) => event.kind !== "frame");
    const sheet = this.#parts.sheet;
    const atEnd = sheet.scrollTop + sheet.clientHeight >= sheet.scrollHeight - 4;
    if (!told.length) return this.#state("Nothing was said yet.");
    fill(
      sheet,
      el(
        "table.list",
        {},
        told.map((event) => el("tr", { "data-kind": event.kind }, el("td.mono.dim", {}, new Date(event.time * 1000).toLocaleTimeString()), el("td.dim", {}, event.kind), el("td", {}, event.text))),
      ),
    );
    if (atEnd) sheet.scrollTop = sheet.scrollHeight;
  }
}

/** The overlay video, frame by frame: its pictures go through a FrameView, to zoom and grade. */
class Player {
  scrubber;
  view;
  #video;
  #frames;

  constructor(address, frames) {
    this.#frames = frames;
    const [screen, line] = [el("div"), el("div")];
    this.#video = el("video", { src: address, muted: true, preload: "auto" });
    this.element = el("div.player", {}, el("div.screen", {}, screen), line, this.#video);
    this.view = new FrameView(screen);
    this.view.say("Loading the overlay …");
    this.scrubber = new Scrubber(line);
    const video = this.#video;
    video.onloadeddata = () => this.#seek();
    video.onseeked = () => this.#draw();
    video.onerror = () => this.view.say("The overlay cannot be played here. Download it under Files.", { title: "No video" });
    this.scrubber.range(frames[0] ?? 1, frames.at(-1) ?? 1);
    this.scrubber.onFrame = () => this.#seek();
  }

  close() {
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  /** The middle of the picture that shows the frame (of a plate with gaps: the next there is). */
  #seek() {
    const position = this.#frames.findIndex((frame) => frame >= this.scrubber.frame);
    const video = this.#video;
    if (!(video.duration > 0) || !Number.isFinite(video.duration)) return;
    video.currentTime = ((Math.max(0, position) + 0.5) * video.duration) / this.#frames.length;
  }

  #draw() {
    const { videoWidth: width, videoHeight: height } = this.#video;
    Object.assign(this.#video, { width, height });
    this.view.say(null);
    this.view.show(this.#video, { plate: [width, height], pixel_aspect: 1, rect: [0, 0, width, height] });
  }
}

function shortName(plate) {
  return plate.split(/[\\/]/).at(-1) || plate;
}

function saidState(job) {
  if (job.cancel_requested && job.state === "running") return "stopping";
  if (job.state === "queued" && job.queue_position) return job.queue_position === 1 ? "next in the queue" : `${job.queue_position}th in the queue`;
  if (job.state === "running") return job.stage || "starting";
  return job.state;
}

/** How much of a job is done, 0..1, over all its stages known so far. */
function share(job) {
  if (job.frames_total) {
    const tracked = job.stages.filter((stage) => stage.name.startsWith("track"));
    return tracked.reduce((sum, stage) => sum + stage.done, 0) / (2 * job.frames_total);
  }
  return 0;
}

function pace(job) {
  const parts = [`${job.frames_done}/${job.frames_total || "?"} frames`];
  if (job.frames_per_minute > 0) parts.push(`${job.frames_per_minute.toFixed(1)}/min`);
  if (job.state === "running" && job.seconds_left >= 0) parts.push(`${duration(job.seconds_left)} left`);
  return parts.join(" · ");
}

function when(seconds) {
  if (!seconds) return "–";
  const time = new Date(seconds * 1000);
  const today = time.toDateString() === new Date().toDateString();
  return today ? time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : time.toLocaleString([], { dateStyle: "short", timeStyle: "short" });
}

function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB"];
  const step = Math.min(3, Math.floor(Math.log2(Math.max(1, size)) / 10));
  return `${(size / 1024 ** step).toFixed(step ? 1 : 0)} ${units[step]}`;
}
