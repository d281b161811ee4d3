/**
 * Djoser's three JWT endpoints as one Fetch handler. This file is the whole public surface of `jwt-endpoints`; stores are
 * imported from `jwt-endpoints/stores/memory` and `…/stores/file`.
 * @module
 */
export { createJwtEndpoints, type JwtEndpoints } from "./handler.ts";
export type { Authenticated } from "./endpoints/authenticate.ts";
export { type ErrorCode, type ErrorData, type JwtEndpointsError, isFailure } from "./errors.ts";
export { createPasswords, type PasswordCheck, type PasswordOptions, type Passwords } from "./passwords/index.ts";
export {
  type ClaimsHook,
  type DescribedSetting,
  type JwtEndpointsSettings,
  type KeyMaterial,
  type LogEvent,
  SettingError,
  describeSettings,
} from "./settings.ts";
export {
  type NewUser,
  type Store,
  StoreError,
  type StoreErrorCode,
  type TokenStore,
  type User,
  type UserChanges,
  type UserStore,
} from "./stores/store.ts";
