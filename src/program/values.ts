/** Reads the values that flags, variables and the files named by them hold. */
import fs from "node:fs";
import { type DescribedSetting, SettingError } from "../index.ts";
import { quoted } from "../settings/values.ts";

/**
 * Converts the text of a flag or variable to the value of its setting.
 * @throws {SettingError} when it does not have the setting's form, or names a file that can't be read.
 */
export function convert(
  { name, form, default: fallback }: Pick<DescribedSetting, "name" | "form" | "default">,
  text: string,
): unknown {
  if (fallback === false && text === "false") return false; // such as `throttle`, which takes a rate or false
  switch (form) {
    case "number":
      if (!/^\d+$/.test(text)) throw new SettingError(`setting ${name}: ${quoted(text)} is not a whole number`);
      return Number(text);
    case "boolean":
      if (/^(true|1|yes|on)$/i.test(text)) return true;
      if (/^(false|0|no|off)$/i.test(text)) return false;
      throw new SettingError(`setting ${name}: ${quoted(text)} is not a boolean; accepted: true or false`);
    case "list":
      return text === "*" ? text : text.split(",").map((part) => part.trim());
    case "file":
      return readJson(name, text);
    default:
      return name === "signingKey" || name === "verifyingKey" ? readKey(text) : text;
  }
}

/** Reads the value of a setting from a JSON file. */
function readJson(name: string, file: string): unknown {
  const shown = quoted(file);
  let text: string;
  try {
    text = fs.readFileSync(file, "utf8");
  } catch (error) {
    const { code, name: kind } = error as NodeJS.ErrnoException; // Deno's refusal of a permission has no code
    throw new SettingError(`setting ${name}: the file ${shown} can't be read (${code ?? kind})`);
  }
  try {
    return JSON.parse(text.replace(/^\ufeff/, ""));
  } catch {
    throw new SettingError(`setting ${name}: the file ${shown} is not JSON`);
  }
}

/** Reads a key from text: a JWK is JSON, and PEM in a variable may have `\n` for its line ends. */
function readKey(text: string): unknown {
  if (text.startsWith("-----BEGIN")) return text.replaceAll("\\n", "\n");
  if (!text.startsWith("{")) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text; // a secret may begin with a brace
  }
}

/**
 * Reads a secret from a file, without the newline at its end.
 * @throws {SettingError} in one line when it can't be read or is empty.
 */
export function readSecret(name: string, file: string): string {
  let text: string;
  try {
    text = fs.readFileSync(file, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    if ((error as Error).name === "NotCapable") throw error; // Deno's, which names the permission
    const { code, message } = error as NodeJS.ErrnoException;
    throw new SettingError(`setting ${name}: the file ${file} can't be read: ${code ?? message}`, { cause: error });
  }
  if (text === "") throw new SettingError(`setting ${name}: the file ${file} is empty`);
  return text;
}
