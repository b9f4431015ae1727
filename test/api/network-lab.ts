/** The API as others see it who come over the network, with a fake daemon behind it. */
import type { RouteOptions } from "fastify";
import type { Role } from "../../src/api/caller.ts";
import { buildApi, type Api, type ApiOptions } from "../../src/api/server.ts";
import { Tokens } from "../../src/api/tokens.ts";
import type { ApiTokenConfig } from "../../src/config/config.ts";
import type { EventFeed } from "../../src/daemon/feed.ts";
import { fakeControl, NO_SETTINGS, TOKENS, type FakeControl } from "./fake-control.ts";

export const CONFIGURED: readonly ApiTokenConfig[] = (["viewer", "operator", "admin"] as const).map((role) => ({
  name: `the-${role}`,
  role,
  token: { file: role },
}));

export const bearer = (role: Role): { authorization: string } => ({ authorization: `Bearer ${TOKENS[role]}` });

export interface Lab extends AsyncDisposable {
  readonly control: FakeControl;
  readonly tokens: Tokens;
  readonly api: Api;
  readonly app: Api["app"];
}

export async function networkLab(
  options: Pick<ApiOptions, "onRoute" | "limits"> & { readonly isUnix?: boolean; readonly feed?: EventFeed } = {},
): Promise<Lab> {
  const control = fakeControl();
  if (options.feed !== undefined) control.feed = options.feed;
  control.settings = { ...NO_SETTINGS, listen: { kind: "tcp", host: "127.0.0.1", port: 1 }, tokens: CONFIGURED };
  const tokens = new Tokens();
  await tokens.read(CONFIGURED, control.access);
  const { isUnix = false, feed: _feed, ...rest } = options;
  const api = buildApi(control, { ...rest, network: { tokens, config: () => control.settings, isSecure: false, isUnix } });
  return { control, tokens, api, app: api.app, [Symbol.asyncDispose]: () => api.app.close() };
}

/** Every route of the API, as it registers them. */
export async function allRoutes(): Promise<RouteOptions[]> {
  const routes: RouteOptions[] = [];
  const { app } = buildApi(fakeControl(), { onRoute: (route) => routes.push(route) });
  await app.ready();
  await app.close();
  return routes;
}
