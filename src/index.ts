/**
 * Djoser's three JWT endpoints as one Fetch handler. This file is the whole public surface of `jwt-endpoints`; stores are
 * imported from `jwt-endpoints/stores/memory` and `…/stores/file`.
 * @module
 */
export { createJwtEndpoints } from "./handler.ts";
export type { JwtEndpoints } from "./jwt-endpoints.ts";
export type { AuthenticateOptions, Authenticated } from "./endpoints/authenticate.ts";
export type { HttpRequest, HttpResponse } from "./http/message.ts";
export { type ErrorCode, type ErrorData, type JwtEndpointsError, SettingError, isFailure } from "./errors.ts";
export {
  createPasswords,
  type PasswordAlgorithm,
  type PasswordCheck,
  type PasswordOptions,
  type Passwords,
  type PreferredAlgorithm,
} from "./passwords/index.ts";
export type { PasswordOwner, PasswordRules } from "./passwords/rules.ts";
export { type DescribedSetting, describeSettings } from "./settings/describe.ts";
export type {
  AlgorithmName,
  ApiDescription,
  ApiRoute,
  AuditEvent,
  AuditEventName,
  ClaimsHook,
  CookieSettings,
  Duration,
  EndpointsStore,
  JwtEndpointsSettings,
  KeyMaterial,
  LogEvent,
  LoginFailedHook,
  LoginRequest,
  LoginSuccessHook,
  OpenapiHook,
  RotatingKeys,
  Settings,
  UserAuthenticationRule,
  UserFieldsHook,
} from "./settings/types.ts";
export type { SettingForm } from "./settings/values.ts";
export {
  type MessageStore,
  type NewUser,
  type Session,
  type SessionStore,
  type Store,
  StoreError,
  type StoreErrorCode,
  type TokenStore,
  type User,
  type UserChanges,
  type UserStore,
  type UsernameMatching,
} from "./stores/store.ts";
