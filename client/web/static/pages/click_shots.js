// Shots of this browser, kept over a reload, and the shot of a job that came from elsewhere.
//
// A shot is {plate, name, first, last, options}.

import * as api from "../api.js";

const DRAFT = "segmatte-click";
const SHOTS = "segmatte-click-jobs"; // [{job, shot, objects}] of the last jobs
const MOST_SHOTS = 30;

/** What is being worked on: {shot, objects} or null. */
export const readDraft = () => read(DRAFT);

export function keepDraft(shot, objects) {
  write(DRAFT, { shot, objects });
}

/** Keep what a job was made of. */
export function keepShot(job, shot, objects) {
  const others = (read(SHOTS) ?? []).filter((s) => s.job !== job.id);
  write(SHOTS, [{ job: job.id, shot, objects }, ...others].slice(0, MOST_SHOTS));
}

/** What a job was made of: {shot, objects}. */
export async function shotOf(job) {
  const kept = (read(SHOTS) ?? []).find((s) => s.job === job.id || s.job === job.source_job);
  return { shot: kept?.shot ?? (await foundShot(job)), objects: kept?.objects ?? [] };
}

/** The shot of a job that was not submitted from this page. */
async function foundShot(job) {
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
