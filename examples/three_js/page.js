// A head of three.js that speaks: keyframes of the gateway, by the clock of the audio.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const SAMPLE_RATE = 16000;

const at = (id) => document.getElementById(id);
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  if (["gateway", "key", "avatar"].includes(name)) at(name).value = value;
}

function say(text, isProblem = false) {
  at("status").textContent = text;
  at("status").classList.toggle("problem", isProblem);
}

function complain(text) {
  say(text[0].toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : "."), true);
}

// --- the stage ---------------------------------------------------------------------

const canvas = at("stage");
const renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
const scene = new THREE.Scene();
scene.background = new THREE.Color("#23272f");
const camera = new THREE.PerspectiveCamera(24, 1, 0.01, 10);
camera.position.set(0.1, 0, 0.85);
const controls = new OrbitControls(camera, canvas);
controls.target.set(0, -0.02, 0);
controls.minDistance = 0.4;
controls.maxDistance = 2;
controls.update();

function light(color, strength, ...place) {
  const made = new THREE.DirectionalLight(color, strength);
  made.position.set(...place);
  scene.add(made);
}
light("#fff1e0", 2.6, 0.6, 0.7, 1);
light("#9db8ff", 0.9, -1, 0.2, 0.5);
light("#ffffff", 0.9, -0.4, 0.8, -1);
scene.add(new THREE.HemisphereLight("#dfe6f5", "#4a3a34", 0.9));

function fit() {
  const { clientWidth: width, clientHeight: height } = canvas;
  renderer.setPixelRatio(Math.min(2, devicePixelRatio));
  renderer.setSize(width, height, false);
  camera.aspect = width / height;
  camera.updateProjectionMatrix();
}
new ResizeObserver(fit).observe(canvas);

/** Sets what morph targets the model has by those names, and turns its head. */
function show(head, weights) {
  head.traverse(({ morphTargetDictionary: places, morphTargetInfluences: values }) => {
    for (const name in places) values[places[name]] = weights[name] ?? 0;
  });
  // The yaw first, then the pitch, then the roll, each of the turned.
  head.rotation.set(weights.headPitch, weights.headYaw, weights.headRoll, "YXZ");
}

// --- speaking ----------------------------------------------------------------------

let context = null; // made at the first click: browsers play nothing before
let connection = null;
let playing = null; // the audio that is heard

async function connected(module) {
  if (connection?.isOpen) return connection;
  const address = new URL("/v1/host", at("gateway").value);
  const options = { key: at("key").value, avatarId: at("avatar").value, sampleRate: SAMPLE_RATE };
  return (connection = await module.HostConnection.open(address, options));
}

function fallSilent(face) {
  playing?.stop();
  playing = null;
  face.interrupt();
  at("stop").disabled = true;
}

async function speak(file, module, face) {
  fallSilent(face);
  context ??= new AudioContext({ sampleRate: SAMPLE_RATE });
  context.resume();
  say(`Reading ${file.name}…`);
  const audio = await context.decodeAudioData(await file.arrayBuffer());
  say("Waiting for the gateway…");
  const speech = (await connected(module)).speak();
  speech.send(audio.getChannelData(0));
  speech.endAudio();
  await speech.ready();
  const source = (playing = new AudioBufferSourceNode(context, { buffer: audio }));
  source.connect(context.destination);
  const startsAt = context.currentTime + 0.05;
  source.start(startsAt);
  face.play(speech, context, startsAt);
  at("stop").disabled = false;
  say(`Speaking ${file.name}.`);
  source.onended = () => {
    if (source !== playing) return;
    at("stop").disabled = true;
    say("Done.");
  };
  await speech.done();
}

// --- all of it ---------------------------------------------------------------------

async function loaded(load, otherwise) {
  try {
    return await load();
  } catch (error) {
    throw new Error(otherwise, { cause: error });
  }
}

async function begin() {
  const { scene: model } = await loaded(
    () => new GLTFLoader().loadAsync("head.glb"),
    "There is no head.glb: run `npm run head`, then reload.",
  );
  scene.add(model);
  const head = model.getObjectByName("head");
  const gateway = at("gateway").value;
  const module = await loaded(
    () => import(new URL("/face/avatarpool-face.js", gateway)),
    `No gateway answers at ${gateway}: start it, then reload.`,
  );
  const basis = module.LOCAL; // of the local service; for another one, fit yours (Basis.fit)
  const face = new module.Face({ basis });
  at("file").addEventListener("change", async ({ target }) => {
    const [file] = target.files;
    target.value = ""; // the same file can be chosen again
    if (!file) return;
    try {
      await speak(file, module, face);
    } catch (error) {
      fallSilent(face);
      complain(error.name === "EncodingError" ? "that is no audio that this browser reads" : error.message);
    }
  });
  at("stop").addEventListener("click", () => {
    fallSilent(face);
    say("Interrupted.");
  });
  addEventListener("pagehide", () => connection?.close());
  face.run(({ arkit }) => {
    show(head, arkit);
    renderer.render(scene, camera);
  });
  say("Choose a file.");
}

begin().catch((error) => complain(error.message));
