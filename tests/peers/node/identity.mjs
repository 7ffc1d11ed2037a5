// ID tokens, token information, refreshing and revocation by google-auth-library; prints the facts as JSON.
import {control, given, newClient, refusal, signIn} from './sign_in.mjs';

const client = newClient();
const tokens = await signIn(client);
const verify = (idToken, audience = given.clientId) => client.verifyIdToken({idToken, audience});

const payload = (await verify(tokens.id_token)).getPayload();
const [header, claims, signature] = tokens.id_token.split('.');
const forged = Buffer.from(JSON.stringify({...payload, email: 'mallory@example.com'})).toString('base64url');
const refusals = {
  forged: await refusal(() => verify([header, forged, signature].join('.'))),
  audience: await refusal(() => verify(tokens.id_token, 'another client')),
};

// Both keys are cached by now; the published successor takes over.
await control('POST', '/keys/rotate', {announced: true});
const second = await signIn(client);
const rotated = (await verify(second.id_token)).getPayload().email;
const kid = token => JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid;

const info = await client.getTokenInfo(second.access_token);
const {credentials} = await client.refreshAccessToken();
await client.revokeToken(credentials.access_token);
client.setCredentials(second);

console.log(JSON.stringify({
  payload,
  refusals,
  rotated,
  sameKey: kid(tokens.id_token) === kid(second.id_token),
  scopes: info.scopes,
  infoEmail: info.email,
  isRefreshed: credentials.access_token !== second.access_token,
  afterRevocation: await refusal(() => client.refreshAccessToken()),
}));
