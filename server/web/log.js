/** The conversation: one row a turn, its call beside its response. */

import { formatMs, turnProblem } from "./words.js";

const MAX_ROWS = 200;
const NEAR_END_PX = 120;

export class ConversationLog {
  #list;
  #template;
  #empty;
  #rows = []; // open rows, oldest first: { turn, element, … }

  constructor(list, template, empty) {
    this.#list = list;
    this.#template = template;
    this.#empty = empty;
  }

  /** Turns whose words are known and whose reply is on its way, next to be answered first. */
  get repliesInFlight() {
    const unheard = this.#rows.findIndex(({ heard }) => !heard);
    return unheard < 0 ? this.#rows : this.#rows.slice(0, unheard);
  }

  get isWaiting() {
    return this.#rows.some(({ awaited }) => awaited);
  }

  /** The user begins to speak. */
  begin() {
    return this.#add(null);
  }

  /** Take back the last `begin`: nothing could be recorded. */
  dropUnspoken() {
    const row = this.#rows.at(-1);
    if (!row || row.turn !== null || row.awaited) return;
    this.#rows.pop();
    row.element.remove();
    this.#empty.hidden = this.#list.children.length > 0;
  }

  /** The turn is over: what follows is the wait for its reply. */
  end(turn = null) {
    const row = turn === null ? this.#rows.at(-1) : this.#row(turn);
    if (row) this.#await(row);
  }

  partial({ turn, text, stable_chars: stableChars }) {
    const row = this.#row(turn);
    // Code points, as the server counts them: one may be two UTF-16 units.
    const chars = Array.from(text);
    // The space between them belongs to the settled words, which carry no mark.
    const border = chars[stableChars] === " " ? stableChars + 1 : stableChars;
    row.settled.textContent = chars.slice(0, border).join("");
    row.moving.textContent = chars.slice(border).join("");
    this.#follow();
  }

  transcript({ turn, text }) {
    const row = this.#row(turn);
    row.settled.textContent = text;
    row.moving.textContent = "";
    row.heard = true;
    this.#await(row);
  }

  delta({ turn, text }) {
    const row = this.#row(turn);
    row.reply.textContent += text;
    this.#follow();
  }

  /** The turn's chatbot_response came; `stages` are its latencies in ms. */
  finish(message, stages) {
    const row = this.#row(message.turn);
    this.#rows = this.#rows.filter((other) => other !== row);
    row.settled.textContent = message.transcription;
    row.moving.textContent = "";
    row.reply.textContent = message.response;
    row.element.classList.remove("listening", "awaiting");
    row.element.classList.toggle("cancelled", message.cancelled === true);
    const problem = turnProblem(message);
    row.element.classList.toggle("failed", problem !== "");
    if (problem) row.reply.textContent = problem;
    row.callTiming.textContent = message.transcription ? describeCall(stages) : "";
    row.replyTiming.textContent = problem ? "" : describeReply(message, stages);
    this.#follow();
  }

  /** Hands-free, a cough is no turn: leave no trace of it. */
  forget({ turn }) {
    const row = this.#rows.find((other) => other.turn === turn);
    this.#rows = this.#rows.filter((other) => other !== row);
    row?.element.remove();
    this.#empty.hidden = this.#list.children.length > 0;
  }

  /** The connection is gone. Turns that will be sent again start over; the others end here. */
  interrupt({ willReplay }) {
    for (const row of this.#rows) {
      row.reply.textContent = willReplay ? "" : "The connection dropped before the answer.";
      row.element.classList.toggle("failed", !willReplay);
      if (willReplay) Object.assign(row, { turn: null, heard: false, stopped: false });
      else row.element.classList.remove("listening", "awaiting");
    }
    if (!willReplay) this.#rows = [];
  }

  /** Rows are made by `begin`, or by the first message about a turn that nobody began here. */
  #row(turn) {
    const known = this.#rows.find((row) => row.turn === turn);
    if (known) return known;
    const unbound = this.#rows.find((row) => row.turn === null);
    if (unbound) unbound.turn = turn;
    return unbound ?? this.#add(turn);
  }

  #add(turn) {
    const element = this.#template.content.firstElementChild.cloneNode(true);
    const find = (selector) => element.querySelector(selector);
    element.classList.add("listening");
    const row = {
      turn,
      element,
      awaited: false, // the turn is over, its reply not complete
      heard: false, // its final words are known
      stopped: false, // its reply was asked to stop
      settled: find(".settled"),
      moving: find(".moving"),
      callTiming: find(".call .timing"),
      reply: find(".response .words"),
      replyTiming: find(".response .timing"),
    };
    this.#rows.push(row);
    this.#list.append(element);
    while (this.#list.children.length > MAX_ROWS) this.#list.firstElementChild.remove();
    this.#empty.hidden = true;
    this.#follow(true);
    return row;
  }

  #await(row) {
    row.awaited = true;
    row.element.classList.remove("listening");
    row.element.classList.add("awaiting");
  }

  /** Keep the newest words in sight, unless the reader has gone back up. */
  #follow(always = false) {
    const page = document.scrollingElement;
    const below = page.scrollHeight - page.scrollTop - page.clientHeight;
    if (always || below < NEAR_END_PX) page.scrollTop = page.scrollHeight;
  }
}

function describeCall({ recognise }) {
  if (recognise === undefined) return "";
  // The last partial was already the final text.
  return recognise < 1 ? "recognised while you spoke" : `recognised in ${formatMs(recognise)}`;
}

function describeReply({ cancelled }, { firstToken, complete }) {
  const parts = [];
  if (firstToken) parts.push(`first word after ${formatMs(firstToken)}`);
  if (complete) parts.push(`${cancelled ? "stopped" : "whole reply"} after ${formatMs(complete)}`);
  return parts.join(", ");
}
