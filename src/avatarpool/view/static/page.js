// The page: takes speech from somewhere, has it animated, and plays both in step.

import "./theme.js"; // before the face, which is fetched: nobody is to see the other theme first
import { poseOf } from "./avatar-face.js";
import { Chart } from "./chart.js";
import { Clip } from "./clip.js";
import { idle } from "./face/idle.js";
import { LiveSpeech } from "./live.js";
import { Meter } from "./meter.js";
import { Microphone, wav } from "./microphone.js";
import { FRAMES_PER_SECOND } from "./speech.js";

const MAX_FILE_BYTES = 32 * 1024 * 1024; // the server's limit: it would cut a longer upload off
const LONGEST_RECORDING = 60; // seconds
const LONGEST_LIVE = 120; // seconds; the server's limit
const AHEAD = 5; // frames, 200 ms, that are there before the audio starts
const MICROPHONE_TROUBLE = {
  NotAllowedError: "The browser does not let this page use the microphone: allow it in the address bar.",
  NotFoundError: "There is no microphone: connect one, and try again.",
  NotReadableError: "The microphone cannot be used: see whether another program has it.",
};
const PATIENCE_MS = 2000; // without a frame before the page says whom it waits for
const SETTLING = 0.12; // seconds in which the face lets go of its last frame
const IDLE_SEED = 7; // any: it tells one face from another

const at = (id) => document.getElementById(id);
const [face, audio, status] = [at("face"), at("audio"), at("status")];
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
const chart = new Chart(at("chart"));
const meter = new Meter(at("level"), at("heard"), at("elapsed"), stillness);
let speech = null; // a clip, or live
let microphone = null; // while it is on
let last = { pose: {}, time: 0 }; // the last frame that was shown, and when

function say(text, isProblem = false) {
  status.textContent = text;
  status.classList.toggle("problem", isProblem);
}

// --- speaking ------------------------------------------------------------------

function fallSilent() {
  microphone?.close();
  microphone = null;
  showMeter(false);
  speech?.cancel();
  speech = null;
  URL.revokeObjectURL(audio.src);
  audio.removeAttribute("src");
  audio.load();
  tellOfRequest(null);
}

function tellOfRequest(current) {
  const { requestId = "none", firstFrameMs, frames = [], lag } = current ?? {};
  const first = current ? (firstFrameMs === null ? "…" : `${Math.round(firstFrameMs)} ms`) : "–";
  at("request").textContent = requestId || "…";
  at("first").textContent = first;
  at("frames").textContent = frames.length;
  at("lag").textContent = lag ? `${Math.round(1000 * lag)} ms` : "–";
}

/** Says whom the page waits for, if a frame of a request is long in coming. */
function sayIfLate(current) {
  setTimeout(() => {
    if (current === speech && !current.frames.length && !current.isOver) say("Waiting for the service…");
  }, PATIENCE_MS);
}

async function speak(blob, name) {
  fallSilent();
  if (blob.size > MAX_FILE_BYTES) {
    say(`${name} is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB: choose a shorter one.`, true);
    return;
  }
  const current = (speech = new Clip(name, audio));
  audio.src = URL.createObjectURL(blob);
  tellOfRequest(current);
  say(`Sending ${name}…`);
  sayIfLate(current);
  try {
    await current.request(blob, () => {
      tellOfRequest(current);
      if (current.frames.length >= audio.currentTime * FRAMES_PER_SECOND + AHEAD) play(current);
    });
    if (!current.frames.length) throw new Error("the service gave no keyframe");
    play(current);
  } catch (error) {
    if (current !== speech) return; // another one took its place
    audio.pause();
    if (!current.frames.length) fallSilent();
    say(sentence(error), true);
  }
}

/** Starts the audio, or goes on with it if it waited for frames. */
async function play(current) {
  if (current !== speech || !current.frames.length || (current.isStarted && !current.isAwaited)) return;
  current.isStarted = true;
  current.isAwaited = false;
  try {
    await audio.play();
  } catch (error) {
    if (current !== speech || error.name === "AbortError") return;
    if (error.name === "NotAllowedError") say("Press play to hear it.");
    else say("This browser cannot play that file: convert it to WAV.", true);
  }
}

/** Holds the audio where the service is slower than speech: the face would be left behind. */
function keepStep() {
  if (!(speech instanceof Clip) || !speech.isStarted || speech.isOver || audio.paused) return;
  if (audio.currentTime * FRAMES_PER_SECOND < speech.frames.length) return;
  speech.isAwaited = true;
  audio.pause();
  say("Waiting for the service…");
}

function sentence(error) {
  if (error instanceof TypeError) return "The server does not answer: start avatarpool view again.";
  const text = error.message;
  return text[0].toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
}

