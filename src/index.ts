/**
 * Djoser's three JWT endpoints as one Fetch handler. This file is the whole public surface of `jwt-endpoints`; stores are
 * imported from `jwt-endpoints/stores/memory` and `…/stores/file`.
 * @module
 */
export { createJwtEndpoints, type JwtEndpoints } from "./handler.ts";
export type { AuthenticateOptions, Authenticated } from "./endpoints/authenticate.ts";
export type { Answer, Asked } from "./http/exchange.ts";
export { type ErrorCode, type ErrorData, type JwtEndpointsError, isFailure } from "./errors.ts";
export {
  createPasswords,
  type PasswordAlgorithm,
  type PasswordCheck,
  type PasswordOptions,
  type Passwords,
  type PreferredAlgorithm,
} from "./passwords/index.ts";
export {
  type ClaimsHook,
  type DescribedSetting,
  type EndpointsStore,
  type JwtEndpointsSettings,
  type KeyMaterial,
  type KeyRing,
  type LogEvent,
  type LoginFailedHook,
  type LoginRequest,
  type LoginSuccessHook,
  SettingError,
  type UserAuthenticationRule,
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
