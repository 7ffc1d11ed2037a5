// Signs a user in at the sandbox with Google's own library for Node, as a web server does.
import {CodeChallengeMethod, OAuth2Client} from 'google-auth-library';

export const given = JSON.parse(process.argv[2]);

// A client of Google's library with every address replaced by the sandbox's.
export function newClient() {
  const at = path => given.sandbox + path;
  return new OAuth2Client({
    clientId: given.clientId,
    clientSecret: given.clientSecret,
    redirectUri: 'http://localhost:8000/callback',
    issuers: [given.sandbox],
    // Without it the library trusts expiry_date and passes a 401 on.
    forceRefreshOnFailure: true,
    endpoints: {
      oauth2AuthBaseUrl: at('/o/oauth2/v2/auth'),
      oauth2TokenUrl: at('/token'),
      oauth2RevokeUrl: at('/revoke'),
      tokenInfoUrl: at('/tokeninfo'),
      oauth2FederatedSignonPemCertsUrl: at('/oauth2/v1/certs'),
      oauth2FederatedSignonJwkCertsUrl: at('/oauth2/v3/certs'),
    },
  });
}

// Consents by the form of the consent page; returns the tokens of the exchange with PKCE.
export async function signIn(client) {
  const {codeVerifier, codeChallenge} = await client.generateCodeVerifierAsync();
  const url = client.generateAuthUrl({
    access_type: 'offline',
    scope: ['openid', 'email', 'profile', 'https://mail.google.com/'],
    state: 'a state',
    code_challenge: codeChallenge,
    code_challenge_method: CodeChallengeMethod.S256,
    prompt: 'consent',
  });
  const body = new URLSearchParams({account: given.email, decision: 'allow'});
  const consent = await fetch(url, {method: 'POST', body, redirect: 'manual'});
  const callback = new URL(consent.headers.get('location'));
  if (callback.searchParams.get('state') !== 'a state') throw new Error(`unexpected callback: ${callback}`);
  const {tokens} = await client.getToken({code: callback.searchParams.get('code'), codeVerifier});
  client.setCredentials(tokens);
  return tokens;
}

// Calls the control API.
export async function control(method, path, body) {
  const response = await fetch(`${given.sandbox}/_sandbox${path}`, {method, body: body && JSON.stringify(body)});
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
}

// The message of the error that a call must end with.
export async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return error.response?.data?.error ?? error.message;
  }
  throw new Error('the call was not refused');
}
