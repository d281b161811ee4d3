#!/bin/sh
# Runs a program of src/ in place of this shell, so that signals reach it: sh src/run.sh serve/node [argument...]
# A checkout with its development dependencies runs the sources; what is installed for production runs what was built.
program=$1
shift
if [ -e node_modules/tsx ]; then exec node --import tsx "src/$program.ts" "$@"; fi
if [ -e "dist/$program.cjs" ]; then exec node "dist/$program.cjs" "$@"; fi
echo "jwt-endpoints: dist/$program.js is not built; run: npm ci && npm run build && npm prune --omit=dev" >&2
exit 1
