"use strict";

const byId = (id) => document.getElementById(id);
const history = { latency: [], p95: [], dropped: [] };
const LONGEST = 120;
const PHONE = 480;
const NOTICES = {
  opening: "The camera is being opened",
  lost: "The camera is lost, and tried again",
  refused: "The camera is refused, and not tried again",
  green: "The camera gives green pictures: it is given nothing itself",
  frozen: "The camera gives the same picture all the time",
  ended: "The recording has ended",
};
let before = null;
let isAway = false;

function look(name) {
  const live = byId("live");
  live.removeAttribute("src"); // or the picture of the camera before stays until there is one of this
  live.src = `live/${encodeURIComponent(name)}?side=${live.clientWidth <= PHONE ? 480 : 1280}`;
}

function choose(name) {
  look(name);
  for (const id of ["latency", "dropped"]) byId(id).textContent = "";
  for (const one of Object.values(history)) one.length = 0;
  before = null;
  editor.load(name);
}

function draw(canvas, series, unit) {
  const context = canvas.getContext("2d");
  const { clientWidth: width, clientHeight: height } = canvas;
  const most = Math.max(1, ...series.flatMap((one) => one.values));
  Object.assign(canvas, { width: width * devicePixelRatio, height: height * devicePixelRatio });
  context.scale(devicePixelRatio, devicePixelRatio);
  for (const { values, colour } of series) {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.beginPath();
    values.forEach((value, at) => context.lineTo((at * width) / (LONGEST - 1), height - 4 - (value / most) * (height - 24)));
    context.stroke();
  }
  context.font = "12px system-ui";
  context.fillStyle = getComputedStyle(canvas).color;
  context.fillText(`${Math.round(most)} ${unit}`, 4, 14);
}

function remember(values, value) {
  values.push(value);
  if (values.length > LONGEST) values.shift();
}

function row(name, value) {
  const line = document.createElement("tr");
  for (const text of [name, value]) line.appendChild(document.createElement("td")).textContent = text;
  return line;
}

function showCounts(counts) {
  const rows = [];
  for (const [line, found] of Object.entries(counts.lines))
    for (const one of found) rows.push(row(`${line}: ${one.direction}, ${one.class}`, one.count));
  for (const [zone, found] of Object.entries(counts.zones)) {
    rows.push(row(`${zone}: inside now`, found.inside));
    if (found.queue !== undefined) rows.push(row(`${zone}: queue`, found.queue));
    for (const [name, count] of Object.entries(found.entered)) rows.push(row(`${zone}: ${name} entered`, count));
  }
  if (!rows.length) rows.push(row("nothing yet", ""));
  byId("counts").tBodies[0].replaceChildren(...rows);
}

function showEvents(delivery) {
  const rows = Object.entries(delivery.receivers ?? {}).map(([name, one]) => {
    const waiting = one.waiting ? `${one.waiting} wait` : "has all";
    const line = row(name, one.problem ? `${waiting}: ${one.problem}` : waiting);
    line.classList.toggle("wrong", Boolean(one.problem));
    return line;
  });
  if (delivery.in_memory) rows.push(row("not on the disk yet", delivery.in_memory));
  const lost = Object.entries(delivery.lost ?? {}).filter(([, count]) => count);
  for (const [reason, count] of lost) rows.push(row(`lost: ${reason}`, count));
  if (!rows.length) rows.push(row("nobody gets them but this page and the standard output", ""));
  byId("events").tBodies[0].replaceChildren(...rows);
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
  byId("stage").classList.toggle("absent", Boolean(text));
}

function show(camera) {
  byId("status").textContent = camera.state ?? "";
  notice([NOTICES[camera.state], camera.problem].filter(Boolean).join(": "));
  if (camera.counts) showCounts(camera.counts);
  if (camera.latency_ms && camera.captured) {
    remember(history.latency, camera.latency_ms.p50);
    remember(history.p95, camera.latency_ms.p95);
    byId("latency").textContent = `${camera.latency_ms.p50.toFixed(0)} ms, p95 ${camera.latency_ms.p95.toFixed(0)} ms`;
  }
  if (camera.dropped !== undefined) {
    remember(history.dropped, before === null ? 0 : Math.max(camera.dropped - before, 0));
    before = camera.dropped;
    byId("dropped").textContent = `${camera.dropped} of ${camera.captured} frames`;
  }
  draw(byId("latency-graph"), [{ values: history.p95, colour: "#e90" }, { values: history.latency, colour: "#0a7" }], "ms");
  draw(byId("dropped-graph"), [{ values: history.dropped, colour: "#c22" }], "a second");
}

async function poll() {
  try {
    const state = await (await fetch("state.json")).json();
    const list = byId("camera");
    if (isAway && !editor.changed) location.reload(); // another process may answer now
    if (isAway) look(list.value);
    isAway = false;
    if (!list.options.length) {
      for (const camera of state.cameras) list.add(new Option(camera.name));
      choose(list.value);
    }
    show(state.cameras.find((camera) => camera.name === list.value));
    showEvents(state.delivery);
  } catch {
    isAway = true;
    byId("status").textContent = "";
    notice("reeltag watch does not answer: it has ended, or is away");
  }
  setTimeout(poll, 1000);
}

byId("camera").addEventListener("change", (event) => choose(event.target.value));
poll();
