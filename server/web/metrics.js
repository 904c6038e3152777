/** Two small charts from the server's /metrics: open sessions, and rows of a speech batch. */

import { svg } from "./svg.js";

const PERIOD_MS = 2000;
const POINTS = 60;
const WIDTH = 280;
const HEIGHT = 36;

/** Poll while `isWanted()`; on refusal call `onRefused(status)` once and stop. */
export function watchMetrics({ sessions, batch, token, isWanted, onRefused }) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let previous = null;
  const poll = async () => {
    if (!isWanted()) return;
    const answer = await fetch("metrics", { headers }).catch(() => null);
    if (!answer) return; // the connection's own notice says what is wrong
    if (!answer.ok) {
      clearInterval(timer);
      onRefused(answer.status);
      return;
    }
    const samples = parse(await answer.text());
    sessions.add(samples.get("antiphon_sessions") ?? 0);
    const now = batchTotals(samples);
    if (previous) batch.add(meanSince(previous, now));
    previous = now;
  };
  const timer = setInterval(poll, PERIOD_MS);
  poll();
}

/** Samples of the text exposition format: name with labels → value. */
export function parse(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const space = line.lastIndexOf(" ");
    if (space > 0 && !line.startsWith("#")) {
      samples.set(line.slice(0, space), Number(line.slice(space + 1)));
    }
  }
  return samples;
}

function batchTotals(samples) {
  const total = { sum: 0, count: 0 };
  for (const [name, value] of samples) {
    if (!name.includes('stage="asr')) continue;
    if (name.startsWith("antiphon_batch_size_sum")) total.sum += value;
    if (name.startsWith("antiphon_batch_size_count")) total.count += value;
  }
  return total;
}

/** null where no batch ran, so that the chart shows a gap and not a zero. */
function meanSince(before, now) {
  const count = now.count - before.count;
  return count > 0 ? (now.sum - before.sum) / count : null;
}

export class Sparkline {
  #svg;
  #output;
  #values = [];

  constructor(element, output) {
    this.#svg = element;
    this.#output = output;
    element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    element.setAttribute("preserveAspectRatio", "none");
  }

  add(value) {
    this.#values = [...this.#values, value].slice(-POINTS);
    const last = this.#values.findLast((item) => item !== null);
    this.#output.textContent = last === undefined ? "–" : Number(last.toFixed(2)).toString();
    this.#draw();
  }

  #draw() {
    const top = Math.max(...this.#values.map((value) => value ?? 0), 1);
    const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 6);
    const width = WIDTH / POINTS;
    const bars = this.#values.map((value, index) => {
      const x = (POINTS - this.#values.length + index) * width;
      const height = value === null ? 0 : Math.max(HEIGHT - y(value), 1.5);
      return svg("rect", { x: x + 0.75, y: HEIGHT - height, width: width - 1.5, height });
    });
    this.#svg.replaceChildren(...bars);
  }
}
