// The waterfall of every turn, drawn from what the server read in the journal.

import { element } from "./phone-talk.js";

const SVG = "http://www.w3.org/2000/svg";
const LEAST_SCALE_MS = 500;
const LEAST_PERCENT = 0.6; // less cannot be seen

export class Times {
  #box;
  #turns = new Map();
  #scale = LEAST_SCALE_MS;

  constructor(box) {
    this.#box = box;
  }

  clear() {
    this.#turns.clear();
    this.#box.replaceChildren();
    this.#scale = LEAST_SCALE_MS;
  }

  take(turn) {
    this.#turns.set(turn.number, turn);
    const longest = Math.max(...[...this.#turns.values()].flatMap((each) => each.bars.map(end)), 0);
    const scale = nice(Math.max(longest, LEAST_SCALE_MS));
    const changed = scale === this.#scale ? [turn] : [...this.#turns.values()];
    this.#scale = scale;
    for (const each of changed) this.#draw(each);
  }

  // The newest turn is on top: it is the one that one wants to see while talking.
  #draw(turn) {
    const id = `turn-${turn.number}`;
    const card = element("article", "turn-times");
    card.id = id;
    card.append(title(turn), this.#bars(turn), ...notes(turn));
    const old = document.getElementById(id);
    if (old) old.replaceWith(card);
    else this.#box.prepend(card);
  }

  #bars(turn) {
    const table = element("table");
    table.setAttribute("aria-label", `Where the time of turn ${turn.number} went`);
    const body = element("tbody");
    for (const bar of turn.bars) body.append(this.#row(bar, bar.label === turn.culprit));
    table.append(body);
    return table;
  }

  #row(bar, largest) {
    const row = element("tr", largest ? "largest" : "");
    const label = element("th", "", carrierIsVoice(bar.label));
    label.scope = "row";
    label.prepend(element("span", `key ${bar.kind}`));
    const time = element("td", "num", bar.ms === null ? "unknown" : ms(bar.ms));
    const cell = element("td", "track");
    if (bar.ms === null) cell.append(element("span", "soft", bar.detail));
    else cell.append(drawn(bar, this.#scale));
    row.append(label, cell, time);
    return row;
  }
}

function title(turn) {
  const heading = element("h3", "", `Turn ${turn.number}`);
  const note = turn.caller.match(/^\[(.*)\]$/)?.[1]; // a key, say: no words of the caller's
  const began = note ?? (turn.caller ? `“${turn.caller}”` : turn.begins);
  heading.append(" ", element("span", "soft", began));
  if (turn.gap_ms !== null) heading.append(" ", element("span", "gap num", ms(turn.gap_ms)));
  return heading;
}

function notes(turn) {
  const told = [];
  if (turn.culprit && turn.gap_ms !== null && turn.caller) {
    const whole = turn.audible_ms ?? turn.gap_ms;
    const until = turn.audible_ms === null ? "until the first words" : "until it was heard";
    const line = element("p", "most", turn.culprit_ms * 2 > whole ? "Most of it: " : "Largest part: ");
    const part = element("strong", "", carrierIsVoice(turn.culprit));
    line.append(part, `, ${ms(turn.culprit_ms)} of ${ms(whole)} ${until}.`);
    told.push(line);
  }
  if (turn.tools.length) told.push(element("p", "soft", `Tools: ${turn.tools.join(", ")}`));
  if (turn.cut_by && turn.said) told.push(...cut(turn));
  return told;
}

// What was heard of a reply that was cut: that, and nothing else, is what the model remembers.
function cut(turn) {
  const line = element("p", "cut-note");
  line.append(element("strong", "", sentence(turn.cut)));
  if (turn.cut_by === "hangup") {
    line.append(" before all of it was spoken.");
    return [line]; // nobody confirms what was heard last, and nobody needs to remember it
  }
  line.append(`: ${count(turn.heard)} of ${count(turn.said)} words were heard.`);
  const kept = element("p", "kept");
  kept.append(turn.heard ? "The model remembers: " : "The model remembers nothing of it.");
  if (turn.heard) kept.append(element("q", "", turn.heard));
  return [line, kept];
}

function drawn(bar, scale) {
  const svg = document.createElementNS(SVG, "svg");
  const rect = document.createElementNS(SVG, "rect");
  const x = Math.min((100 * bar.at_ms) / scale, 100 - LEAST_PERCENT);
  const width = Math.max((100 * bar.ms) / scale, LEAST_PERCENT);
  svg.setAttribute("aria-hidden", "true");
  for (const [name, value] of Object.entries({ width: "100%", height: 12 })) svg.setAttribute(name, value);
  const shape = { class: bar.kind, x: `${x}%`, width: `${width}%`, y: 1, height: 10, rx: 2 };
  for (const [name, value] of Object.entries(shape)) rect.setAttribute(name, value);
  svg.append(rect);
  return svg;
}

// What the carrier's part stands for here: this browser's voice.
function carrierIsVoice(label) {
  return label.replace("carrier and text-to-speech", "the browser’s voice");
}

function end(bar) {
  return bar.at_ms + (bar.ms ?? 0);
}

// The next round number of milliseconds: 1, 2 or 5 times a power of ten.
function nice(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= number);
}

function ms(number) {
  return number > 0 && number < 10 ? `${number.toFixed(1)} ms` : `${Math.round(number).toLocaleString("en")} ms`;
}

function count(text) {
  return text.split(/\s+/).filter(Boolean).length;
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
