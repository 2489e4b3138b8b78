"use strict";

const SVG = "http://www.w3.org/2000/svg";
const covered = (one, other) =>
  Math.max(0, Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x)) *
  Math.max(0, Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y));

// Words on the picture: inside it, and beside each other where there is room.
class Labels {
  constructor(overlay, width, height, unit) {
    Object.assign(this, { overlay, width, height, unit, taken: [] });
  }

  add(name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    this.overlay.append(element);
    return element;
  }

  keepFree([x, y], radius) {
    this.taken.push({ x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius });
  }

  put(text, point, kind) {
    const [size, margin] = [13 * this.unit, 4 * this.unit];
    const ground = this.add("rect", { class: `ground ${kind}` });
    const words = this.add("text", { "font-size": size }, text);
    for (let length = text.length; words.getComputedTextLength() + 2 * margin > this.width && length > 1; length -= 1)
      words.textContent = text.slice(0, length) + "…";
    const [width, height] = [words.getComputedTextLength() + 2 * margin, 1.4 * size];
    const weight = (place) => this.taken.reduce((sum, one) => sum + covered(place, one), 0);
    const [place] = this.places(point, width, height).sort((one, other) => weight(one) - weight(other));
    this.taken.push(place);
    for (const [key, value] of Object.entries(place)) ground.setAttribute(key, value);
    words.setAttribute("x", place.x + margin);
    words.setAttribute("y", place.y + 1.05 * size);
  }

  // The best first: above and below, to the right and to the left, then further away.
  places([x, y], width, height) {
    const away = 10 * this.unit;
    const within = (value, most) => Math.max(0, Math.min(value, most));
    const places = [];
    for (let step = 0; step < 5; step += 1)
      for (const top of [y - away - (step + 1) * height, y + away + step * height])
        for (const left of [x, x - width])
          places.push({ x: within(left, this.width - width), y: within(top, this.height - height), width, height });
    return places;
  }
}
