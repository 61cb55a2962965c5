// The browser phone. The carrier is simulated on the server; this page is its ear and its mouth:
// it speaks what it is told to and tells how far it got, and sends what the caller says, types and
// presses. Which words cut the agent is decided on the server, as a carrier does.

import { Ear, isEcho, listensHere, whyDeaf } from "./phone-ear.js";
import { Line } from "./phone-line.js";
import { Mouth } from "./phone-mouth.js";
import { Talk } from "./phone-talk.js";
import { Times } from "./phone-times.js";

const TYPING_ENDS_MS = 2500;
const DEFAULT_LANG = "en-US";

const at = (id) => document.getElementById(id);
const phone = at("phone");
const talk = new Talk(at("talk"));
const times = new Times(at("times"));
const mouth = new Mouth(send, show);
const ear = new Ear({ words: hear, silence, changed: show });

let line = null;
let call = null; // the call that is going on, or the last one

// Before the call

at("dial").hidden = false;
mouth.look().then(show);
show();

async function tellWhatCan() {
  const deaf = whyDeaf();
  can("can-speak", mouth.trouble, voiceName(), `This browser cannot speak: ${mouth.trouble}. You read the agent’s words at the pace of speech.`);
  const here = !deaf && (await listensHere(DEFAULT_LANG));
  const where = here
    ? "It can listen, and recognises your words on this machine."
    : "It can listen. Most browsers send what they hear to their maker’s speech service; what you type stays here.";
  can("can-listen", deaf, where, `It cannot listen: ${deaf}. You type instead.`);
  at("call-talk").disabled = Boolean(deaf);
  at("call-type").classList.toggle("plain", !deaf);
}

function can(id, trouble, yes, no) {
  at(id).textContent = trouble ? no : yes;
  at(id).dataset.can = trouble ? "no" : "yes";
}

function voiceName() {
  const voice = mouth.voiceFor(DEFAULT_LANG);
  return voice ? `This browser can speak, with the voice ${voice.name}.` : "This browser can speak.";
}

at("dial").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  dial(form.get("agent") ?? "", form.get("number").trim(), event.submitter?.value === "voice");
});

// The call

function dial(agent, number, byVoice) {
  talk.clear();
  times.clear();
  at("dial-problem").textContent = "";
  call = { state: "ringing", title: "", byVoice, since: Date.now(), lang: DEFAULT_LANG, answered: false, spokeUpAt: 0, silentAt: 0 };
  const placed = call;
  line = new Line(
    { do: "dial", agent, number },
    (message) => placed === call && take(message),
    (opened) => placed === call && lost(opened),
  );
  at("dial").hidden = true;
  at("call").hidden = false;
  at("after").hidden = true;
  at("no-turns").hidden = false;
  at("who").textContent = "…";
  at("who").focus();
  if (byVoice) ear.start(DEFAULT_LANG); // now, since browsers ask for the microphone on a click only
  show();
}

const TAKE = {
  ringing: ({ call: id }) => {
    at("page").href = `calls/${encodeURIComponent(id)}`;
  },
  answered: ({ title, lang, again }) => {
    Object.assign(call, { title, lang, state: "open", waits: true });
    at("who").textContent = title;
    if (again) talk.note(`${title} takes the call`);
    if (!call.answered && !call.byVoice) at("words").focus();
    call.answered = true;
    ear.speakLanguage(lang);
    announce(`${title} has the call.`);
  },
  language: ({ lang }) => {
    call.lang = lang;
    ear.speakLanguage(lang);
  },
  speak: ({ piece, text, lang }) => {
    call.waits = false;
    talk.speak(piece, text);
    mouth.speak(piece, text, lang || call.lang, (chars) => talk.reached(piece, chars));
    if (mouth.trouble || !mouth.aloud) announce(text); // a voice would talk over the screen reader's
  },
  stop: ({ piece, heard }) => {
    mouth.stop();
    call.silentAt = performance.now();
    talk.stop(piece, heard);
  },
  sound: ({ kind, what, length_ms }) => {
    const seconds = Math.round(length_ms / 100) / 10;
    talk.note(kind === "play" ? `♪ plays ${what} (${seconds} s)` : `the agent presses ${what}`);
  },
  waiting: ({ text }) => {
    call.more = text !== "";
    talk.waiting(text);
  },
  interrupted: ({ by }) => {
    const took = Math.max(0, Math.round(call.silentAt - call.spokeUpAt));
    call.more = false;
    talk.silenced(`${by === "dtmf" ? "cut by your key" : "you cut in"}, silent ${took} ms later`);
    announce("The agent is cut.");
  },
  caller: ({ text, last }) => {
    if (!last) return;
    call.waits = true;
    talk.said(text);
  },
  pressed: ({ key }) => talk.pressed(key),
  announced: ({ text }) => {
    talk.announced(text);
    mouth.speak(0, text, DEFAULT_LANG, () => {});
  },
  note: ({ text, grave }) => {
    talk.note(text, grave);
    announce(text);
  },
  turn: (turn) => {
    at("no-turns").hidden = true;
    times.take(turn);
  },
  over: ({ why, grave }) => end(why, grave),
};

function take(message) {
  TAKE[message.do]?.(message);
  show();
}

