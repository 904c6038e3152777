/** What was chosen on the page, kept by this browser for the next visit. Never the token. */

const KEY = "antiphon.choices";

/** { mode, language, device: { id, label } }, each of which may be missing, or be anything. */
export function recallChoices() {
  try {
    return Object(JSON.parse(localStorage.getItem(KEY)));
  } catch {
    return {}; // storage is turned off, or holds something else: the page begins as new
  }
}

export function rememberChoices(choices) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...recallChoices(), ...choices }));
  } catch {
    // Storage is turned off, or full. The choice holds until the page is left.
  }
}
