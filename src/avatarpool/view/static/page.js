// The page: takes speech from somewhere, has it animated, and plays both in step.

import "./theme.js"; // before the face, which is fetched: nobody is to see the other theme first
import "./avatar-face.js";
import { Chart } from "./chart.js";
import { idlePose } from "./idle.js";
import { Recorder } from "./recorder.js";
import { FRAMES_PER_SECOND, Speech } from "./speech.js";

const MAX_FILE_BYTES = 32 * 1024 * 1024; // the server's limit: it would cut a longer upload off
const LONGEST_RECORDING = 60; // seconds
const AHEAD = 5; // frames, 200 ms, that are there before the audio starts
const MICROPHONE_TROUBLE = {
  NotAllowedError: "The browser does not let this page use the microphone: allow it in the address bar.",
  NotFoundError: "There is no microphone to record from.",
};
const PATIENCE_MS = 2000; // without a frame before the page says whom it waits for
const SETTLING = 0.12; // seconds in which the face lets go of its last frame

const at = (id) => document.getElementById(id);
const [face, audio, status] = [at("face"), at("audio"), at("status")];
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
const chart = new Chart(at("chart"));
let speech = null;
let recorder = null;
let last = { pose: {}, time: 0 }; // the last frame that was shown, and when

function say(text, isProblem = false) {
  status.textContent = text;
  status.classList.toggle("problem", isProblem);
}

// --- speaking ------------------------------------------------------------------

function fallSilent() {
  speech?.cancel();
  speech = null;
  URL.revokeObjectURL(audio.src);
  audio.removeAttribute("src");
  audio.load();
  tellOfRequest("none", "–", 0);
}

function tellOfRequest(id, first, frames) {
  [at("request").textContent, at("first").textContent, at("frames").textContent] = [id, first, frames];
}

async function speak(blob, name) {
  recorder?.discard();
  fallSilent();
  if (blob.size > MAX_FILE_BYTES) {
    say(`${name} is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB: choose a shorter one.`, true);
    return;
  }
  const current = (speech = new Speech(name));
  audio.src = URL.createObjectURL(blob);
  tellOfRequest("…", "…", 0);
  say(`Sending ${name}…`);
  setTimeout(() => {
    if (current === speech && !current.frames.length) say("Waiting for the service…");
  }, PATIENCE_MS);
  try {
    await current.request(blob, () => {
      const { requestId, firstFrameMs, frames } = current;
      tellOfRequest(requestId, firstFrameMs === null ? "…" : `${Math.round(firstFrameMs)} ms`, frames.length);
      if (frames.length >= audio.currentTime * FRAMES_PER_SECOND + AHEAD) play(current);
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
    else say("This browser cannot play that file: convert it to 16-bit WAV.", true);
  }
}

/** Holds the audio where the service is slower than speech: the face would be left behind. */
function keepStep() {
  if (!speech?.isStarted || speech.isOver || audio.paused) return;
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
    if (speech && !speech.isAwaited && !status.classList.contains("problem")) say(sentence());
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
  else say("That is no file: drop a WAV file.", true);
});

at("record").addEventListener("click", async () => {
  const button = at("record");
  if (recorder) {
    recorder.stop();
    return;
  }
  fallSilent();
  recorder = new Recorder(LONGEST_RECORDING);
  button.className = "recording";
  button.textContent = "Stop";
  try {
    const wav = await recorder.record(() => say(`Recording, ${LONGEST_RECORDING} s at most.`));
    if (wav) speak(wav, "the recording");
  } catch (error) {
    say(MICROPHONE_TROUBLE[error.name] ?? "Nothing was recorded: try again, and longer.", true);
  } finally {
    recorder = null;
    button.className = "";
    button.textContent = "Record";
  }
});

// --- each picture ------------------------------------------------------------------

function draw() {
  requestAnimationFrame(draw);
  keepStep();
  const now = performance.now() / 1000;
  const time = audio.currentTime;
  const isSpeaking = speech?.isStarted && !audio.ended && (!audio.paused || time > 0);
  const frame = isSpeaking ? speech.at(time) : null;
  if (frame) last = { pose: frame.pose, time: now };
  const idle = stillness.matches ? {} : idlePose(now);
  // Let go of the last frame little by little, so that nothing jumps.
  const held = Math.exp((last.time - now) / SETTLING);
  const pose = frame ? { ...frame.pose } : scaled(last.pose, held > 0.01 ? held : 0);
  for (const angle of ["yaw", "pitch", "tilt"]) {
    pose[angle] = stillness.matches ? 0 : (pose[angle] ?? 0) + idle[angle];
  }
  if (!frame) for (const lid of ["lidLeft", "lidRight"]) pose[lid] = Math.max(pose[lid] ?? 0, idle[lid] ?? 0);
  face.pose = pose;
  chart.draw(speech?.frames ?? [], time, audio.duration);
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
