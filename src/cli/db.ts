/** The tables of a store in PostgreSQL: `npm run db -- migrate --store postgres://…`. */
import { defineCommand } from "citty";
import { isPostgresStore, shownUrl } from "../stores/open.ts";
import { type Program, print, commonFlags, storeUrl } from "./command.ts";
import { UsageError } from "../program/problem.ts";
import { counted } from "./format.ts";

const migrate = defineCommand({
  meta: { name: "migrate", description: "Make the tables that are missing; safe to repeat" },
  args: {
    ...commonFlags,
    "dry-run": { type: "boolean", description: "Show the SQL statements, and run none" },
  },
  async run({ args }) {
    const url = storeUrl(args.store);
    if (!isPostgresStore(url)) throw new UsageError("only a postgres: store has tables; name one with --store");
    const { migratePostgres } = await import("../stores/postgres/index.ts");
    const isDryRun = args["dry-run"] === true;
    const statements = await migratePostgres({ url }, { isDryRun });
    if (isDryRun) return print(statements.map((statement) => `${statement};\n`).join("") || "-- nothing is missing\n");
    const done = statements.length === 0 ? "nothing was missing" : `ran ${counted(statements.length, "statement")}`;
    await print(`${done} in ${shownUrl(url)}\n`);
  },
});

export const program: Program = {
  name: "db",
  description: "Manages the tables of a store in PostgreSQL",
  commands: { migrate },
};
