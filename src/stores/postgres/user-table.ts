/** Where users live: a table of this store's own, or one of Django's. The same statements read and write both. */
import { quoted } from "./connection.ts";

/** Columns of a user, by the field they hold. */
export interface UserColumns {
  id: string;
  username: string;
  email: string;
  passwordHash: string;
  isActive: string;
  lastLogin: string;
}

export interface UserTable {
  isOwn: boolean;
  /** Quoted, with its schema. */
  name: string;
  columns: UserColumns;
  /** The text of an id as the column's type has it, or `undefined` when no row can have it. */
  idOf(text: string): string | undefined;
  /** The type that a parameter for the id is cast to. */
  idType: "text" | "bigint" | "uuid";
  /** Column of the folded name, if there is one. */
  folded?: string;
  /** Column that tells the order in which users were added. */
  order: string;
  /** Columns besides that a new user must have, with the expression for each. */
  required: readonly (readonly [column: string, expression: string])[];
  /** Makes an id for a new user; `undefined` when the table makes one. */
  newId?: () => string;
}

export const ownUserTable = (schema: string): UserTable => ({
  isOwn: true,
  name: `${schema}.users`,
  columns: {
    id: "id",
    username: "username",
    email: "email",
    passwordHash: "password_hash",
    isActive: "is_active",
    lastLogin: "last_login",
  },
  idOf: (text) => (text.includes("\0") ? undefined : text),
  idType: "text",
  folded: "folded",
  order: "position",
  required: [],
  newId: () => crypto.randomUUID(),
});

/** The fields of a user as a select list, over the table as `u` and the marks as `m`. */
export function selectList({ isOwn, columns }: UserTable): string {
  const column = (name: string): string => `u.${quoted(name)}`;
  const lastLogin = column(columns.lastLogin);
  return [
    `${column(columns.id)}::text as "id"`,
    `${column(columns.username)} as "username"`,
    `${columns.email === "" ? "''" : column(columns.email)} as "email"`,
    `${column(columns.passwordHash)} as "passwordHash"`,
    `${column(columns.isActive)} as "isActive"`,
    `${isOwn ? lastLogin : `extract(epoch from ${lastLogin})::double precision`} as "lastLogin"`,
    `m.tokens_valid_from as "tokensValidFrom"`,
  ].join(", ");
}

/** The table with its marks. */
export const fromUsers = ({ name, columns }: UserTable, schema: string): string =>
  `${name} u left join ${schema}.marks m on m.user_id = u.${quoted(columns.id)}::text`;

/** How a parameter is written into a column. */
export function written(table: UserTable, field: keyof UserColumns, parameter: string): string {
  if (field === "id") return `${parameter}::${table.idType}`;
  if (field === "isActive") return `${parameter}::boolean`;
  if (field !== "lastLogin") return `${parameter}::text`;
  return table.isOwn ? `${parameter}::double precision` : `to_timestamp(${parameter}::double precision)`;
}