function tellOf(event, sentence) {
  audio.addEventListener(event, () => {
    if (speech instanceof Clip && !speech.isAwaited && !status.classList.contains("problem")) say(sentence());
  });
}

tellOf("playing", () => `Speaking ${speech.name}.`);
tellOf("pause", () => (audio.ended ? "Done." : "Paused."));

// --- where speech comes from -----------------------------------------------------

at("clip").addEventListener("click", async () => {
  try {
    const response = await fetch("speech.wav");
    await speak(await response.blob(), "the sample");
  } catch (error) {
    say(sentence(error), true);
  }
});

at("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // the same file can be chosen again
  if (file) speak(file, file.name);
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) speak(file, file.name);
  else say("That is no file: drop an audio file.", true);
});

// --- the microphone ----------------------------------------------------------------

function showMeter(isShown) {
  at("microphone").hidden = !isShown;
  audio.hidden = isShown; // there is nothing to play meanwhile
}

/** Has each piece that the microphone hears metered and used, until it is off. */
async function listen(mine, onPiece) {
  meter.begin(mine.longest);
  showMeter(true);
  await mine.listen((piece, level_db) => {
    meter.show(level_db);
    onPiece(piece, level_db);
  });
}

/** Makes a button put the microphone on, and off again; `use` has it meanwhile. */
function atMicrophone(button, longest, use) {
  const label = button.textContent;
  let own = null;
  button.addEventListener("click", async () => {
    if (own) {
      own.close();
      return;
    }
    fallSilent();
    const mine = (own = microphone = new Microphone(longest));
    button.className = "on";
    button.textContent = "Stop";
    try {
      await use(mine);
    } catch (error) {
      if (mine === microphone) say(MICROPHONE_TROUBLE[error.name] ?? sentence(error), true);
    } finally {
      mine.close();
      if (mine === microphone) {
        microphone = null;
        showMeter(false);
      }
      own = null;
      button.className = "";
      button.textContent = label;
    }
  });
}
atMicrophone(at("record"), LONGEST_RECORDING, async (mine) => {
  await mine.open();
  if (mine !== microphone) return;
  say(`Recording, ${LONGEST_RECORDING} s at most.`);
  const pieces = [];
  await listen(mine, (piece) => pieces.push(piece));
  if (mine !== microphone) return; // another source took its place
  if (!pieces.length) throw new Error("nothing was recorded: try again, and longer");
  speak(wav(pieces), "the recording");
});

atMicrophone(at("live"), LONGEST_LIVE, async (mine) => {
  await mine.open();
  if (mine !== microphone) return;
  const current = (speech = new LiveSpeech("you"));
  tellOfRequest(current);
  sayIfLate(current);
  const answered = current.request(
    () => say(`Live, ${LONGEST_LIVE} s at most: speak.`),
    () => tellOfRequest(current),
  );
  listen(mine, (piece, level_db) => current.hear(piece, level_db)).then(() => current.end());
  await answered;
  if (mine !== microphone) return;
  if (!current.frames.length) throw new Error("nothing was heard: try again, and longer");
  say("Done.");
});

addEventListener("pagehide", fallSilent); // a page that is kept for later keeps no session

// --- each picture ------------------------------------------------------------------

function draw() {
  requestAnimationFrame(draw);
  keepStep();
  const now = performance.now() / 1000;
  const frame = speech?.isShown ? speech.at(speech.time) : null;
  if (frame) last = { pose: frame.pose, time: now };
  const still = stillness.matches ? {} : poseOf(idle(IDLE_SEED, now));
  // Let go of the last frame little by little, so that nothing jumps.
  const held = Math.exp((last.time - now) / SETTLING);
  const pose = frame ? { ...frame.pose } : scaled(last.pose, held > 0.01 ? held : 0);
  for (const angle of ["yaw", "pitch", "tilt"]) {
    pose[angle] = stillness.matches ? 0 : (pose[angle] ?? 0) + still[angle];
  }
  if (!frame) for (const lid of ["lidLeft", "lidRight"]) pose[lid] = Math.max(pose[lid] ?? 0, still[lid] ?? 0);
  face.pose = pose;
  chart.draw(speech?.frames ?? [], speech?.time ?? 0, speech?.duration);
  at("promise").hidden = Boolean(speech?.frames.length);
  tell(frame);
}

function scaled(pose, factor) {
  return Object.fromEntries(Object.entries(pose).map(([name, value]) => [name, value * factor]));
}

function tell(frame) {
  const { jaw_rad = 0, lids = 0, loudness_db = -Infinity } = frame ?? {};
  at("jaw").textContent = `${jaw_rad.toFixed(2)} rad`;
  at("lids").textContent = lids > 0.5 ? "closed" : "open";
  at("loudness").textContent = loudness_db < -90 ? "silent" : `${Math.round(loudness_db)} dB`;
}

draw();
