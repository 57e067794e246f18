// Lets a Python process use the SDK for Node.js: one JSON command a line on stdin, one JSON
// answer or event a line on stdout. Run as `node judge.mjs DIRECTORY`, where DIRECTORY has
// the SDK in its node_modules.

import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(path.join(path.resolve(process.argv[2]), "judge.cjs"));
const sdk = await import(pathToFileURL(require.resolve("@spatius/server-sdk")));
sdk.configureTelemetry("");

const sessions = new Map();

const tell = (message) => process.stdout.write(JSON.stringify(message) + "\n");

function seen(error) {
  const facts = { type: error.name, message: error.message };
  for (const name of [
    "code", "phase", "httpStatus", "serverCode", "serverTitle", "serverDetail", "rawBody",
    "closeCode", "closeReason", "connectionId", "reqId",
  ]) facts[name] = error[name] ?? null;
  return facts;
}

const commands = {
  make({ session, options }) {
    const { expireAt, ...others } = options;
    sessions.set(session, sdk.newAvatarSession({
      ...others,
      expireAt: new Date(expireAt * 1000),
      transportFrames: (data, isLast) =>
        tell({ session, event: "frame", data: Buffer.from(data).toString("base64"), isLast }),
      onError: (error) => tell({ session, event: "error", error: seen(error) }),
      onClose: () => tell({ session, event: "close" }),
    }));
  },
  async init({ session }) {
    const it = sessions.get(session);
    await it.init();
    return it.token;
  },
  async start({ session, token }) {
    const it = sessions.get(session);
    it.token = token; // which may be another session's, or nobody's
    it.state = "ready";
    return await it.start();
  },
  send: ({ session, audio, end }) =>
    sessions.get(session).sendAudio(Buffer.from(audio, "base64"), end),
  text: ({ session, text }) => sessions.get(session).socket.send(text),
  close: ({ session }) => sessions.get(session).close(),
  prewarm: ({ options }) => sdk.prewarm(options),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...parameters } = JSON.parse(line);
  // Not awaited: a session may be closed while another one still opens.
  Promise.resolve()
    .then(() => commands[command](parameters))
    .then(
      (result) => tell({ id, result: result ?? null }),
      (error) => tell({ id, error: seen(error) }),
    );
}
