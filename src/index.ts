/**
 * Djoser's three JWT endpoints as one Fetch handler. This file is the whole public surface of `jwt-endpoints`; stores are
 * imported from `jwt-endpoints/stores/memory` and `…/stores/file`.
 * @module
 */
export { createJwtEndpoints, type JwtEndpoints } from "./handler.ts";
export type { AuthenticateOptions, Authenticated } from "./endpoints/authenticate.ts";
export type { HttpResponse, HttpRequest } from "./http/message.ts";
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
  type RotatingKeys,
  type LogEvent,
  type LoginFailedHook,
  type LoginRequest,
  type LoginSuccessHook,
  SettingError,
  type UserAuthenticationRule,
  describeSettings,
} from "./settings/schema.ts";
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
