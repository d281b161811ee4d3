/** Makes the package as its users get it. npm is what packs and installs, whatever runs later. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { projectRoot, temporaryFolder } from "./runtime.ts";

/** Runs a program to its end and returns what it printed. */
export function run(folder: string, command: string, ...args: string[]): string {
  const options = { cwd: folder, encoding: "utf8", timeout: 180_000 } as const;
  const { status, stdout, stderr, error } = spawnSync(command, args, options);
  const reason = `${command} ${args.join(" ")} failed: ${error?.message ?? ""}\n${stdout}\n${stderr}`;
  if (status !== 0) throw new Error(reason);
  return stdout;
}

/** Builds the package from a copy of the sources, and returns the folder of the copy. */
export function buildPackage(): string {
  const copy = temporaryFolder();
  for (const name of ["package.json", "tsconfig.json", "README.md", "src"]) {
    cpSync(path.join(projectRoot, name), path.join(copy, name), { recursive: true });
  }
  symlinkSync(path.join(projectRoot, "node_modules"), path.join(copy, "node_modules"));
  run(copy, "npm", "run", "build");
  return copy;
}

/**
 * Builds and packs a copy of the sources, and installs the package into an empty folder.
 * @returns that folder, and the packed file.
 */
export function packAndInstall(): { host: string; tarball: string } {
  const folder = temporaryFolder();
  const copy = buildPackage();
  run(copy, "npm", "pack", "--pack-destination", folder);
  const tarball = path.join(
    folder,
    readdirSync(folder).find((name) => name.endsWith(".tgz"))!,
  );
  const host = path.join(folder, "host");
  mkdirSync(host);
  writeFileSync(path.join(host, "package.json"), '{"name":"host","private":true,"type":"module"}');
  run(host, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", tarball);
  return { host, tarball };
}
