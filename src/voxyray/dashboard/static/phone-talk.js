// What was said, as it is said: words turn dark when they are heard, and are struck when a cut
// means that they never will be.

export class Talk {
  #log;
  #says = null; // where the agent's words go, until the caller does something
  #pieces = new Map();
  #waiting = null;
  #struck = null; // the rest of the piece that was cut, until it is known what else is lost
  #hearing = null;

  constructor(log) {
    this.#log = log;
  }

  clear() {
    this.#log.replaceChildren();
    this.#says = this.#waiting = this.#hearing = null;
    this.#pieces.clear();
  }

  // A piece is spoken now.
  speak(number, text) {
    const rest = element("span", "rest", text);
    const heard = element("span", "heard");
    this.#place(heard, rest);
    this.#pieces.set(number, { text, heard, rest });
    this.#scroll();
  }

  reached(number, chars) {
    const piece = this.#pieces.get(number);
    if (!piece) return;
    piece.heard.textContent = piece.text.slice(0, chars);
    piece.rest.textContent = piece.text.slice(chars);
    if (chars >= piece.text.length) this.#pieces.delete(number);
  }

  // A piece was cut: this much of it was heard.
  stop(number, heard) {
    const piece = this.#pieces.get(number);
    if (!piece) return;
    piece.heard.textContent = heard;
    this.#struck = strike(piece.rest, piece.text.slice(heard.length));
    this.#pieces.delete(number);
  }

  // Text has come that waits to be spoken.
  waiting(text) {
    if (!text && !this.#waiting) return;
    if (!this.#waiting) {
      this.#waiting = element("span", "rest to-come");
      this.#reply().append(this.#waiting);
    }
    this.#waiting.textContent = text;
    this.#scroll();
  }

  // Nothing that waited will be spoken.
  silenced(why) {
    if (this.#waiting && this.#struck) {
      this.#struck.append(this.#waiting.textContent);
      this.#waiting.remove();
    } else if (this.#waiting) {
      strike(this.#waiting, this.#waiting.textContent);
    }
    this.#struck = null;
    if (why && this.#says) {
      const cut = element("span", "cut", ` ${why}`);
      cut.prepend(seen("✂"));
      this.#says.append(" ", cut);
    }
    this.#says = this.#waiting = null;
    this.#scroll();
  }

  // What the microphone makes of an utterance so far.
  hearing(text) {
    this.#hearing ??= this.#line("caller", "You");
    this.#hearing.textContent = text;
    this.#hearing.classList.add("partial");
    this.#scroll();
  }

  nothing() {
    this.#hearing?.closest(".line").remove();
    this.#hearing = null;
  }

  said(text) {
    this.#hearing ??= this.#line("caller", "You");
    this.#hearing.classList.remove("partial");
    this.#hearing.textContent = text;
    this.#hearing = null;
    this.#says = this.#waiting = null;
    this.#scroll();
  }

  pressed(key) {
    const last = this.#log.lastElementChild;
    if (last?.classList.contains("keys")) {
      last.querySelector(".says").append(key);
    } else {
      this.#line("caller keys", "Keys").append(key);
    }
    // An agent who speaks is cut by it next, or goes on where it was.
    if (!this.#pieces.size && !this.#waiting?.textContent) this.#says = this.#waiting = null;
    this.#scroll();
  }

  note(text, grave = false) {
    this.#line(grave ? "event grave" : "event", "").textContent = text;
    this.#says = this.#waiting = null;
    this.#scroll();
  }

  announced(text) {
    this.#line("agent", "Carrier").textContent = text;
    this.#says = this.#waiting = null;
    this.#scroll();
  }

  #place(...spans) {
    const says = this.#reply();
    if (this.#waiting) this.#waiting.before(...spans);
    else says.append(...spans);
  }

  #reply() {
    this.#says ??= this.#line("agent", "Agent");
    return this.#says;
  }

  #line(kind, who) {
    const says = element("span", "says");
    const line = element("p", `line ${kind}`);
    line.append(element("span", "who", who), says);
    // What the caller is saying right now stays last.
    const open = this.#hearing?.closest(".line");
    if (open && kind.startsWith("event")) open.before(line);
    else this.#log.append(line);
    return says;
  }

  #scroll() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }
}

function strike(span, text) {
  span.replaceChildren();
  if (!text.trim()) return null;
  const [, space, words] = text.match(/^(\s*)(.*)$/s);
  const gone = element("del", "", words);
  span.append(space, spoken("(not heard: "), gone, spoken(")"));
  return gone;
}

// Text for screen readers only, and text for eyes only.
function spoken(text) {
  return element("span", "hidden", text);
}

function seen(text) {
  const span = element("span", "", text);
  span.setAttribute("aria-hidden", "true");
  return span;
}

export function element(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}
