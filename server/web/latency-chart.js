/** Stacked bars of the last turns: recognise, first token, rest of the reply. */

import { svg } from "./svg.js";
import { formatMs } from "./words.js";

const BARS = 6;
const WIDTH = 280;
const ROW = 16;
const BAR = 8;
const AXIS = 18;
const MARGIN = 42; // for the last label

export class LatencyChart {
  #svg;
  #words;
  #turns = [];

  constructor(element, words) {
    this.#svg = element;
    this.#words = words;
    element.setAttribute("viewBox", `0 0 ${WIDTH} ${BARS * ROW + AXIS}`);
    this.#draw();
  }

  /** `recognise`, `firstToken` and `complete` are ms since the end of the turn. */
  add(stages) {
    if (!stages.complete) return;
    this.#turns = [...this.#turns, stages].slice(-BARS);
    this.#words.textContent = describe(stages);
    this.#draw();
  }

  #draw() {
    const longest = Math.max(...this.#turns.map(({ complete }) => complete), 1);
    const step = niceStep(longest / 4);
    const x = (ms) => (ms / (step * Math.ceil(longest / step))) * (WIDTH - MARGIN);
    const marks = [];
    if (this.#turns.length) {
      for (let ms = 0; ms <= longest + step / 2; ms += step) marks.push(...tick(x(ms), ms));
    } else {
      marks.push(svg("line", { class: "tick", x1: 0.5, x2: 0.5, y1: 0, y2: BARS * ROW }));
    }
    const bars = this.#turns.flatMap((stages, index) => {
      const row = BARS - this.#turns.length + index;
      return bar(stages, row * ROW + (ROW - BAR) / 2, x);
    });
    this.#svg.replaceChildren(...marks, ...bars);
  }
}

function tick(x, ms) {
  const left = x + 0.5;
  const label = ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`;
  return [
    svg("line", { class: "tick", x1: left, x2: left, y1: 0, y2: BARS * ROW }),
    svg("text", { class: "label", x: left, y: BARS * ROW + 13 }, label),
  ];
}

function bar({ recognise = 0, firstToken, complete }, y, x) {
  const first = firstToken ?? complete;
  const spans = [
    ["recognise", 0, recognise],
    ["think", recognise, first],
    ["answer", first, complete],
  ];
  return spans
    .filter(([, from, to]) => to > from)
    .map(([name, from, to]) =>
      svg("rect", { class: name, x: x(from) + 1, y, width: Math.max(x(to) - x(from), 1), height: BAR }),
    );
}

function describe({ recognise, firstToken, complete }) {
  const parts = [];
  if (recognise !== undefined) parts.push(`words after ${formatMs(recognise)}`);
  if (firstToken) parts.push(`first token after ${formatMs(firstToken)}`);
  return `Last turn: ${[...parts, `whole reply after ${formatMs(complete)}`].join(", ")}.`;
}

/** 1, 2 or 5 times a power of ten, at least `rough`. */
function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}
