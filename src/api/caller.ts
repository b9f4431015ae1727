/** Who asks: every route says which role it takes, and every request knows who sent it. */

export type Role = "viewer" | "operator" | "admin";

export interface Caller {
  /** The name of the token; `owner` over the control socket. */
  readonly name: string;
  readonly role: Role;
  /** An address, or `socket`, or `unix`. */
  readonly from: string;
}

/** Over the control socket, which only its owner (and root) can connect to. */
export const OWNER: Caller = { name: "owner", role: "admin", from: "socket" };

const RANK: Readonly<Record<Role, number>> = { viewer: 0, operator: 1, admin: 2 };

/** Whether who has `role` may do what takes `needed`: each role may do what the one before may. */
export const mayDo = (role: Role, needed: Role): boolean => RANK[role] >= RANK[needed];

declare module "fastify" {
  interface FastifyContextConfig {
    /** The least role that may use the route. A server with a route without it does not start. */
    readonly role?: Role;
    /** Only over the control socket. */
    readonly socketOnly?: boolean;
  }
  interface FastifyRequest {
    caller: Caller;
  }
}
