// An OpenID Connect provider for tests, without passwords: `node oidc.mjs PORT APP_PORT ACCESS_TOKEN_SECONDS`.
//
// `login_hint` selects the user (alice, whose address is verified, or bob, whose is not); `deny` refuses. Consent is given
// automatically. It prints "serving on http://..." when it listens.
import { generateKeyPairSync } from "node:crypto";
import { Provider } from "oidc-provider";

const [port, app, seconds] = process.argv.slice(2).map(Number);
const users = {
  alice: { email: "alice@example.com", email_verified: true, name: "Alice" },
  bob: { email: "bob@example.com", email_verified: false, name: "Bob" },
};
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: "isobar",
    client_secret: "the-clients-secret-0123456789-0123456789",
    redirect_uris: [`http://127.0.0.1:${app}/api/auth/oauth/local/callback`],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
  }],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "one" }] },
  cookies: { keys: ["of no worth"] },
  scopes: ["openid", "email", "profile", "offline_access"],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  pkce: { required: () => true },
  issueRefreshToken: (_, client, code) => client.grantTypeAllowed("refresh_token") && code.scopes.has("openid"),
  rotateRefreshToken: true,
  ttl: { AccessToken: seconds, AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86400, Grant: 86400, Session: 60, Interaction: 60 },
  features: { devInteractions: { enabled: false }, userinfo: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...users[id] }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
});

provider.use(async (context, next) => {
  if (!context.path.startsWith("/interaction/")) return next();
  const { params, prompt, session } = await provider.interactionDetails(context.req, context.res);
  const accountId = session?.accountId ?? params.login_hint ?? "alice";
  let result = { error: "access_denied", error_description: "the user denied access" };
  if (accountId !== "deny") {
    const grant = new provider.Grant({ accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    const consent = { grantId: await grant.save() };
    result = prompt.name === "login" ? { login: { accountId }, consent } : { consent };
  }
  context.respond = false; // interactionFinished answers by itself
  await provider.interactionFinished(context.req, context.res, result, { mergeWithLastSubmission: true });
});
provider.on("server_error", (_, error) => console.error(error));
provider.listen(port, "127.0.0.1", () => console.log(`serving on http://127.0.0.1:${port}`));
