"use strict";

const SVG = "http://www.w3.org/2000/svg";

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
    on("save", () => this.save());
    on("reset", () => this.load(this.camera));
    this.overlay.addEventListener("pointerdown", (event) => this.down(event));
    this.overlay.addEventListener("pointermove", (event) => this.move(event));
    this.overlay.addEventListener("pointerup", () => { this.dragged = null; });
    this.live.addEventListener("load", () => this.render());
  }

  async load(camera) {
    this.camera = camera;
    const answer = await (await fetch(this.address())).json();
    this.take(answer);
    this.say("");
    this.complain([]);
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

  add(name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    this.overlay.append(element);
    return element;
  }

  render() {
    const [width, height] = this.size();
    const unit = width / Math.max(this.overlay.clientWidth, 1);
    this.overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.overlay.classList.toggle("drawing", Boolean(this.drawing));
    this.overlay.replaceChildren();
    for (const kind of ["zones", "lines"]) this.shapes[kind].forEach((shape, at) => this.draw(kind, shape, at, unit));
    if (this.drawing && this.drawing.points.length) {
      this.add("path", { class: this.drawing.kind === "lines" ? "line" : "zone", d: "M" + this.drawing.points.join("L") });
      for (const [cx, cy] of this.drawing.points) this.add("circle", { cx, cy, r: 5 * unit });
    }
    document.getElementById("done").hidden = !(this.drawing?.kind === "zones" && this.drawing.points.length >= 3);
    document.getElementById("save").disabled = document.getElementById("reset").disabled = !this.changed;
  }

  draw(kind, shape, number, unit) {
    const { points } = shape;
    this.add("path", { class: kind.slice(0, -1), d: "M" + points.join("L") + (kind === "zones" ? "Z" : "") });
    if (kind === "lines") {
      const [[x1, y1], [x2, y2]] = points;
      const length = Math.hypot(x2 - x1, y2 - y1) || 1;
      const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
      const tip = [x - ((y2 - y1) / length) * 30 * unit, y + ((x2 - x1) / length) * 30 * unit];
      this.add("path", { class: "arrow", d: `M${[x, y]}L${tip}` });
      this.add("text", { x: tip[0], y: tip[1] + 14 * unit, "font-size": 14 * unit }, shape.forward ?? "forward");
    }
    if (shape.way) this.add("path", { class: "way", d: "M" + shape.way.join("L"), "stroke-dasharray": 6 });
    this.add("text", { x: points[0][0] + 6 * unit, y: points[0][1] - 6 * unit, "font-size": 15 * unit }, shape.name);
    points.forEach(([cx, cy], at) => {
      Object.assign(this.add("circle", { cx, cy, r: 8 * unit }).dataset, { kind, shape: number, at });
    });
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
    const answer = await fetch(this.address(), {
      method: "PUT",
      headers: { "Content-Type": "application/json", "X-Reeltag-Token": token },
      body: JSON.stringify({ ...this.shapes, version: this.version }),
    });
    const said = await answer.json();
    this.complain(answer.ok ? [] : said.problems);
    if (answer.ok) {
      this.take(said);
      this.say("Saved.");
    }
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
