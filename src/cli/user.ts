#!/usr/bin/env node
/**
 * The users of a store: `npm run user -- add alice`. Every command opens the store, does one thing and closes it, and may
 * do so while servers run on the same store.
 */
import process from "node:process";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { type ArgsDef, type CommandDef, defineCommand, renderUsage, runCommand } from "citty";
import { type Store, StoreError, type User, createPasswords } from "../index.ts";
import { openStore } from "../stores/open.ts";
import { Mistake, normalizeUsername, parseEmail, parsePassword, parseUsername, printable } from "./fields.ts";
import { type ImportFormat, importFormats, importUsers } from "./import.ts";
import { readPassword } from "./prompt.ts";
