// Makes pages live: the server sends pieces of HTML, each with an id, and they take the place of
// the old ones. Everything can be read without this; nothing is rendered here.

const source = document.body.dataset.live;
if (source) follow(source);

function follow(url) {
  const state = document.getElementById("live-state");
  const events = new EventSource(url);
  let silent = 0;

  events.addEventListener("open", () => {
    clearTimeout(silent);
    say(state, "live");
  });
  events.addEventListener("error", () => {
    clearTimeout(silent);
    // Streams end every half minute and are taken up again at once: not worth a word.
    silent = setTimeout(() => say(state, "not connected, trying again"), 3000);
  });
  events.addEventListener("piece", (event) => {
    const { id, html, into, announce } = JSON.parse(event.data);
    place(id, html, into);
    if (announce) document.getElementById("announce").textContent = announce;
  });
  for (const last of ["over", "busy"]) {
    events.addEventListener(last, () => {
      clearTimeout(silent);
      events.close();
      say(state, last === "over" ? "" : "too many pages are open; reload to see more");
    });
  }
  addEventListener("pagehide", () => events.close());
}

// Puts a piece where the one with its id is, or at the end of another element.
function place(id, html, into) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const piece = template.content.firstElementChild;
  const old = document.getElementById(id);
  if (!piece) return;
  if (!old) {
    document.getElementById(into)?.append(piece);
    return;
  }
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  for (const details of old.querySelectorAll("details[id][open]")) {
    const same = piece.querySelector(`#${CSS.escape(details.id)}`);
    if (same) same.open = true;
  }
  old.replaceWith(piece);
  if (focused) document.getElementById(focused)?.focus();
}

function say(element, text) {
  if (element) element.textContent = text;
}
