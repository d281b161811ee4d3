/** `npm run bench -- [--quick] [login-timing] [handler] [http] [stores]`: in turn, each in its own process. */
import { once } from "node:events";
import process from "node:process";
import { start } from "../test/runtime.ts";

const benches = ["login-timing", "handler", "http", "stores"];
const args = process.argv.slice(2);
const flags = args.filter((arg) => arg === "--quick");
const names = args.filter((arg) => arg !== "--quick");
const unknown = names.find((name) => !benches.includes(name));

if (unknown !== undefined) {
  console.error(`there is no bench ${JSON.stringify(unknown)}; accepted: ${benches.join(", ")} and --quick`);
  process.exit(1);
}
for (const name of names.length > 0 ? names : benches) {
  const [code] = (await once(start(`bench/${name}.ts`, flags, { stdio: "inherit" }), "exit")) as [number | null];
  if (code !== 0) {
    console.error(`the bench ${name} failed`);
    process.exit(1);
  }
}
