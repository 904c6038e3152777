/** What the page says, apart from its markup. */

const CONNECTION = {
  connecting: "Connecting",
  open: "Connected",
  closed: "Disconnected",
};

export const HINT = {
  push: "Hold to talk, or tap to start and tap to end",
  free: "Press once, then talk as you like; a pause ends your turn",
};

export const INVITATION = {
  push: "Hold the button below, or the space bar, and talk.",
  free: "Press the button below once, or the space bar, and talk.",
};

export const TALK = {
  push: { off: "Talk", on: "End the turn" },
  free: { off: "Turn the microphone on", on: "Turn the microphone off" },
};

/** Why there is no microphone, from what getUserMedia threw. */
export function microphoneProblem(error) {
  if (!window.isSecureContext) {
    return "Browsers give a page the microphone only over HTTPS or on localhost. Open this page at such an address.";
  }
  switch (error.name) {
    case "NotAllowedError":
      return "The browser may not use the microphone. Allow it for this page (the icon beside the address), then press the button again.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No such microphone was found. Connect one, or choose another, then press the button again.";
    case "NotReadableError":
      return "The microphone is in use by another program. Close it there, then press the button again.";
    default:
      return `The microphone could not be opened: ${error.message}`;
  }
}

export const TOKEN_WANTED =
  "This server wants a token. Open this page with #token=… at the end of its address.";

export const MICROPHONE_LOST = "The microphone was disconnected. Connect it, or choose another.";

const IDLE = "Nothing was said for a while. Press the button and talk to go on.";

/** The same words at each try, so that a screen reader says them once. */
export function connectionProblem({ state, reason }) {
  if (state === "waiting" && reason === "full") {
    return "The server is full just now. This page tries again by itself.";
  }
  if (state === "waiting") return "The connection dropped. This page reconnects by itself.";
  if (state === "closed" && reason === "idle") return IDLE;
  if (state === "closed") return `The server ended this session: ${reason}. Reload the page to begin again.`;
  return "";
}

export function connectionWords({ state, reason, retryMs }) {
  if (state !== "waiting") return CONNECTION[state];
  const wait = `in ${Math.max(1, Math.round(retryMs / 1000))} s`;
  return reason === "full" ? `Full, trying again ${wait}` : `Reconnecting ${wait}`;
}

/** What to write where a reply would be, for a turn that went wrong. */
export function turnProblem({ error, error_code: code }) {
  if (code === "no_speech") return "Nothing was heard.";
  return error ? `No answer: ${error}` : "";
}

export function formatMs(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

export const HEARING = {
  off: "Microphone off",
  opening: "Asking for the microphone",
  quiet: "Listening",
  kept: "Keeping your words until the server is back",
  deaf: "Waiting for the server",
  speech: "Hearing you",
  waiting: "Working it out",
  answering: "Answering",
};
