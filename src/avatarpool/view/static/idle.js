// What a face does while nothing else moves it: it blinks, and its head is never quite still.

const BLINK = 0.2; // seconds
const sway = (seconds, hertz, phase) => Math.sin(2 * Math.PI * hertz * seconds + phase);
let nextBlink = 1.5;

export function idlePose(seconds) {
  if (seconds > nextBlink + BLINK) nextBlink = seconds + 1.5 + 3.5 * Math.random();
  const into = (seconds - nextBlink) / BLINK;
  const lid = into > 0 && into < 1 ? Math.sin(Math.PI * into) : 0;
  return {
    lidLeft: lid,
    lidRight: lid,
    yaw: 0.025 * sway(seconds, 0.11, 0) + 0.01 * sway(seconds, 0.23, 1),
    pitch: 0.015 * sway(seconds, 0.17, 2),
    tilt: 0.012 * sway(seconds, 0.13, 3),
  };
}
