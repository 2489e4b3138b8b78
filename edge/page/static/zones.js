"use strict";

function arrow([x, y], [toX, toY], unit) {
  const back = Math.atan2(y - toY, x - toX);
  const [one, other] = [-0.5, 0.5].map((turn) => [
    toX + 9 * unit * Math.cos(back + turn), toY + 9 * unit * Math.sin(back + turn),
  ]);
  return `M${[x, y]}L${[toX, toY]}M${one}L${[toX, toY]}L${other}`;
}

class Editor {
  constructor() {
    this.overlay = document.getElementById("overlay");
    this.live = document.getElementById("live");
    this.shapes = { lines: [], zones: [] };
    this.drawing = null;
    this.dragged = null;
    this.changed = false;
    const on = (id, action) => document.getElementById(id).addEventListener("click", action);
    on("add-line", () => this.begin("lines"));
    on("add-zone", () => this.begin("zones"));
    on("done", () => this.finish());
    on("cancel", () => this.cancel());
    on("save", () => this.save());
    on("reset", () => this.load(this.camera));
    this.overlay.addEventListener("pointerdown", (event) => this.down(event));
    this.overlay.addEventListener("pointermove", (event) => this.move(event));
    this.overlay.addEventListener("pointerup", () => { this.dragged = null; });
    this.live.addEventListener("load", () => this.render());
  }

  async load(camera) {
    this.camera = camera;
    const said = await this.ask();
    if (said) this.take(said);
  }

  // What the server says to it; nothing where it complains, which is shown.
  async ask(request) {
    this.say("");
    try {
      const answer = await fetch(this.address(), request);
      const said = await answer.json();
      this.complain(answer.ok ? [] : said.problems);
      return answer.ok ? said : null;
    } catch {
      this.complain(["reeltag watch does not answer"]);
      return null;
    }
  }

  address() { return "shapes/" + encodeURIComponent(this.camera); }

  take(answer) {
    this.shapes = { lines: answer.lines, zones: answer.zones };
    this.version = answer.version;
    this.picture = answer.picture;
    this.drawing = null;
    this.touch(false);
  }

  size() { return this.picture ?? [this.live.naturalWidth || 1280, this.live.naturalHeight || 720]; }

  begin(kind) {
    this.drawing = { kind, points: [] };
    this.say(kind === "lines" ? "Click the two ends of the line." : "Click the corners, then close the zone.");
    this.render();
    this.live.scrollIntoView({ block: "nearest" });
  }

  cancel() {
    this.drawing = null;
    this.say("");
    this.render();
  }

  finish() {
    const { kind, points } = this.drawing;
    const names = [...this.shapes.lines, ...this.shapes.zones].map((shape) => shape.name);
    let number = 1;
    const word = kind === "lines" ? "line" : "zone";
    while (names.includes(`${word} ${number}`)) number += 1;
    this.shapes[kind].push({ name: `${word} ${number}`, points });
    this.drawing = null;
    this.say("");
    this.touch(true);
  }

  place(event) {
    const frame = this.overlay.getBoundingClientRect();
    const [width, height] = this.size();
    const share = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
    return [Math.round(Math.min(Math.max(share[0], 0), 1) * width), Math.round(Math.min(Math.max(share[1], 0), 1) * height)];
  }

  down(event) {
    if (event.target.dataset.at !== undefined) {
      const { kind, shape, at } = event.target.dataset;
      this.dragged = { points: this.shapes[kind][shape].points, at };
      this.overlay.setPointerCapture(event.pointerId);
    } else if (this.drawing) {
      this.drawing.points.push(this.place(event));
      if (this.drawing.kind === "lines" && this.drawing.points.length === 2) this.finish();
      else this.render();
    }
  }

  move(event) {
    if (!this.dragged) return;
    this.dragged.points[this.dragged.at] = this.place(event);
    this.touch(true);
  }

  touch(changed) {
    this.changed = changed;
    this.render();
    this.list();
  }

