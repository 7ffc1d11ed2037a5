// Lists, reads and changes mail by Google's generated Gmail client for Node; prints the facts as JSON.
import {createHash} from 'node:crypto';
import {gmail} from '@googleapis/gmail';
import {control, given, newClient, signIn} from './sign_in.mjs';

const client = newClient();
await signIn(client);
const rootUrl = given.sandbox + '/';
const {users} = gmail({version: 'v1', auth: client, rootUrl});
const {messages, history} = users;
const me = {userId: 'me'};

async function listAll(method, parameters, field) {
  const items = [];
  let pageToken;
  do {
    const {data} = await method.list({...me, ...parameters, pageToken});
    items.push(...(data[field] ?? []));
    pageToken = data.nextPageToken;
  } while (pageToken);
  return items;
}

const before = (await users.getProfile(me)).data;
const listed = await listAll(messages, {maxResults: 7, includeSpamTrash: true}, 'messages');
const digests = {};
for (const {id} of listed) {
  const {raw} = (await messages.get({...me, id, format: 'raw'})).data;
  digests[id] = createHash('sha256').update(Buffer.from(raw, 'base64url')).digest('hex');
}
// Without spam and trash: to trash a message once more is no change.
const changed = (await listAll(messages, {}, 'messages')).slice(0, 2).map(({id}) => id);
const unread = await listAll(messages, {q: 'is:unread -in:chats', includeSpamTrash: true}, 'messages');

// The library notices the 401, refreshes, and repeats the call.
const old = client.credentials.access_token;
await control('POST', `/users/${given.email}/tokens/expire`);
const label = (await users.labels.create({...me, requestBody: {name: 'Peers/Node'}})).data;

const raw = 'From: node@example.com\r\nSubject: from Node\r\n\r\nHello.\r\n';
const inserted = (await messages.insert({
  ...me,
  requestBody: {labelIds: ['INBOX', label.id]},
  media: {mimeType: 'message/rfc822', body: raw},
// The client takes the address of an upload from the options of the call only.
}, {rootUrl})).data;
await messages.modify({...me, id: changed[0], requestBody: {addLabelIds: [label.id]}});
await messages.trash({...me, id: changed[1]});
const records = await listAll(history, {startHistoryId: before.historyId, maxResults: 1}, 'history');

console.log(JSON.stringify({
  profile: before,
  listed: listed.map(({id}) => id),
  digests,
  unread: unread.map(({id}) => id),
  isRefreshed: client.credentials.access_token !== old,
  label: label.id,
  inserted: inserted.id,
  changed,
  records,
}));
