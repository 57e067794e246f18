// The page: shows each snapshot of the gateway as it comes, and says when none comes.

import "./theme.js";
import { Administration } from "./admin.js";
import { HistoryChart } from "./history.js";
import { Refusal, Stream } from "./stream.js";
import { Table } from "./table.js";
import { milliseconds, percentile, seconds, sentence } from "./words.js";

const STATES = ["idle", "lent", "draining", "opening"];

const at = (id) => document.getElementById(id);
const status = at("status");
const wait = new HistoryChart(at("wait"), ["p50", "p95"], { words: milliseconds, least: 10 });
const first = new HistoryChart(at("first"), ["p50", "p95"], { words: milliseconds, least: 10 });
const arrivals = new HistoryChart(at("arrivals"), ["arrivals", "failures"], {
  words: (most) => `${most} in ${sliceSeconds} s`,
  least: 5,
  isBars: true,
});
const sessions = new Table(at("sessions-rows"), "No session is open.");
const clients = new Table(at("clients-rows"), "There is no client.");
const failures = new Table(at("failures-rows"), "None in the last five minutes.");
let sliceSeconds = 5;
let shownAt = null; // when the latest snapshot came

/** Says it, but only what is new: screen readers read it out. */
function say(text, isProblem = false) {
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("problem", isProblem);
}

function write(id, value) {
  if (at(id).textContent !== String(value)) at(id).textContent = value;
}

// --- how it stands ---------------------------------------------------------------

function show(snapshot) {
  shownAt = new Date();
  say(snapshot.is_paused ? "Paused: new requests are refused until somebody resumes." : "Live.");
  showNow(snapshot);
  showCourses(snapshot);
  showSessions(snapshot);
  showClients(snapshot);
  failures.show(
    snapshot.failures.map(({ kind, where, cause, count, seconds_ago }) => [
      count > 1 ? `${kind}, ${count} times` : kind,
      where,
      `${seconds(seconds_ago)} ago`,
      cause,
    ]),
  );
}

function showNow({ states, budget, running, queue, window_seconds, arrivals, history, advice }) {
  const sum = (values) => values.reduce((all, value) => all + value, 0);
  const open = states.idle + states.lent + states.draining;
  const minutes = Math.max(window_seconds, 1) / 60;
  write("open", `${open} of ${budget.sessions}`);
  write("running", running);
  write("waiting", queue.turns + queue.sessions);
  write("rate", Number((arrivals / minutes).toPrecision(2)));
  write("failed", sum(history.failures));
  write("advice", advice.text);
  at("size").placeholder = budget.sessions;
}

function showCourses({ history, wait_ms, first_frame_ms, arrivals: came }) {
  sliceSeconds = history.slice_seconds;
  for (const [name, chart, series, numbers] of [
    ["wait", wait, history.wait_ms, wait_ms],
    ["first", first, history.first_frame_ms, first_frame_ms],
  ]) {
    chart.show(series, sliceSeconds);
    promise(name, numbers.count);
    for (const p of ["p50", "p95", "p99"]) write(`${name}-${p}`, percentile(numbers, numbers[p]));
  }
  promise("arrivals", arrivals.show(history, sliceSeconds));
  write("came", came);
  write("went-wrong", at("failed").textContent);
}

/** Hides what an empty chart says that it will show. */
function promise(chart, isKept) {
  at(chart).nextElementSibling.hidden = Boolean(isKept);
}

function showSessions({ sessions: each, states }) {
  const all = STATES.map((state) => states[state]).reduce((sum, count) => sum + count);
  write("states", STATES.filter((state) => states[state]).map((state) => `${states[state]} ${state}`).join(", "));
  sessions.show(
    each.map(({ key, state, state_seconds, age_seconds, requests }) => [
      key,
      {
        text: state_seconds === null ? state : `${state} ${seconds(state_seconds)}`,
        className: STATES.includes(state) ? `state ${state}` : "",
      },
      seconds(age_seconds),
      requests,
    ]),
    each.length < all ? `${each.length} of ${all} are listed.` : "",
  );
}

function showClients({ clients: each, clients_total }) {
  clients.show(
    each.map(({ name, running, waiting, requests, audio_seconds, refused }) => [
      name,
      running,
      waiting,
      requests,
      seconds(audio_seconds),
      Object.entries(refused).map(([why, count]) => `${why} ${count}`).join(", ") || "none",
    ]),
    each.length < clients_total ? `${each.length} of ${clients_total} are listed.` : "",
  );
}

// --- where it comes from ---------------------------------------------------------

const stream = new Stream(
  (name, told) => {
    if (name === "rights") administration.allow(told);
    if (name === "snapshot") show(told);
  },
  (error) => {
    if (error instanceof Refusal) {
      say(sentence(error.message), true);
      if (error.status === 401) administration.refuse();
      return;
    }
    const isSaid = !(error instanceof TypeError || error instanceof DOMException);
    const why = isSaid ? sentence(error.message) : "The gateway does not answer.";
    const what = shownAt ? ` What is shown is of ${shownAt.toLocaleTimeString()}.` : "";
    say(`${why}${what} Trying again…`, true);
  },
);
const administration = new Administration((key) => stream.open(key));

stream.open("");
