/** The version of the package, in code, since a single-file build has no `package.json`. A test compares them. */
export const version = "0.1.0";
