// Calls of the application, as promises. Failures are CallErrors with the server's own sentence.

export class CallError extends Error {
  constructor(status, { kind = "InternalError", message, retryable = false } = {}) {
    super(message || `The call failed (${status}).`);
    this.status = status;
    this.kind = kind;
    this.retryable = retryable;
  }
}

let key = "";

/** Who is signed in and what the server offers; has to be called before anything is changed. */
export async function me() {
  const answer = await get("/api/me");
  key = answer.key;
  return answer;
}

/** GET with values in the query; objects go as JSON, null and undefined are left out. */
export async function get(path, query = {}, { signal } = {}) {
  return (await send("GET", address(path, query), { signal })).json();
}

/** GET of something that is no JSON: the Response itself. */
export async function getRaw(path, query = {}, { signal } = {}) {
  return send("GET", address(path, query), { signal });
}

export async function post(path, data = {}, { signal } = {}) {
  return (await postRaw(path, data, { signal })).json();
}

/** POST whose answer is no JSON: the Response itself. */
export async function postRaw(path, data = {}, { signal } = {}) {
  const body = JSON.stringify(data);
  return send("POST", path, { body, signal, headers: { "Content-Type": "application/json" } });
}

export async function remove(path) {
  // It is also sent when the page is being left.
  return (await send("DELETE", path, { keepalive: true })).json();
}

/** Send dropped File objects as one plate: {plate, name, first, last, count}. */
export async function upload(files, report = () => {}) {
  const id = newId();
  let done = 0;
  for (const file of files) {
    report(done, files.length);
    await (await send("PUT", `/api/uploads/${id}/${encodeURIComponent(file.name)}`, { body: file })).json();
    done += 1;
  }
  report(done, files.length);
  return post("/api/uploads", { upload: id });
}

/**
 * Follow a job until it ends. `update` hears {job, events}; `away` hears a sentence while the
 * server does not answer; `end` hears that it is over. Returns a function that stops following.
 */
export function follow(job, { update, away = () => {}, end = () => {}, after = 0 }) {
  const source = new EventSource(address(`/api/jobs/${encodeURIComponent(job)}/events`, { after }));
  source.onmessage = (event) => update(JSON.parse(event.data));
  source.addEventListener("away", (event) => away(JSON.parse(event.data).message));
  source.addEventListener("end", () => {
    source.close();
    end();
  });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) away("The connection is lost. Load the page again.");
  };
  return () => source.close();
}

/** Address of a result file, for <img>, <video> and downloads. */
export function fileAddress(job, name) {
  const parts = name.split("/").map(encodeURIComponent).join("/");
  return `/api/jobs/${encodeURIComponent(job)}/files/${parts}`;
}

/** Let the browser save a Blob. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** An id nobody else has; crypto.randomUUID is missing on plain addresses. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

function address(path, query) {
  const values = Object.entries(query).filter(([, v]) => v !== null && v !== undefined);
  if (!values.length) return path;
  const text = (v) => (typeof v === "object" ? JSON.stringify(v) : String(v));
  return `${path}?${new URLSearchParams(values.map(([name, v]) => [name, text(v)]))}`;
}

async function send(method, path, { body, signal, keepalive, headers = {} } = {}) {
  let response;
  try {
    const changing = method === "GET" ? {} : { "X-Segmatte-Key": key };
    response = await fetch(path, { method, body, signal, keepalive, headers: { ...headers, ...changing } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError(0, {
      kind: "BusyError",
      message: "The pages' own server does not answer. Is `segmatte web` still running?",
      retryable: true,
    });
  }
  if (response.ok) return response;
  const error = new CallError(response.status, await response.json().catch(() => ({})));
  if (response.status === 401 && location.pathname !== "/sign-in") location.assign("/sign-in");
  throw error;
}