function lost(opened) {
  if (call.state === "over") return;
  end(
    opened
      ? "The connection to the server was lost."
      : "The server does not take the call: reload the page, sign in, or look whether it still runs.",
    true,
  );
}

function end(why, grave) {
  call.state = "over";
  mouth.stop();
  ear.stop();
  line.close();
  talk.silenced("");
  talk.note(why, grave);
  announce(why);
  at("after").hidden = false;
  if (at("call").contains(document.activeElement)) at("again").focus();
  show();
}

// Sends what the caller does, which may cut the agent: then the time until it is silent counts.
function act(message) {
  if (call) call.spokeUpAt = performance.now();
  send(message);
}

function send(message) {
  if (call && call.state !== "over") line?.send(message);
}

// What the caller does

let typing = 0;

at("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("words").value.trim();
  at("words").value = "";
  clearTimeout(typing);
  typing = 0;
  if (text) act({ do: "words", text, last: true });
});

// Typing counts as talking: an agent does not ask whether anybody is there.
at("words").addEventListener("input", () => {
  if (!typing && !isTalking()) send({ do: "noise", on: true });
  clearTimeout(typing);
  typing = setTimeout(() => {
    typing = 0;
    send({ do: "noise", on: false });
  }, TYPING_ENDS_MS);
});

function hear(text, last) {
  if (!at("headphones").checked && isEcho(text, mouth.spoken, mouth.talking)) {
    at("echo").textContent = `Taken for the agent’s echo: “${text}”`;
    return;
  }
  act({ do: "words", text, last, lang: call.lang });
  if (!last) talk.hearing(text);
}

function silence() {
  talk.nothing();
  send({ do: "silence" });
}

function cutIn() {
  act({ do: "cut_in" });
  at("words").focus();
  clearTimeout(typing);
  typing = setTimeout(() => {
    typing = 0;
    send({ do: "noise", on: false });
  }, TYPING_ENDS_MS);
}

at("cut-in").addEventListener("click", cutIn);
at("hang-up").addEventListener("click", () => send({ do: "hang_up" }));
at("microphone").addEventListener("click", () => (ear.listening ? ear.stop() : ear.start(call.lang)));
at("voice").addEventListener("click", () => {
  mouth.setAloud(!mouth.aloud);
  show();
});
at("keys").addEventListener("click", () => {
  at("keypad").hidden = !at("keypad").hidden;
  show();
  if (!at("keypad").hidden) at("keypad").firstElementChild.focus();
});
at("keypad").addEventListener("click", (event) => press(event.target.dataset.key));
at("keypad").addEventListener("keydown", (event) => {
  if (/^[0-9*#]$/.test(event.key)) press(event.key);
});
at("again").addEventListener("click", () => {
  at("call").hidden = true;
  at("dial").hidden = false;
  at("call-type").focus();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && call && call.state === "open") {
    event.preventDefault();
    cutIn();
  }
});
addEventListener("pagehide", () => {
  send({ do: "hang_up" });
  mouth.stop();
});

function press(key) {
  if (key) act({ do: "key", key });
}

// What the page shows of all this

function show() {
  if (!call) {
    tellWhatCan();
    return;
  }
  const over = call.state === "over";
  phone.dataset.state = over ? "over" : isTalking() ? "speaks" : call.state;
  at("state").textContent = stateText(over);
  for (const id of ["say", "say-hint", "headphones-row"]) at(id).hidden = over;
  at("call").querySelector(".controls").hidden = over;
  at("keypad").hidden ||= over;
  at("headphones-row").hidden ||= !ear.listening || Boolean(mouth.trouble) || !mouth.aloud;
  at("cut-in").disabled = !isTalking();
  pressed("microphone", ear.listening, "Microphone");
  at("microphone").disabled = Boolean(whyDeaf());
  pressed("voice", mouth.aloud && !mouth.trouble, "Voice");
  at("voice").disabled = Boolean(mouth.trouble);
  at("keys").setAttribute("aria-expanded", String(!at("keypad").hidden));
  const troubles = [];
  if (call.byVoice && ear.trouble) troubles.push(`The browser stopped listening: ${ear.trouble}. You can type.`);
  if (mouth.trouble) troubles.push(`The browser cannot speak: ${mouth.trouble}. Read along; the words come at the pace of speech.`);
  at("trouble").textContent = troubles.join(" ");
  at("trouble").hidden = !troubles.length || over;
}

// Between two sentences the agent has not finished.
function isTalking() {
  return mouth.talking || Boolean(call.more);
}

function pressed(id, on, name) {
  at(id).setAttribute("aria-pressed", String(on));
  at(id).textContent = `${name} ${on ? "on" : "off"}`;
}

function stateText(over) {
  if (over) return "Call over";
  if (call.state === "ringing") return "Ringing …";
  if (isTalking()) return mouth.aloud && !mouth.trouble ? "speaks" : "speaks; read along";
  if (call.waits) return "thinks …";
  return ear.listening ? "listens" : "listens: type what you say";
}

setInterval(() => {
  if (!call || call.state === "over") return;
  const seconds = Math.floor((Date.now() - call.since) / 1000);
  at("timer").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}, 500);

function announce(text) {
  at("announce").textContent = text;
}
