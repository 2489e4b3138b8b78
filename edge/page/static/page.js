"use strict";

const byId = (id) => document.getElementById(id);
const history = { latency: [], p95: [], dropped: [] };
const LONGEST = 120;
let before = null;

function choose(name) {
  byId("live").src = "live/" + encodeURIComponent(name);
  for (const one of Object.values(history)) one.length = 0;
  before = null;
  editor.load(name);
}

function draw(canvas, series, unit) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const most = Math.max(1, ...series.flatMap((one) => one.values));
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui";
  context.fillStyle = "#888";
  context.fillText(`${Math.round(most)} ${unit}`, 4, 12);
  for (const { values, colour } of series) {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.beginPath();
    values.forEach((value, at) => context.lineTo((at * width) / (LONGEST - 1), height - 4 - (value / most) * (height - 20)));
    context.stroke();
  }
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
    rows.push(row(`${zone}: inside now`, found.inside), row(`${zone}: queue`, found.queue));
    for (const [name, count] of Object.entries(found.entered)) rows.push(row(`${zone}: ${name} entered`, count));
  }
  if (!rows.length) rows.push(row("nothing yet", ""));
  byId("counts").tBodies[0].replaceChildren(...rows);
}

function show(camera) {
  byId("status").textContent = camera.state ?? "";
  if (camera.counts) showCounts(camera.counts);
  if (camera.latency_ms) {
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
    if (!list.options.length) {
      for (const camera of state.cameras) list.add(new Option(camera.name));
      choose(list.value);
    }
    show(state.cameras.find((camera) => camera.name === list.value));
  } catch {
    byId("status").textContent = "does not answer";
  }
  setTimeout(poll, 1000);
}

byId("camera").addEventListener("change", (event) => choose(event.target.value));
poll();
