// An independent client of segmatte.v1, from the plain proto file: upload, submit, watch, download.
// usage: node client.js PROTO ADDRESS TOKEN OUT FRAME=FILE...
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const path = require("path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [proto, address, token, out, ...frames] = process.argv.slice(2);
const definition = loader.loadSync(proto, {
  keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true,
});
const { Segmatte } = grpc.loadPackageDefinition(definition).segmatte.v1;
const client = new Segmatte(address, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${token}`);

const call = (name, request) => new Promise((resolve, reject) =>
  client[name](request, metadata, (error, answer) => (error ? reject(error) : resolve(answer))));

const CHUNK = 1 << 20;

function upload(contents) {
  return new Promise((resolve, reject) => {
    const stream = client.UploadFrames(metadata, (e, answer) => (e ? reject(e) : resolve(answer)));
    for (const { sha256, data, offset } of contents) {
      stream.write({ begin: { sha256, size_bytes: data.length, offset } });
      for (let at = offset; at < data.length; at += CHUNK) {
        stream.write({ data: data.subarray(at, at + CHUNK) });
      }
    }
    stream.end();
  });
}

function watch(job_id) {
  return new Promise((resolve, reject) => {
    const events = [];
    let job;
    const stream = client.WatchJob({ job_id }, metadata);
    stream.on("data", (update) => {
      job = update.job;
      events.push(...update.events.map((event) => event.number));
    });
    stream.on("error", reject);
    stream.on("end", () => resolve({ job, events }));
  });
}

function download(job_id, file) {
  return new Promise((resolve, reject) => {
    const parts = [];
    const stream = client.DownloadResult({ job_id, name: file.name }, metadata);
    stream.on("data", (chunk) => chunk.part === "data" && parts.push(chunk.data));
    stream.on("error", reject);
    stream.on("end", () => resolve(Buffer.concat(parts)));
  });
}

async function main() {
  const info = await call("GetServerInfo", { client_name: "node" });
  const pictures = frames.map((text) => {
    const [frame, file] = text.split("=");
    const data = fs.readFileSync(file);
    const sha256 = crypto.createHash("sha256").update(data).digest();
    return { frame: Number(frame), data, sha256, size_bytes: data.length, suffix: "png" };
  });
  const { missing } = await call("FindMissing", {
    contents: pictures.map(({ sha256, size_bytes }) => ({ sha256, size_bytes })),
  });
  const offsets = new Map(missing.map((m) => [m.sha256.toString("hex"), m.received_bytes]));
  const wanted = pictures.filter((p) => offsets.has(p.sha256.toString("hex")))
    .map((p) => ({ ...p, offset: offsets.get(p.sha256.toString("hex")) }));
  const uploaded = wanted.length ? await upload(wanted) : { stored: 0 };
  const submitted = await call("SubmitShot", {
    request_id: crypto.randomUUID(),
    plate: { upload: { name: "node.####.png", kind: "PLATE",
      frames: pictures.map(({ frame, sha256, suffix }) => ({ frame, sha256, suffix })) } },
    prompts: { text: "person, car" },
  });
  const { job, events } = await watch(submitted.id);
  const { files, complete } = await call("ListResults", { job_id: job.id });
  for (const file of files) {
    const data = await download(job.id, file);
    const sha256 = crypto.createHash("sha256").update(data).digest();
    if (!sha256.equals(file.sha256)) throw new Error(`${file.name} arrived damaged`);
    const target = path.join(out, file.name);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, data);
  }
  let refused = "";
  try {
    await call("GetJob", { job_id: "nothere" });
  } catch (error) {
    refused = `${error.code} ${error.metadata.get("segmatte-error")}`;
  }
  console.log(JSON.stringify({
    user: info.user, state: job.state, uploaded: uploaded.stored, events, complete,
    files: files.map((file) => file.name), refused,
  }));
  client.close();
}

main().catch((error) => { console.error(error); process.exit(1); });