  render() {
    const [width, height] = this.size();
    const unit = width / Math.max(this.overlay.clientWidth, 1);
    this.live.style.aspectRatio = `auto ${width} / ${height}`;
    this.overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.overlay.classList.toggle("drawing", Boolean(this.drawing));
    this.overlay.replaceChildren();
    const labels = new Labels(this.overlay, width, height, unit);
    const shapes = ["zones", "lines"].flatMap((kind) => this.shapes[kind].map((shape, at) => ({ kind, shape, at })));
    for (const { shape } of shapes) for (const point of shape.points) labels.keepFree(point, 8 * unit);
    for (const { kind, shape } of shapes) this.draw(labels, kind, shape, unit);
    for (const { kind, shape, at: number } of shapes)
      shape.points.forEach(([cx, cy], at) => {
        Object.assign(labels.add("circle", { cx, cy, r: 8 * unit }).dataset, { kind, shape: number, at });
      });
    if (this.drawing && this.drawing.points.length) {
      labels.add("path", { class: this.drawing.kind === "lines" ? "line" : "zone", d: "M" + this.drawing.points.join("L") });
      for (const [cx, cy] of this.drawing.points) labels.add("circle", { cx, cy, r: 5 * unit });
    }
    this.offer();
  }

  // The buttons that make sense now.
  offer() {
    const shown = (id, is) => { document.getElementById(id).hidden = !is; };
    for (const id of ["add-line", "add-zone", "save", "reset"]) shown(id, !this.drawing);
    shown("done", this.drawing?.kind === "zones");
    shown("cancel", this.drawing);
    document.getElementById("done").disabled = !(this.drawing?.points.length >= 3);
    document.getElementById("save").disabled = document.getElementById("reset").disabled = !this.changed;
  }

  draw(labels, kind, shape, unit) {
    const { points } = shape;
    const word = kind.slice(0, -1);
    labels.add("path", { class: word, d: "M" + points.join("L") + (kind === "zones" ? "Z" : "") });
    labels.put(shape.name, points[0], word);
    if (kind === "lines") {
      const [[x1, y1], [x2, y2]] = points;
      const length = Math.hypot(x2 - x1, y2 - y1) || 1;
      const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
      const tip = [x - ((y2 - y1) / length) * 30 * unit, y + ((x2 - x1) / length) * 30 * unit];
      labels.add("path", { class: "arrow", d: arrow([x, y], tip, unit) });
      labels.put(shape.forward ?? "forward", tip, word);
    }
    if (shape.way) labels.add("path", { class: "way", d: arrow(...shape.way, unit), "stroke-dasharray": 6 });
  }

  list() {
    const rows = ["lines", "zones"].flatMap((kind) => this.shapes[kind].map((shape) => {
      const row = document.createElement("li");
      const name = document.createElement("input");
      Object.assign(name, { value: shape.name, maxLength: 64 });
      name.setAttribute("aria-label", "Name");
      name.addEventListener("input", () => { shape.name = name.value; this.changed = true; this.render(); });
      const gone = document.createElement("button");
      Object.assign(gone, { type: "button", textContent: "Remove" });
      gone.addEventListener("click", () => {
        this.shapes[kind] = this.shapes[kind].filter((one) => one !== shape);
        this.touch(true);
      });
      row.append(kind === "lines" ? "Line" : "Zone", name, gone);
      return row;
    }));
    document.getElementById("shapes").replaceChildren(...rows);
  }

  async save() {
    const token = document.querySelector("meta[name=token]").content;
    const said = await this.ask({
      method: "PUT",
      headers: { "Content-Type": "application/json", "X-Reeltag-Token": token },
      body: JSON.stringify({ ...this.shapes, version: this.version }),
    });
    if (!said) return;
    this.take(said);
    this.say("Saved.");
  }

  say(text) { document.getElementById("hint").textContent = text; }

  complain(problems) {
    document.getElementById("problems").replaceChildren(...problems.map((text) => {
      const row = document.createElement("li");
      row.textContent = text;
      return row;
    }));
  }
}

const editor = new Editor();
