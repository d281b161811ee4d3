/** Builds the package before suites ask for it: `test/run.ts` starts this program. */
import { buildOnce } from "./package.ts";

buildOnce();
